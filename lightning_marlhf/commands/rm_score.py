"""`rm-score MODEL_OR_FILE ...`: policies compared by the reward-model scores of their answers, as in the paper."""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_marlhf.display.text import printable
from lightning_marlhf.evaluation.scored_folder import (
    ScoredFolder,
    add_folder_options,
    call,
    open_folder,
    scores_by_prompt,
)
from lightning_marlhf.inference.model_folder import EXPORT, MODEL_HELP, device_and_dtype
from lightning_marlhf.inference.prompts import Prompt, add_format_option, read_prompts
from lightning_marlhf.inference.sampling_options import add_sampling_options, sampling_settings
from lightning_marlhf.records import (
    Completion,
    PolicyScores,
    RMScores,
    read_completions,
    write_json,
)

if TYPE_CHECKING:
    from lightning_marlhf.inference.answer_job import AnswerJob

NAME = "rm_score"
_IN_ORDER = "webgpt"  # of whose held-out rows the paper takes the first, unshuffled


def main(arguments: Sequence[str]) -> int:
    """Compare policies; see `rm-score --help`."""
    return call(_run, _parser().parse_args(arguments[1:]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lightning_marlhf rm-score",
        description="Compare policies by the reward-model scores of their answers to the same prompts. The defaults "
        "are the paper's: 2,000 held-out prompts by seed 1234, temperature 0.8, top-k 50.",
    )
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="MODEL_OR_FILE",
        help=f"a policy that answers --prompts ({MODEL_HELP}), or a .jsonl file of completions; all are compared with "
        "the first",
    )
    parser.add_argument(
        "--prompts",
        type=Path,
        metavar="FILE",
        help=".jsonl: rows with `prompt`, or rows of --format's data set; else a prompt a line",
    )
    add_format_option(parser)
    parser.add_argument(
        "--n",
        type=int,
        default=2_000,
        metavar="N",
        help="prompts, drawn by --seed (of webgpt the first), as the released code does (default 2000)",
    )
    add_sampling_options(parser, max_new_tokens=512, temperature=0.8, top_k=50, seed=1234)
    add_folder_options(parser)
    return parser


def _run(options: argparse.Namespace) -> int:
    _check(options)
    device, dtype = device_and_dtype(options.dtype)
    folder = open_folder(options, device=device, dtype=dtype)
    labels = short_labels(options.sources)
    names = {source: f"{n}-{_file_name(label)}" for n, (source, label) in enumerate(labels.items())}
    models = [source for source in options.sources if not _is_file(source)]
    prompts = _prompts(options) if models else []
    files: dict[str, Path] = {}
    for source, name in names.items():
        if _is_file(source):
            files[source] = folder.take(Path(source), name)
        else:
            job = _job(source, prompts, options, device=device, dtype=dtype)
            (files[source],) = folder.answer({name: job})
    folder.score(list(files.values()))
    answers = {labels[source]: read_completions(file) for source, file in files.items()}
    _write(_summarize(answers, labels, folder, options), answers, options.out)
    return 0


def short_labels(sources: Sequence[str]) -> dict[str, str]:
    """Name each source by the parts of its path in which it differs from the others.

    >>> short_labels(["runs/tldr/ppo/seed-1", "runs/tldr/ma_ppo/seed-1/export"])
    {'runs/tldr/ppo/seed-1': 'ppo', 'runs/tldr/ma_ppo/seed-1/export': 'ma_ppo'}
    >>> list(short_labels(["runs/tldr/ppo", "baidu/TLDR"]).values()), list(short_labels(["runs/ppo"]).values())
    (['runs/tldr/ppo', 'baidu/TLDR'], ['runs/ppo'])
    """
    parts = [Path(source).parts for source in sources]
    parts = [each[:-1] if each[-1] == EXPORT and len(each) > 1 else each for each in parts]
    if len(sources) > 1:
        first = _num_common(parts)
        parts = [each[first:] for each in parts]
        last = _num_common([each[::-1] for each in parts])
        parts = [each[: len(each) - last] for each in parts]
    return {source: str(Path(*each)) for source, each in zip(sources, parts, strict=True)}


def _num_common(paths: Sequence[Sequence[str]]) -> int:
    """Count the leading parts that all paths share; the last part of each is left to it."""
    columns = zip(*(path[:-1] for path in paths), strict=False)
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))


def _check(options: argparse.Namespace) -> None:
    sources: list[str] = options.sources
    twice = next((each for each in sources if sources.count(each) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice} is given twice")
    if not (options.reward_model or options.gold):
        raise ValueError("--reward-model is missing: who scores the answers (or --gold)")
    if options.n < 1:
        raise ValueError(f"--n: expected at least 1, got {options.n}")
    model = next((each for each in sources if not _is_file(each)), None)
    if model is not None and options.prompts is None:
        raise ValueError(f"--prompts is missing: what {model} answers")
    if model is None and options.prompts is not None:
        raise ValueError(
            "--prompts: files of completions have their prompts, and no model is named"
        )


def _is_file(source: str) -> bool:
    return source.endswith((".jsonl", ".jsonl.gz"))


def _file_name(label: str) -> str:
    return (
        re.sub(r"[^\w.-]+", "-", label.removesuffix(".gz").removesuffix(".jsonl")).strip("-.")
        or "policy"
    )


def _prompts(options: argparse.Namespace) -> list[Prompt]:
    """Draw the prompts as the paper's evaluation did."""
    found = read_prompts([], options.prompts, options.format)
    if len(found) < options.n:
        sys.stderr.write(printable(f"{options.prompts} has {len(found)} prompts: all are taken\n"))
    from lightning_marlhf.data.splits import evaluation_subset

    rows = evaluation_subset(
        len(found), options.n, shuffled=options.format != _IN_ORDER, seed=options.seed
    )
    return [found[row] for row in rows]


def _job(
    model: str, prompts: Sequence[Prompt], options: argparse.Namespace, *, device: str, dtype: str
) -> "AnswerJob":
    from lightning_marlhf.inference.answer_job import AnswerJob

    return AnswerJob(
        model=model,
        prompts=prompts,
        num_samples=1,
        sampling=sampling_settings(options),
        seed=options.seed,
        form=options.format,
        batch_size=options.batch_size,
        device=device,
        dtype=dtype,
    )


def _summarize(
    answers: Mapping[str, Sequence[Completion]],
    labels: Mapping[str, str],
    folder: ScoredFolder,
    options: argparse.Namespace,
) -> RMScores:
    """Compare each policy with the first, by each scorer."""
    from lightning_marlhf.evaluation.rm_score import summarize_scores

    sources = folder.scorers.sources
    by_prompt = {label: scores_by_prompt(rows, list(sources)) for label, rows in answers.items()}
    first = next(iter(by_prompt.values()))

    def scores_of(prompts: Mapping[str, Mapping[str, list[float]]], name: str) -> Any:
        return {prompt: scores[name] for prompt, scores in prompts.items()}

    policies = [
        PolicyScores(
            label=label,
            source=source,
            num_prompts=len(by_prompt[label]),
            num_answers=len(answers[label]),
            scores={
                name: summarize_scores(
                    scores_of(by_prompt[label], name),
                    scores_of(first, name) if by_prompt[label] is not first else None,
                )
                for name in sources
            },
        )
        for source, label in labels.items()
    ]
    settings = ("n", "seed", "temperature", "top_k", "top_p", "max_new_tokens", "format")
    drawn = {name: getattr(options, name) for name in settings if options.prompts is not None}
    return RMScores(scorers=sources, settings=drawn, policies=policies)


def _write(found: RMScores, answers: Mapping[str, Sequence[Completion]], out: Path) -> None:
    """Leave the result as JSON, Markdown and pictures, and print it."""
    from lightning_marlhf.display.columns import plain_lines
    from lightning_marlhf.reporting.distributions import histogram_pictures, rm_score_table
    from lightning_marlhf.reporting.report import write_table_and_figure

    write_json(out / f"{NAME}.json", found.to_dict())
    table = rm_score_table(found)
    scores = {
        name: {label: [row.scores[name] for row in rows] for label, rows in answers.items()}
        for name in found.scorers
    }
    write_table_and_figure(
        out,
        NAME,
        title="Reward-model scores",
        table=table,
        pictures=histogram_pictures(scores),
    )
    sys.stdout.write("".join(f"{line}\n" for line in plain_lines(table)))
    sys.stdout.write(printable(f"{out / NAME}.{{json,md,png,svg}}\n"))
