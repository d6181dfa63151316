"""The base of data sets of text: stored rows -> texts -> rows of a phase -> tokens, each step cached by `datasets`."""

import logging
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, Literal

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from lightning_marlhf.data.base import RLHFDataModule, Split, Stage, of_stage
from lightning_marlhf.data.collate import Padder
from lightning_marlhf.data.encoding import Encoding, RowCounts, TokenizedRows, Truncate, count_rows, encode
from lightning_marlhf.data.reading import Reader, read_texts
from lightning_marlhf.data.source import HubData, load_source
from lightning_marlhf.data.splits import Phases, SplitBy, evaluation_subset
from lightning_marlhf.hub.reward_format import RewardInput
from lightning_marlhf.hub.tokenizer import load_tokenizer
from lightning_marlhf.ranges import PositiveInt, checked
from lightning_marlhf.types import SupervisedBatch

HOLDOUT = (95, 5)  # training and held-out rows of the paper's runs, if the source holds none out
_log = logging.getLogger(__name__)


@checked
class TextData(RLHFDataModule):
    """A data set of prompts with responses, cut into the phases of RLHF.

    Args:
        stage: "sft" gives preferred responses, "reward_model" pairs, "ppo" prompts; "evaluation" gives the prompts on
            which the paper scores its models.
        tokenizer: Folder or Hub id of the model's tokenizer.
        pad_token: A token of the vocabulary that occurs in no text; or ``<pad>``, which is added if it is missing:
            the embeddings grow, and a model that grows cannot be sharded. null keeps the tokenizer's own; if that is
            missing or is EOS, an unused token is found by name.
        source: A Hub id; or a folder with train.jsonl and valid.jsonl (or .parquet, or one written by
            ``save_to_disk``); or one data file.
        max_length: Maximum tokens of prompt, response and EOS together (sft, reward_model).
        max_prompt_length: Maximum tokens of a prompt, BOS included; longer prompts are dropped and counted (ppo,
            evaluation).
        truncate: Policy for rows over ``max_length``: the end of the "response" is cut (the paper's runs), the
            beginning of the "prompt", or the row is dropped ("drop").
        keep_eos: Truncated responses end with EOS; in the paper's runs they did not.
        tokenize: Prompt and response "apart", so that all stages see the same tokens at their border; or "joined" as
            one text, as the paper's runs did in sft and reward_model.
        pad_to_max_length: Pad every row to ``max_length``, as the paper's runs did; else to the longest row of the
            micro-batch.
        phases: Fractions of the training rows for SFT, reward model and PPO; null gives every stage all rows.
        split_seed: Seed of the split into phases; 1234 in the paper's runs.
        split_by: "group" puts all rows of one post, question or dialogue into one phase; "row" splits by row, as the
            paper's runs did, so that phases share groups.
        validate_rows: Held-out rows for validation during training; null reads all.
        evaluation_rows: Size of the paper's evaluation subset, which ``test`` reads in the stages ppo and evaluation.
        samples_per_prompt: Responses per prompt in ``test``, for pass@k or best-of-N sampling.
        preprocessing_processes: Processes that read and tokenise; null decides by the number of rows.
        **settings: Other settings of `RLHFDataModule`.
    """

    hub: ClassVar[HubData]
    name: str  # begins every sample id
    phase_of_stage: ClassVar[dict[str, int]] = {"sft": 0, "reward_model": 1, "ppo": 2}
    holds_out: ClassVar[bool] = False  # cut held-out rows off the training rows, without such a split
    shuffled_evaluation: ClassVar[bool] = True  # the evaluation subset is drawn, not the first rows

    def __init__(
        self,
        *,
        stage: Stage,
        tokenizer: str,
        source: str,
        max_length: PositiveInt = 1024,
        max_prompt_length: PositiveInt = 512,
        truncate: Truncate = "response",
        keep_eos: bool = False,
        tokenize: Literal["apart", "joined"] = "apart",
        pad_to_max_length: bool = False,
        phases: str | None = "2,4,4",
        split_seed: int = 1234,
        split_by: SplitBy = "group",
        validate_rows: PositiveInt | None = 512,
        evaluation_rows: PositiveInt = 2000,
        samples_per_prompt: PositiveInt = 1,
        preprocessing_processes: PositiveInt | None = None,
        pad_token: str | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(stage=stage, **settings)
        if stage not in (*self.phase_of_stage, "evaluation"):
            raise ValueError(
                f"{type(self).__name__} has no stage {stage!r}: expected {', '.join(self.phase_of_stage)} or evaluation"
            )
        self.tokenizer_source = tokenizer
        self.pad_token = pad_token
        self.source = source
        self.encoding = Encoding(
            max_length=max_length,
            max_prompt_length=max_prompt_length,
            truncate=truncate,
            keep_eos=keep_eos,
            joined=tokenize == "joined",
        )
        self.pad_to_max_length = pad_to_max_length
        self.phases = Phases.parse(phases, seed=split_seed, by=split_by, expected=len(self.phase_of_stage))
        self.validate_rows = validate_rows
        self.evaluation_rows = evaluation_rows
        self.samples_per_prompt = samples_per_prompt
        self.processes = preprocessing_processes
        self._encoded: dict[Split, Dataset] = {}
        self._kept: dict[Split, Dataset] = {}

    @abstractmethod
    def reader(self) -> Reader:
        """Return the reader of stored rows; it raises `MalformedRow` or `UnusableRow`."""

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer."""
        return load_tokenizer(self.tokenizer_source, pad_token=self.pad_token)

    @property
    def reward_input(self) -> RewardInput:
        """The input format of a reward model for these rows; without added special tokens, a chat template has them."""
        return RewardInput(self.encoding.joined, not self.encoding.special_tokens)

    @property
    def longest(self) -> int:
        """Tokens of the longest training row, or the fixed padded length."""
        if self.pad_to_max_length and self.stage in ("sft", "reward_model"):
            return self.encoding.max_length
        return max(self.lengths("test" if self.stage == "evaluation" else "train") or [0])

    def prepare_data(self) -> None:
        """Read and tokenise once per node; the other processes find the result in the cache."""
        for split in self._splits():
            self.encoded(split)

    def setup(self, stage: str) -> None:
        """Log the counts of dropped and truncated rows."""
        if self.trainer is None or self.trainer.is_global_zero:
            for split in self._splits():
                for line in self.row_counts(split).lines():
                    _log.warning("%s, %s: %s", self.source, split, line)

    def examples(self, split: Split) -> TokenizedRows:
        """Return the rows of a split that are used.

        Raises:
            ValueError: none is left to train on, or to evaluate on.
        """
        stored = "train" if split == "train" else "held-out"
        times = self.samples_per_prompt if split == "test" and self._generates else 1
        name = f"{self.name}/{stored}"
        return TokenizedRows(self._used(split), stage=self.stage, name=name, times=times)

    def lengths(self, split: Split) -> Sequence[int]:
        """Count the tokens of each row of a split that is used."""
        return self._used(split)["length"][:]  # type: ignore[no-any-return]

    def planned_train_rows(self) -> int:
        """Count the training rows, dropped ones included; of the paper's data on the Hub without loading them."""
        if self.source == self.hub.repository and self.hub.rows:
            size = self.hub.rows["train"]
            train = self._holdout.size(size, 0) if self.holds_out else size
            return self.phases.size(train, self._phase)
        return len(self.texts("train"))

    def demonstrations(self, rows: int) -> SupervisedBatch:
        """Return the first demonstrations of SFT, in any stage."""
        texts = self.texts_of("train", "sft")
        usable = [row for row, reason in enumerate(texts["unusable"][:]) if not reason]
        first = [row for row in usable if row < rows] or usable[:rows]
        encoded = self._encode(texts.select(first), "sft", where="demonstrations")
        used = _without_unusable(encoded)
        examples = TokenizedRows(used, stage="sft", name=self.name)
        return self._padder().demonstrations([examples[i] for i in range(len(examples))])

    def describe(self) -> dict[str, str]:
        """Describe the data in a few lines."""
        groups, shared = self.shared_groups()
        sharing = f"{shared:,} of {groups:,} groups of this phase are in other phases, too"
        lines = super().describe() | {"source": self.source, "pad token": str(self.tokenizer.pad_token)}
        return lines | ({"shared groups": sharing} if shared else {})

    def texts(self, split: Split) -> Dataset:
        """Return the rows of a split for this stage as text: see `read_texts`; unusable ones are among them."""
        return self.texts_of(split, self.stage)

    def encoded(self, split: Split) -> Dataset:
        """Return the rows of a split as tokens: see `encode`; unusable ones are among them."""
        if split not in self._encoded:
            where = f"{self.source} ({split})"
            self._encoded[split] = self._encode(self.texts(split), self.stage, where=where)
        return self._encoded[split]

    def row_counts(self, split: Split) -> RowCounts:
        """Count dropped and truncated rows."""
        return count_rows(self.encoded(split))

    def shared_groups(self) -> tuple[int, int]:
        """Count the groups of this stage's training rows, and those of them that other phases have, too."""
        return self.phases.shared_groups(self._stored_texts["train"], self._phase)

    def texts_of(self, split: Split, stage: Stage) -> Dataset:
        """Return the rows of a split for any stage as text."""
        if split == "train":
            stored, rows = "train", self._phase_rows("train", stage)
        elif stage == "evaluation" or (stage == "ppo" and split == "test"):
            stored, rows = "held_out", self._evaluation_rows()
        else:
            stored, rows = "held_out", self._phase_rows("held_out", stage)
            rows = rows[: self.validate_rows] if split == "validate" else rows
        return self._stored_texts[stored].select(rows)

    @property
    def _generates(self) -> bool:
        """Whether the policy generates responses in this stage."""
        return self.stage in ("ppo", "evaluation")

    @property
    def _phase(self) -> int:
        return self.phase_of_stage.get(self.stage, len(self.phase_of_stage) - 1)

    @cached_property
    def _stored_texts(self) -> dict[str, Dataset]:
        """Every row of the training and the held-out part, in the order of the source."""
        source = load_source(self.source, hub=self.hub)
        train, held_out = source.train, source.held_out
        parts = {"train": train, "held_out": held_out if held_out is not None else train.select([])}
        texts = {
            part: read_texts(
                rows, self.reader(), where=f"{self.source} ({part.replace('_', ' ')})", processes=self.processes
            )
            for part, rows in parts.items()
        }
        if held_out is None and self.holds_out:
            kept, aside = (self._holdout.rows(texts["train"], part) for part in (0, 1))
            return {"train": texts["train"].select(kept), "held_out": texts["train"].select(aside)}
        return texts

    @property
    def _holdout(self) -> Phases:
        return replace(self.phases, shares=HOLDOUT)

    def _phase_rows(self, part: str, stage: Stage) -> Sequence[int]:
        texts = self._stored_texts[part]
        if not len(texts):
            return []
        return self.phases.rows(texts, self.phase_of_stage.get(stage, self._phase))

    def _evaluation_rows(self) -> Sequence[int]:
        size = len(self._stored_texts["held_out"])
        subset = evaluation_subset(size, self.evaluation_rows, shuffled=self.shuffled_evaluation)
        return subset.tolist()  # type: ignore[no-any-return]

    def _encode(self, texts: Dataset, stage: Stage, *, where: str) -> Dataset:
        return encode(
            texts,
            self.tokenizer,
            self.encoding,
            stage="ppo" if stage == "evaluation" else stage,
            where=where,
            processes=self.processes,
        )

    def _used(self, split: Split) -> Dataset:
        if split not in self._kept:
            encoded = self.encoded(split)
            used = _without_unusable(encoded)
            all_dropped = self.stage == "evaluation" and len(encoded)
            if not len(used) and (split == "train" or all_dropped):
                reasons = "; ".join(self.row_counts(split).lines()) or "the phase is empty"
                purpose = "train on" if split == "train" else "evaluate on"
                raise ValueError(f"{self.source}: no rows left to {purpose}: {reasons}")
            self._kept[split] = used
        return self._kept[split]

    def _splits(self) -> tuple[Split, ...]:
        return ("test",) if self.stage == "evaluation" else ("train", "validate")

    def _padder(self) -> Padder:
        width = self.encoding.max_length if self.pad_to_max_length else 0
        return Padder(int(self.tokenizer.pad_token_id), width=width)

    def _collate(self) -> Callable[[Sequence[Any]], Any]:
        return of_stage(self._padder(), self.stage)


def _without_unusable(encoded: Dataset) -> Dataset:
    reasons = encoded["unusable"][:]
    return encoded.select([row for row, reason in enumerate(reasons) if not reason])
