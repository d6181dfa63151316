"""A folder of completions with scores: generated or copied, scored, resumable."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_marlhf.config.options import ConfigError
from lightning_marlhf.display.counter import Counter
from lightning_marlhf.evaluation.pairs import digest, kept_ids, plain_prompt
from lightning_marlhf.files import truncate_partial_line
from lightning_marlhf.inference.completions import CompletionJob, batches, read_responses
from lightning_marlhf.inference.options import LoadOptions, device_and_dtype
from lightning_marlhf.ranges import PositiveInt
from lightning_marlhf.records import Completion, Record, append_jsonl, read_completions, read_records, write_jsonl
from lightning_marlhf.tasks.tiny_tldr import FACTS, gold_score

if TYPE_CHECKING:
    from lightning_marlhf.inference.loading import Exporter
    from lightning_marlhf.inference.prompts import Prompt
    from lightning_marlhf.rollout.generation import SamplingSettings

RM, HELD_OUT, GOLD = "rm", "held_out", "gold"
CACHE_FILE = "scores.jsonl"
_GOLD_SOURCE = "exact score of tiny TL;DR"
_Known = dict[tuple[str, str], float]  # by the reward model, with its settings, and the digest of the text


@dataclass(frozen=True, kw_only=True)
class ScoringOptions(LoadOptions):
    """Reward models, and the output folder.

    Args:
        reward_model: Sequence classifier (run directory, export/ folder, .ckpt of a run, Hugging Face folder or Hub
            id; MODEL#LABEL names the label whose logit is the score); its score is called rm. A second one, held out
            from training, is reported as held_out.
        gold: Also report the exact score of tiny TL;DR, as gold; needs prompts with `reference`.
        chat_template: Reward models read dialogues in their own chat template.
        batch_size: Responses per forward pass.
        out: Folder of completions, scores and results; rerun to resume.
        overwrite: Overwrite --out.
    """

    reward_model: tuple[str, ...] = ()
    gold: bool = False
    chat_template: bool = False
    batch_size: PositiveInt = 16
    out: Path
    overwrite: bool = False

    def __post_init__(self) -> None:
        models = self.reward_model
        if len(models) > 2 or len(set(models)) < len(models):
            raise ConfigError(
                f"--reward-model: expected one, and perhaps another held out from training, got {', '.join(models)}"
            )
        if self.out.exists() and not self.out.is_dir():
            raise ConfigError(f"--out {self.out}: expected a folder, got a file")


@dataclass(frozen=True)
class TextScore(Record):
    """The score that one reward model gives to one response."""

    scorer: str  # the reward model, and how it is run
    text: str  # digest of prompt, response, their messages and tokens, and how the response ended
    score: float


class ScoredFolder:
    """Completions and their scores, in `completions/*.jsonl` and `scores.jsonl` of one folder.

    Args:
        options: Reward models, and the output folder.
        exporter: Exports a checkpoint that is named as a model.

    Attributes:
        sources: Source of each score, by name.
    """

    def __init__(self, options: ScoringOptions, *, exporter: "Exporter") -> None:
        self.options = options
        self.device, self.dtype = device_and_dtype(options.dtype)
        self._exporter = exporter
        self._models = dict(zip((RM, HELD_OUT), options.reward_model, strict=False))
        self.sources = {**self._models, **({GOLD: _GOLD_SOURCE} if options.gold else {})}

    def generate(
        self,
        model: str,
        samplings: Mapping[str, "SamplingSettings"],
        *,
        prompts: Sequence["Prompt"],
        num_samples: int,
        seed: int,
        format: str,
    ) -> list[Path]:
        """Generate the responses that are missing; ``samplings`` are by the names of their files.

        Returns:
            One file per sampling.
        """
        jobs = {
            self._file(name): CompletionJob(
                model=model,
                exporter=self._exporter,
                prompts=prompts,
                num_samples=num_samples,
                sampling=sampling,
                seed=seed,
                format=format,
                batch_size=self.options.batch_size,
                device=self.device,
                dtype=self.dtype,
            )
            for name, sampling in samplings.items()
        }
        overwrite = self.options.overwrite
        missing = {file: job.requests() if overwrite else job.missing(file) for file, job in jobs.items()}
        if any(missing.values()):
            with next(iter(jobs.values())).load() as loaded:
                for file, job in jobs.items():
                    if overwrite:
                        file.unlink(missing_ok=True)
                    requests = job.tokenize(loaded, missing[file])
                    job.append_to(file, loaded, requests, label=f"responses ({file.stem})")
        return list(jobs)

    def copy(self, completions: Path, name: str) -> Path:
        """Copy a file of completions into the folder."""
        file = self._file(name)
        rows = read_responses(completions)
        write_jsonl(file, (replace(row, trace=None) for row in rows))  # traces are large, and unused
        return file

    def score(self, files: Sequence[Path]) -> None:
        """Add all scores to the completions of files; each file is rewritten when everything is scored.

        Raises:
            ValueError: A row cannot be scored; names the file and the row.
        """
        cache = self.options.out / CACHE_FILE
        if self.options.overwrite:
            cache.unlink(missing_ok=True)
        known: _Known = {}
        if cache.exists():
            truncate_partial_line(cache)
            known = {(row.scorer, row.text): row.score for row in read_records(cache, TextScore)}
        for name, model in self._models.items():
            self._score_missing(model, name, files, known, cache)
        for file in files:
            rows = []
            for number, row in enumerate(read_completions(file), start=1):
                text = _text_key(row)
                scores = {name: known[self._key(model), text] for name, model in self._models.items()}
                if self.options.gold:
                    scores[GOLD] = _gold(row, f"{file}: row {number}")
                rows.append(replace(row, scores={**row.scores, **scores}))
            write_jsonl(file, rows)

    def _file(self, name: str) -> Path:
        return self.options.out / "completions" / f"{name}.jsonl"

    def _score_missing(self, model: str, name: str, files: Sequence[Path], known: _Known, cache: Path) -> None:
        """Score responses that have no score yet, the longest first, which need the most memory."""
        key = self._key(model)
        missing: dict[Path, dict[str, tuple[int, Completion]]] = {}
        for file in files:
            rows = missing[file] = {}
            for number, row in enumerate(read_completions(file), start=1):
                if (key, text := _text_key(row)) not in known:
                    rows.setdefault(text, (number, row))
        total = sum(map(len, missing.values()))
        if not total:
            return
        from lightning_marlhf.evaluation.reward_models import answered, reward_model, score_rows

        settings = {"device": self.device, "dtype": self.dtype, "exporter": self._exporter}
        size, template = self.options.batch_size, self.options.chat_template
        with (
            reward_model(model, name=name, chat_template=template, **settings) as scorer,
            Counter(f"scores by {name}", total, shown=total > size) as counter,
        ):
            for file, rows in missing.items():
                longest_first = sorted(rows.items(), key=lambda each: -len(each[1][1].response))
                for batch in batches(longest_first, size):
                    numbers = [number for _, (number, _) in batch]
                    shown = [answered(row) for _, (_, row) in batch]
                    try:
                        scores = score_rows(scorer, shown, numbers=numbers)
                    except ValueError as error:
                        raise ValueError(f"{file}: {error}") from error
                    scored = [TextScore(key, text, score) for (text, _), score in zip(batch, scores, strict=True)]
                    append_jsonl(cache, scored)
                    known |= {(key, each.text): each.score for each in scored}
                    counter.add(len(scores))

    def _key(self, model: str) -> str:
        return f"{model} {self.dtype}" + (" chat template" if self.options.chat_template else "")


def scores_by_prompt(rows: Sequence[Completion], names: Sequence[str]) -> dict[str, dict[str, list[float]]]:
    """Gather the scores of each prompt's responses: prompt -> name -> scores in the order of the rows."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        scores = found.setdefault(plain_prompt(row), {name: [] for name in names})
        for name in names:
            scores[name].append(row.scores[name])
    return found


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
