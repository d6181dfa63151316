"""`best-of-n MODEL`: what the best of N answers is worth to a reward model, for many N and temperatures."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_marlhf.display.text import printable
from lightning_marlhf.evaluation.scored_folder import (
    add_folder_options,
    call,
    open_folder,
    scores_by_prompt,
)
from lightning_marlhf.inference.model_folder import MODEL_HELP, device_and_dtype
from lightning_marlhf.inference.prompts import add_format_option, read_prompts
from lightning_marlhf.inference.sampling_options import add_sampling_options
from lightning_marlhf.records import BestOfN, Completion, read_completions, write_json

if TYPE_CHECKING:
    from lightning_marlhf.inference.answer_job import AnswerJob

NAME = "best_of_n"
_NS = (1, 2, 4, 8, 16, 32, 64)
_TEMPERATURES = (0.2, 0.5, 0.8, 1.0, 1.2)


def main(arguments: Sequence[str]) -> int:
    """Estimate what the best of N answers is worth; see `best-of-n --help`."""
    return call(_run, _parser().parse_args(arguments[1:]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lightning_marlhf best-of-n",
        description="Sample a pool of answers to each prompt, score them, and estimate without bias what the best of N "
        "of them is worth: to the reward model that chooses, and to others (over-optimisation).",
    )
    parser.add_argument("model", nargs="?", help=f"who answers: {MODEL_HELP}")
    parser.add_argument(
        "--file",
        type=Path,
        metavar="PROMPTS",
        help=".jsonl: rows with `prompt`, or rows of --format's data set; else a prompt a line",
    )
    add_format_option(parser)
    parser.add_argument(
        "--completions",
        type=Path,
        metavar="FILE",
        help="instead of a model: completions (JSONL), several to each prompt",
    )
    parser.add_argument(
        "--score",
        metavar="NAME",
        default="rm",
        help="the score by which the best is chosen (default rm)",
    )
    parser.add_argument(
        "--n",
        type=int,
        nargs="+",
        metavar="N",
        help=f"answers to choose from (default {' '.join(map(str, _NS))}; of --completions, as many as there are)",
    )
    parser.add_argument(
        "--temperatures",
        type=float,
        nargs="+",
        default=list(_TEMPERATURES),
        metavar="T",
        help=f"of the sampling (default {' '.join(map(str, _TEMPERATURES))})",
    )
    add_sampling_options(parser, max_new_tokens=512, temperature=None)
    add_folder_options(parser)
    return parser


def _run(options: argparse.Namespace) -> int:
    _check(options)
    device, dtype = device_and_dtype(options.dtype)
    folder = open_folder(options, device=device, dtype=dtype)
    if options.completions is not None:
        files = [folder.take(options.completions, "given")]
    else:
        files = folder.answer(_jobs(options, device, dtype))
    folder.score(files)
    found = _estimate(
        [row for file in files for row in read_completions(file)], folder.scorers.sources, options
    )
    _write(found, options.out)
    return 0


def _check(options: argparse.Namespace) -> None:
    if (options.model is None) == (options.completions is None):
        raise ValueError("expected either a MODEL, or --completions FILE")
    if options.model is not None and options.file is None:
        raise ValueError("--file is missing: the prompts that MODEL answers")
    if options.completions is not None and options.file is not None:
        raise ValueError("--file and --completions: completions have their prompts")
    if options.model is not None and not (options.reward_model or options.gold):
        raise ValueError("--reward-model is missing: who scores the answers (or --gold)")
    if options.n is not None and min(options.n) < 1:
        raise ValueError(f"--n: expected numbers from 1, got {min(options.n)}")
    if min(options.temperatures) <= 0:
        raise ValueError(
            f"--temperatures: expected above 0, as greedy answers are all the same, got {min(options.temperatures):g}"
        )


def _jobs(options: argparse.Namespace, device: str, dtype: str) -> Mapping[str, "AnswerJob"]:
    """Say which answers are wanted, by the names of their files."""
    prompts = read_prompts([], options.file, options.format)
    from lightning_marlhf.inference.answer_job import AnswerJob
    from lightning_marlhf.rollout.generation import SamplingSettings

    return {
        f"temperature-{temperature:g}": AnswerJob(
            model=options.model,
            prompts=prompts,
            num_samples=max(options.n or _NS),
            sampling=SamplingSettings(
                max_new_tokens=options.max_new_tokens,
                temperature=temperature,
                top_k=options.top_k,
                top_p=options.top_p,
                stop=tuple(options.stop),
            ),
            seed=options.seed,
            form=options.format,
            batch_size=options.batch_size,
            device=device,
            dtype=dtype,
        )
        for temperature in sorted(set(options.temperatures))
    }


def _estimate(
    rows: Sequence[Completion], sources: Mapping[str, str], options: argparse.Namespace
) -> BestOfN:
    """Estimate what the best of N is worth, temperature by temperature."""
    from lightning_marlhf.evaluation.best_of_n import best_of_n

    names = _score_names(rows, options)
    by_temperature: dict[float | None, list[Completion]] = {}
    for row in rows:
        by_temperature.setdefault(row.settings.get("temperature"), []).append(row)
    pools = {each: scores_by_prompt(of, names) for each, of in by_temperature.items()}
    sizes = [len(pool[options.score]) for each in pools.values() for pool in each.values()]
    ns = sorted(set(options.n or takewhile(lambda n: n <= min(sizes), _NS)))
    if max(ns) > min(sizes):
        raise ValueError(
            f"--n {max(ns)}: a prompt has only {min(sizes)} answers of one temperature; expected at most as many"
        )
    models = list(dict.fromkeys(row.model for row in rows))
    return BestOfN(
        model=models[0] if len(models) == 1 else "",
        chooser=options.score,
        scorers={name: sources.get(name, "") for name in names},
        num_prompts=len({row.prompt for row in rows}),
        num_samples=min(sizes),
        points=[
            point
            for temperature, pool in pools.items()
            for point in best_of_n(pool, ns, chooser=options.score, temperature=temperature)
        ],
    )


def _score_names(rows: Sequence[Completion], options: argparse.Namespace) -> list[str]:
    """Name the score that chooses, then the others that all answers have."""
    for number, row in enumerate(rows, start=1):
        if options.score not in row.scores:
            has = ", ".join(row.scores) or "none"
            raise ValueError(
                f"--score {options.score}: completion {number} has no such score (it has: {has}); --reward-model gives "
                "rm and held_out, --gold gives gold"
            )
    others = set.intersection(*(set(row.scores) for row in rows)) - {options.score}
    return [options.score, *(name for name in rows[0].scores if name in others)]


def _write(found: BestOfN, out: Path) -> None:
    """Leave the result as JSON, Markdown and pictures, and print it."""
    from lightning_marlhf.display.columns import plain_lines
    from lightning_marlhf.reporting.best_of_n import best_of_n_pictures, best_of_n_table
    from lightning_marlhf.reporting.report import write_table_and_figure

    write_json(out / f"{NAME}.json", found.to_dict())
    table = best_of_n_table(found)
    title = f"Best of N answers of {found.model}" if found.model else "Best of N answers"
    write_table_and_figure(out, NAME, title=title, table=table, pictures=best_of_n_pictures(found))
    sys.stdout.write("".join(f"{line}\n" for line in plain_lines(table)))
    sys.stdout.write(printable(f"{out / NAME}.{{json,md,png,svg}}\n"))
