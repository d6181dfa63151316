"""A folder of scored completions: made or taken over, and scored; the same command goes on after an interruption."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_marlhf.commands import errors
from lightning_marlhf.evaluation.pairs import asked
from lightning_marlhf.evaluation.scored_files import (
    CACHE_FILE,
    Scorers,
    add_scorer_options,
    read_scorers,
)
from lightning_marlhf.inference.completions import read_responses
from lightning_marlhf.records import Completion, write_jsonl

if TYPE_CHECKING:
    from lightning_marlhf.inference.completions import CompletionJob
    from lightning_marlhf.inference.loading import Exporter


class ScoredFolder:
    """Completions and their scores, below one folder.

    Args:
        folder: `completions/*.jsonl` and `scores.jsonl` are kept in it.
        scorers: who scores.
        overwrite: begin anew, whatever is there.

    Raises:
        ValueError: the folder is a file.
    """

    def __init__(self, folder: Path, scorers: Scorers, *, overwrite: bool) -> None:
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"--out {folder}: expected a folder, got a file")
        self.folder = folder
        self.scorers = scorers
        self.overwrite = overwrite

    def answer(self, jobs: Mapping[str, "CompletionJob"]) -> list[Path]:
        """Make the answers that are not there yet.

        Args:
            jobs: of one model, by the names of their files.

        Returns:
            A file for each job.
        """
        files = {name: self._file(name) for name in jobs}
        wanted = {
            name: job.requests() if self.overwrite else job.missing(files[name])
            for name, job in jobs.items()
        }
        if any(wanted.values()):
            with next(iter(jobs.values())).load() as model:
                for name, job in jobs.items():
                    if self.overwrite:
                        files[name].unlink(missing_ok=True)
                    requests = job.tokenize(model, wanted[name])
                    job.append_to(files[name], model, requests, label=f"responses ({name})")
        return list(files.values())

    def take(self, completions: Path, name: str) -> Path:
        """Take over a file of completions; it stays as it is."""
        file = self._file(name)
        write_jsonl(file, map(_without_trace, read_responses(completions)))
        return file

    def score(self, files: Sequence[Path]) -> None:
        """Put the scores into the completions."""
        cache = self.folder / CACHE_FILE
        if self.overwrite:
            cache.unlink(missing_ok=True)
        self.scorers.score(files, cache)

    def _file(self, name: str) -> Path:
        return self.folder / "completions" / f"{name}.jsonl"


def add_folder_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say who scores, and where everything is kept."""
    add_scorer_options(parser)
    parser.add_argument(
        "--batch-size", type=int, default=16, metavar="N", help="answers at a time (default 16)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="keep completions, scores and results there; the same command goes on where it was stopped",
    )
    parser.add_argument("--overwrite", action="store_true", help="begin --out anew")


def open_folder(
    options: argparse.Namespace, *, device: str, dtype: str, exporter: "Exporter"
) -> ScoredFolder:
    """Read the options that `add_folder_options` adds."""
    if options.batch_size < 1:
        raise ValueError(f"--batch-size: expected at least 1, got {options.batch_size}")
    scorers = read_scorers(options, device=device, dtype=dtype, exporter=exporter)
    return ScoredFolder(options.out, scorers, overwrite=options.overwrite)


def call(run: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Run a command that keeps what it makes; say so where it is interrupted."""

    def resumable() -> int:
        try:
            return run(options)
        except KeyboardInterrupt:
            again = (
                "the same command without --overwrite" if options.overwrite else "the same command"
            )
            sys.stderr.write(f"interrupted: what is in {options.out} stays; {again} goes on\n")
            return errors.INTERRUPTED

    return errors.call(resumable)


def scores_by_prompt(
    rows: Sequence[Completion], names: Sequence[str]
) -> dict[str, dict[str, list[float]]]:
    """Gather the scores of each prompt's answers: prompt -> name -> scores in the order of the rows."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        scores = found.setdefault(asked(row), {name: [] for name in names})
        for name in names:
            scores[name].append(row.scores[name])
    return found


def _without_trace(row: Completion) -> Completion:
    """Leave out what nobody reads of a large pool."""
    return replace(row, trace=None)
