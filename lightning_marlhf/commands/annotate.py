"""`annotate`: a page on this machine on which annotators compare two models' responses, blinded, one pair at a time."""

import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from lightning_marlhf.annotation.session import Selection, Session, select
from lightning_marlhf.annotation.store import AnnotationFile, summarize
from lightning_marlhf.commands import errors
from lightning_marlhf.config.options import ConfigError, read_options
from lightning_marlhf.evaluation.criteria import CRITERIA, Task
from lightning_marlhf.evaluation.pairs import read_pairs
from lightning_marlhf.ranges import PositiveInt, Range, UnitInterval

_INSTALL = "pip install 'lightning_marlhf[annotate]'"


@dataclass(frozen=True, kw_only=True)
class AnnotateOptions:
    """Serve a page on 127.0.0.1 on which annotators choose the better of two responses, blinded.

    Each verdict is on disk before the next pair is shown; rerun to resume.

    Args:
        a: Completions (JSONL).
        b: Completions to compare with.
        out: File of verdicts (JSONL), for `win-rate --judge human:FILE`.
        task: Task, which selects the question.
        annotator: Name of the annotator (default: the page asks for it).
        overlap: Fraction of pairs shown to every annotator, to measure agreement; each of the others is shown to one
            annotator.
        num_prompts: Number of prompts, drawn by --seed as `win-rate --num-prompts` draws them (default: all).
        seed: Seed of prompts, their order, and the side of each response.
        port: Port of the page; 0: any free one.
    """

    a: Path
    b: Path
    out: Path
    task: Task = "general"
    annotator: str | None = None
    overlap: UnitInterval = 0.2
    num_prompts: PositiveInt | None = None
    seed: int = 0
    port: Annotated[int, Range(at_least=0, at_most=2**16 - 1)] = 8420

    def __post_init__(self) -> None:
        for name, given in (("a", self.a), ("b", self.b)):
            if self.out.exists() and given.exists() and self.out.samefile(given):
                raise ConfigError(f"--out and --{name} are the same file, {given}")


def main(arguments: Sequence[str]) -> int:
    """Serve the page; see `annotate --help`."""
    return errors.call(lambda: _run(read_options(AnnotateOptions, arguments[1:], command="annotate"), arguments))


def _run(options: AnnotateOptions, arguments: Sequence[str]) -> int:
    pairs = read_pairs(options.a, options.b).pairs
    selection = select(pairs, num_prompts=options.num_prompts, overlap=options.overlap, seed=options.seed)
    with closing(AnnotationFile(options.out)) as verdicts:
        verdicts.check(pairs)
        _serve(options, selection, verdicts)
        sys.stdout.write("\n")
        for line in summarize(selection.pairs, verdicts):
            sys.stdout.write(f"{line}\n")
    sys.stdout.write(f"resume with: {errors.command_line(arguments)}\n")
    return 0


def _serve(options: AnnotateOptions, selection: Selection, verdicts: AnnotationFile) -> None:
    try:
        from lightning_marlhf.annotation.server import ADDRESS, Server, listen, serve
    except ModuleNotFoundError as error:
        raise ValueError(f"the page needs {error.name}: {_INSTALL}") from error
    criteria = CRITERIA[options.task]
    session = Session(selection, verdicts, prompt_version=criteria.version)
    if options.annotator is not None:
        session.annotator(options.annotator)  # a wrong name is reported at once
    app = Server(session, criteria, options.annotator).app()
    with listen(options.port) as listener:
        port = listener.getsockname()[1]
        sys.stdout.write(
            f"{len(selection.pairs)} pairs, {selection.num_shared} of them for every annotator\n"
            f"open http://{ADDRESS}:{port} in a browser; Ctrl-C here ends, all verdicts are kept\n"
        )
        sys.stdout.flush()
        serve(app, listener)
