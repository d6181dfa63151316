"""`annotate`: a page on this machine on which people compare two models' answers, blinded, one pair at a time."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from lightning_marlhf.annotation.criteria import CRITERIA
from lightning_marlhf.annotation.selection import Selection, select
from lightning_marlhf.annotation.session import Session
from lightning_marlhf.annotation.store import VerdictFile
from lightning_marlhf.annotation.summary import summarize
from lightning_marlhf.commands import errors
from lightning_marlhf.evaluation.pair_files import read_pairs

_PORT = 8420
_INSTALL = "pip install 'lightning_marlhf[annotate]'"


def main(arguments: Sequence[str]) -> int:
    """Serve the page; see `annotate --help`."""
    options = _parser().parse_args(arguments[1:])
    return errors.call(lambda: _run(options, arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lightning_marlhf annotate",
        description="Serve a page on 127.0.0.1 on which people say which of two answers is better, not knowing whose "
        "they are. Each verdict is on disk before the next pair is shown; the same command goes on where it was "
        "stopped.",
        allow_abbrev=False,
    )
    for side in "ab":
        parser.add_argument(
            f"--{side}", type=Path, required=True, metavar="FILE", help="completions (JSONL)"
        )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="verdicts (JSONL), for `win-rate --judge human:FILE`",
    )
    parser.add_argument(
        "--task", default="general", choices=CRITERIA, help="what is asked (default general)"
    )
    parser.add_argument(
        "--annotator", metavar="NAME", help="who judges (default: the page asks for a name)"
    )
    parser.add_argument(
        "--overlap",
        type=float,
        default=0.2,
        metavar="SHARE",
        help="share of pairs that every annotator gets, to see how far they agree; each of the others goes to one "
        "annotator (default 0.2)",
    )
    parser.add_argument(
        "--n",
        type=int,
        metavar="N",
        help="prompts, drawn by the seed: those of `win-rate --n` (default all)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="S",
        help="of prompts, their order, and which answer stands left (default 0)",
    )
    parser.add_argument(
        "--port", type=int, default=_PORT, metavar="P", help=f"default {_PORT}; 0: any free one"
    )
    return parser


def _run(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    _check(options)
    pairs = read_pairs(options.a, options.b).pairs
    selection = select(pairs, num=options.n, overlap=options.overlap, seed=options.seed)
    with closing(VerdictFile(options.out)) as verdicts:
        verdicts.check(pairs)
        _serve(options, selection, verdicts)
        sys.stdout.write("\n")
        for line in summarize(selection, verdicts):
            sys.stdout.write(f"{line}\n")
    sys.stdout.write(f"to go on: python -m lightning_marlhf {shlex.join(arguments)}\n")
    return 0


def _check(options: argparse.Namespace) -> None:
    if not 0 <= options.overlap <= 1:
        raise ValueError(f"--overlap: expected a share from 0 to 1, got {options.overlap:g}")
    if options.n is not None and options.n < 1:
        raise ValueError(f"--n: expected at least 1, got {options.n}")
    if not 0 <= options.port < 2**16:
        raise ValueError(f"--port: expected 0 to 65535, got {options.port}")
    for side in "ab":
        given: Path = getattr(options, side)
        if options.out.exists() and given.exists() and options.out.samefile(given):
            raise ValueError(f"--out and --{side} are one file, {given}")


def _serve(options: argparse.Namespace, selection: Selection, verdicts: VerdictFile) -> None:
    try:
        from lightning_marlhf.annotation.server import Server
        from lightning_marlhf.annotation.serving import ADDRESS, listen, serve
    except ModuleNotFoundError as error:
        raise ValueError(f"the page needs {error.name}: {_INSTALL}") from error
    criteria = CRITERIA[options.task]
    session = Session(selection, verdicts, prompt_version=criteria.version)
    if options.annotator is not None:
        session.annotator(options.annotator)  # a wrong name is told at once
    app = Server(session, criteria, options.annotator).app()
    with listen(options.port) as listener:
        port = listener.getsockname()[1]
        sys.stdout.write(
            f"{len(selection.pairs)} pairs, {selection.num_shared} of them for every annotator\n"
            f"open http://{ADDRESS}:{port} in a browser; Ctrl-C here ends, all verdicts are kept\n"
        )
        sys.stdout.flush()
        serve(app, listener)
