"""Logs the win rate of the policy against a baseline (the initial policy, or a file), by a judge."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng

from lightning_marlhf.callbacks.completion_records import gather_rows, records_of, sampling_of
from lightning_marlhf.callbacks.rollouts import ValidationCallback, experience_of
from lightning_marlhf.display.text import code_block
from lightning_marlhf.evaluation.judges import Judge
from lightning_marlhf.evaluation.outcomes import outcomes
from lightning_marlhf.evaluation.pairs import Pair, pair_completions, plain_prompt
from lightning_marlhf.evaluation.win_rate import summarize
from lightning_marlhf.loggers.tensorboard import add_texts
from lightning_marlhf.modules.data_protocol import data_of
from lightning_marlhf.ranges import NonNegativeInt, PositiveInt, checked
from lightning_marlhf.records import Completion, WinRate, read_completions, write_jsonl
from lightning_marlhf.run_folder import BASELINE_COMPLETIONS, VERDICTS

TAG = "win_rate/examples"
_OUTCOMES = {"a": "the policy wins", "b": "the baseline wins", "tie": "a tie"}
_LONGEST = 2_000  # characters of a text that are shown


@checked
class WinRateCallback(ValidationCallback):
    """Logs `eval/win_rate` with its interval whenever held-out prompts are validated on.

    The prompts are the first of the validation, the same every time. The baseline's responses are sampled before the
    first update, by the policy itself, and kept: in `completions/baseline.jsonl` and in the checkpoint, with their
    sampling settings. All ranks sample their shard; rank 0 asks the judge. If the judge fails, a warning is logged and
    that evaluation has no win rate; training continues. Ties count half. `eval/win_rate_ties` and `_invalid` are
    fractions of the pairs, `_flips` the fraction whose verdict changes with the order of the responses. All verdicts
    are kept in `verdicts/step-STEP.jsonl`; TensorBoard shows some as text.

    Args:
        judge: judge of the pairs; null logs nothing. If it has a method ``prepare(device)``, it loads its model there.
        num_prompts: number of pairs that are judged.
        baseline: completions (JSONL) to compare with, as a run or `generate --out` leaves them; null: the policy's own
            before training.
        num_examples: number of pairs that are shown.

    Raises:
        ValueError: there are no completions in ``baseline``.
    """

    def __init__(
        self,
        *,
        judge: Judge | None = None,
        num_prompts: PositiveInt = 64,
        baseline: str | None = None,
        num_examples: NonNegativeInt = 8,
    ) -> None:
        self.judge = judge
        self.num_prompts = num_prompts
        self.num_examples = num_examples
        self.baseline = [] if baseline is None else read_completions(Path(baseline))
        self._is_given = baseline is not None
        if self._is_given and not self.baseline:
            raise ValueError(f"win_rate.baseline: no completions in {baseline}")
        self._responses: list[Completion] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sample the baseline before the first update."""
        self._prepare(trainer, pl_module)

    def begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the responses; prepare a standalone validation."""
        self._responses = []
        if trainer.state.fn == "validate":
            self._prepare(trainer, pl_module)

    def collect(self, trainer: Trainer, pl_module: LightningModule, outputs: Any) -> None:
        """Keep the responses to the baseline's prompts."""
        experience = experience_of(outputs)
        if self.judge is None or experience is None:
            return
        wanted = set(map(plain_prompt, self.baseline))
        rows = records_of(trainer, pl_module, experience, step=trainer.global_step)
        self._responses += [row for row in rows if plain_prompt(row) in wanted]

    def finish(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare with the baseline on rank 0, and log on all ranks."""
        if self.judge is None or not self.baseline:
            return
        responses = first_responses(gather_rows(self._responses, trainer))[: self.num_prompts]
        numbers = self._compare(responses, trainer) if trainer.is_global_zero else {}
        numbers = trainer.strategy.broadcast(numbers)
        if numbers:
            pl_module.log_metrics(numbers)  # type: ignore[operator]

    def state_dict(self) -> dict[str, Any]:
        """Keep the baseline in the checkpoint, unless it was given as a file."""
        return {"rows": [] if self._is_given else [row.to_dict() for row in self.baseline]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the baseline, unless a file is given."""
        if not self._is_given:
            self.baseline = [Completion.from_dict(row) for row in state_dict["rows"]]

    def _prepare(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Load the judge, so that a wrong name ends the run now, and find the baseline; all ranks call this."""
        if self.judge is None:
            return
        prepare = getattr(self.judge, "prepare", None)
        if prepare is not None and trainer.is_global_zero:
            prepare(pl_module.device)
        path = Path(trainer.default_root_dir) / BASELINE_COMPLETIONS
        if not self.baseline and trainer.training and trainer.global_step == 0:
            self.baseline = sample_baseline(trainer, pl_module, num_prompts=self.num_prompts)
        elif not self.baseline and path.exists():
            self.baseline = read_completions(path)
        if self.baseline and trainer.is_global_zero:
            write_jsonl(path, self.baseline)
        _warn_if_unfair(self.baseline, pl_module)

    def _compare(self, responses: Sequence[Completion], trainer: Trainer) -> dict[str, float]:
        """Ask the judge; return the metrics, none if the judge fails."""
        assert self.judge is not None
        pairs = pair_completions(responses, first_responses(self.baseline)).pairs
        if not pairs:
            rank_zero_warn("win_rate: no validation prompt is in the baseline; nothing is compared")
            return {}
        try:
            verdicts = list(self.judge.judge(pairs))
            rate = summarize(verdicts, pairs)
        except Exception as error:  # whatever a judge does, training continues
            why = " ".join(f"{type(error).__name__}: {error}".split())
            rank_zero_warn(
                f"update {trainer.global_step}: no win rate, as the judge failed ({why}); training continues"
            )
            return {}
        path = Path(trainer.default_root_dir) / VERDICTS / f"step-{trainer.global_step:06d}.jsonl"
        write_jsonl(path, verdicts)
        found = outcomes(verdicts)
        add_texts(trainer, TAG, [example_text(pair, found) for pair in pairs[: self.num_examples]])
        return to_metrics(rate)


def sample_baseline(trainer: Trainer, pl_module: LightningModule, *, num_prompts: int) -> list[Completion]:
    """Respond to the first validation prompts; random states are restored."""
    rows: list[Completion] = []
    found: list[Completion] = []
    with torch.no_grad(), isolate_rng():
        pl_module.on_validation_epoch_start()
        for number, batch in enumerate(data_of(trainer).val_dataloader()):
            batch = trainer.strategy.batch_to_device(batch, pl_module.device)
            experience = experience_of(trainer.strategy.validation_step(batch, number))
            if experience is not None:
                rows += records_of(trainer, pl_module, experience, step=0)
            found = first_responses(gather_rows(rows, trainer))[:num_prompts]
            if len(found) == num_prompts:
                break
    return found


def first_responses(rows: Iterable[Completion]) -> list[Completion]:
    """Keep the first response to each prompt."""
    by_prompt: dict[str, Completion] = {}
    for row in rows:
        by_prompt.setdefault(plain_prompt(row), row)
    return list(by_prompt.values())


def to_metrics(rate: WinRate) -> dict[str, float]:
    """Return the metrics to log; unknown ones are left out."""
    valid = rate.wins + rate.ties + rate.losses
    numbers = {
        "eval/win_rate": rate.win_rate,
        "eval/win_rate_low": rate.low,
        "eval/win_rate_high": rate.high,
        "eval/win_rate_ties": rate.ties / valid if valid else None,
        "eval/win_rate_invalid": rate.invalid / rate.pairs if rate.pairs else None,
        "eval/win_rate_flips": rate.flip_rate,
    }
    return {name: number for name, number in numbers.items() if number is not None}


def example_text(pair: Pair, found: Mapping[str, str]) -> str:
    """Show a pair as Markdown; the texts stand in indented blocks, in which nothing is Markdown or HTML."""
    outcome = _OUTCOMES.get(found.get(pair.pair_id, ""), "no valid verdict")
    texts = {"Prompt": plain_prompt(pair), "Policy": pair.a, "Baseline": pair.b}
    blocks = [f"{title}\n\n{code_block(text[:_LONGEST])}" for title, text in texts.items()]
    return "\n\n".join([f"**{outcome}**", *blocks])


def _warn_if_unfair(baseline: Sequence[Completion], pl_module: LightningModule) -> None:
    """Warn if the comparison is unfair or impossible."""
    if not baseline:
        rank_zero_warn(
            "win_rate: nothing to compare with, as this policy has been trained already (or there are no "
            "validation prompts); win_rate.baseline takes a file of completions"
        )
        return
    ours, theirs = sampling_of(pl_module), baseline[0].settings
    differing = [name for name in ours if theirs.get(name, ours[name]) != ours[name]]
    if differing:
        what = ", ".join(f"{name} {theirs[name]} against {ours[name]}" for name in differing)
        rank_zero_warn(f"win_rate: the baseline was sampled differently: {what}")
