"""Puts scores into files of completions; what was scored once stays scored, in a file beside them."""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lightning_marlhf.display.counter import Counter
from lightning_marlhf.evaluation.pairs import digest, kept_ids
from lightning_marlhf.files import cut_unfinished_line
from lightning_marlhf.inference.model_folder import REWARD_MODEL_HELP
from lightning_marlhf.inference.prompts import batches
from lightning_marlhf.records import (
    Completion,
    Record,
    append_jsonl,
    read_completions,
    read_records,
    write_jsonl,
)
from lightning_marlhf.tasks.tiny_tldr import FACTS, gold_score

RM, HELD_OUT, GOLD = "rm", "held_out", "gold"
CACHE_FILE = "scores.jsonl"
_GOLD_SOURCE = "exact score of tiny TL;DR"


@dataclass(frozen=True)
class TextScore(Record):
    """What one reward model says of one answer."""

    scorer: str  # the reward model, and how it is run
    text: str  # digest of prompt, response, their messages and tokens, and how the response ended
    score: float


@dataclass(frozen=True, kw_only=True)
class Scorers:
    """Who scores, and how."""

    reward_models: Mapping[str, str]  # by the names of their scores
    gold: bool  # the tiny task's exact score, too
    batch_size: int
    device: str
    dtype: str
    chat_template: bool  # show reward models dialogues in their own chat template

    @property
    def sources(self) -> dict[str, str]:
        """What gives each score."""
        return {**self.reward_models, **({GOLD: _GOLD_SOURCE} if self.gold else {})}

    def score(self, files: Sequence[Path], cache: Path) -> None:
        """Put all scores into the completions of ``files``.

        Args:
            files: of completions; they are written anew when everything is scored.
            cache: where scores are kept as they come.

        Raises:
            ValueError: a row cannot be scored; names the file and the row.
        """
        known = _read_cache(cache)
        for name, model in self.reward_models.items():
            self._ask(model, name, files, known, cache)
        for file in files:
            write_jsonl(file, list(self._scored(file, known)))

    def _ask(
        self,
        model: str,
        name: str,
        files: Sequence[Path],
        known: dict[tuple[str, str], float],
        cache: Path,
    ) -> None:
        """Let a reward model score what it has not scored yet, the longest first, which need the most memory."""
        scorer_key = self._key(model)
        wanted = {file: _distinct(file) for file in files}
        lacking = {
            file: {text: row for text, row in rows.items() if (scorer_key, text) not in known}
            for file, rows in wanted.items()
        }
        total = sum(map(len, lacking.values()))
        if not total:
            return
        from lightning_marlhf.evaluation.scoring import answered, reward_model, score_rows

        settings = {
            "name": name,
            "device": self.device,
            "dtype": self.dtype,
            "chat_template": self.chat_template,
        }
        with (
            reward_model(model, **settings) as scorer,
            Counter(f"scores by {name}", total, shown=total > self.batch_size) as counter,
        ):
            for file, rows in lacking.items():
                ordered = sorted(rows.items(), key=lambda each: -len(each[1][1].response))
                for batch in batches(ordered, self.batch_size):
                    numbers = [number for _, (number, _) in batch]
                    answers = [answered(row) for _, (_, row) in batch]
                    try:
                        scores = score_rows(scorer, answers, numbers=numbers)
                    except ValueError as error:
                        raise ValueError(f"{file}: {error}") from error
                    scored = [
                        TextScore(scorer_key, text, score)
                        for (text, _), score in zip(batch, scores, strict=True)
                    ]
                    append_jsonl(cache, scored)
                    known |= {(each.scorer, each.text): each.score for each in scored}
                    counter.add(len(scored))

    def _scored(self, file: Path, known: Mapping[tuple[str, str], float]) -> Iterator[Completion]:
        for number, row in enumerate(read_completions(file), start=1):
            scores = {
                name: known[self._key(model), _text_key(row)]
                for name, model in self.reward_models.items()
            }
            if self.gold:
                scores[GOLD] = _gold(row, f"{file}: row {number}")
            yield replace(row, scores={**row.scores, **scores})

    def _key(self, model: str) -> str:
        return f"{model} {self.dtype}" + (" chat template" if self.chat_template else "")


def add_scorer_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say who scores."""
    parser.add_argument(
        "--reward-model",
        action="append",
        default=[],
        metavar="RM",
        help=f"{REWARD_MODEL_HELP}; its score is called {RM}; a second --reward-model, held "
        f"out from training, is reported beside it as {HELD_OUT}",
    )
    parser.add_argument(
        "--gold",
        action="store_true",
        help=f"the exact score of tiny TL;DR, too, as {GOLD}; needs prompts with `reference`",
    )
    parser.add_argument(
        "--chat-template",
        action="store_true",
        help="show reward models dialogues in their own chat template",
    )


def read_scorers(options: argparse.Namespace, *, device: str, dtype: str) -> Scorers:
    """Read the options that say who scores.

    Raises:
        ValueError: there are more than two reward models, or two are the same.
    """
    models: list[str] = options.reward_model
    if len(models) > 2 or len(set(models)) < len(models):
        raise ValueError(
            f"--reward-model: expected one, and perhaps another held out from training, got {', '.join(models)}"
        )
    return Scorers(
        reward_models=dict(zip((RM, HELD_OUT), models, strict=False)),
        gold=options.gold,
        batch_size=options.batch_size,
        device=device,
        dtype=dtype,
        chat_template=options.chat_template,
    )


def _distinct(file: Path) -> dict[str, tuple[int, Completion]]:
    """Give each different answer of a file once, with the number of its row."""
    rows: dict[str, tuple[int, Completion]] = {}
    for number, row in enumerate(read_completions(file), start=1):
        rows.setdefault(_text_key(row), (number, row))
    return rows


def _read_cache(cache: Path) -> dict[tuple[str, str], float]:
    if not cache.exists():
        return {}
    cut_unfinished_line(cache)
    rows = read_records(cache, TextScore)
    return {(row.scorer, row.text): row.score for row in rows}


def _text_key(row: Completion) -> str:
    shown = json.dumps([row.messages, kept_ids(row)])
    return digest(row.prompt, row.response, "ended" if row.ended else "cut off", shown)


def _gold(row: Completion, where: str) -> float:
    try:
        return gold_score(row.response, {name: row.reference[name] for name in FACTS})
    except (KeyError, TypeError):
        raise ValueError(
            f"{where}: expected `reference` with the facts of a tiny TL;DR post, which --gold needs"
        ) from None
