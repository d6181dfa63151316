"""How often a judge prefers the policy's answers to those that it gave before training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from lightning_marlhf.callbacks.baseline import Baseline, first_answers
from lightning_marlhf.callbacks.rollouts import experience_of, gather_rows, records_of
from lightning_marlhf.callbacks.sample_text import code_block
from lightning_marlhf.callbacks.tensorboard import writers_of
from lightning_marlhf.evaluation.judges.base import Judge
from lightning_marlhf.evaluation.outcomes import outcomes
from lightning_marlhf.evaluation.pairs import Pair, asked, pair_completions
from lightning_marlhf.evaluation.win_rate import summarize
from lightning_marlhf.ranges import NonNegativeInt, PositiveInt, checked
from lightning_marlhf.records import Completion, Verdict, WinRate, write_jsonl
from lightning_marlhf.run_folder import VERDICTS

TAG = "win_rate/examples"
_OUTCOMES = {"a": "the policy wins", "b": "the baseline wins", "tie": "a tie"}
_LONGEST = 2_000  # characters of a text that are shown


@checked
class WinRateCallback(Callback):
    """Logs `eval/win_rate` with its interval whenever held-out prompts are validated on.

    The prompts are the first of the validation, the same every time. The baseline's answers are made before the first
    update, by the policy itself, and kept: in `completions/baseline.jsonl` and in the checkpoint, with their sampling
    settings. All ranks answer their share; rank 0 asks the judge. A judge that fails costs a warning and that
    evaluation's win rate, never the run. Ties count half. `eval/win_rate_ties` and `_invalid` are shares of the pairs,
    `_flips` the share of pairs on which the judge changed its mind with the order. All verdicts are kept in
    `verdicts/step-STEP.jsonl`; TensorBoard shows some as text.

    Args:
        judge: who compares; null logs nothing. What it has to load it loads in ``prepare(device)``, where it has that.
        num_prompts: pairs that are judged.
        baseline: completions (JSONL) to compare with, as a run or `generate --out` leaves them; null: the policy's own
            before training.
        num_examples: pairs that are shown.
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
        self.baseline = Baseline(Path(baseline) if baseline else None, num_prompts=num_prompts)
        self._answers: list[Completion] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the policy answer before it learns."""
        self._begin(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to collect."""
        self._answers = []
        if trainer.state.fn == "validate":
            self._begin(trainer, pl_module)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the answers to the baseline's prompts."""
        experience = experience_of(outputs)
        if self.judge is None or experience is None:
            return
        wanted = set(map(asked, self.baseline.rows))
        rows = records_of(trainer, pl_module, experience, step=trainer.global_step)
        self._answers += [row for row in rows if asked(row) in wanted]

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare, and log."""
        if self.judge is None or trainer.sanity_checking or not self.baseline.rows:
            return
        answers = first_answers(gather_rows(self._answers, trainer))[: self.num_prompts]
        numbers = self._compare(answers, trainer) if trainer.is_global_zero else {}
        numbers = trainer.strategy.broadcast(numbers)
        if numbers:
            pl_module.log_metrics(numbers)  # type: ignore[operator]

    def state_dict(self) -> dict[str, Any]:
        """Keep the baseline in the checkpoint."""
        return self.baseline.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Find it there."""
        self.baseline.load_state_dict(state_dict)

    def _begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Load the judge, so that a wrong name ends the run now, and find the baseline."""
        if self.judge is None:
            return
        prepare = getattr(self.judge, "prepare", None)
        if prepare is not None and trainer.is_global_zero:
            prepare(pl_module.device)
        self.baseline.settle(trainer, pl_module)

    def _compare(self, answers: Sequence[Completion], trainer: Trainer) -> dict[str, float]:
        """Ask the judge; return what is logged, which is nothing where it fails."""
        assert self.judge is not None
        pairs = pair_completions(answers, first_answers(self.baseline.rows)).pairs
        if not pairs:
            rank_zero_warn("win_rate: no validation prompt is in the baseline; nothing is compared")
            return {}
        try:
            verdicts = list(self.judge.judge(pairs))
            found = summarize(verdicts, pairs)
        except Exception as error:  # whatever a judge does, training goes on
            why = " ".join(f"{type(error).__name__}: {error}".split())
            rank_zero_warn(
                f"update {trainer.global_step}: no win rate, as the judge failed ({why}); training goes on"
            )
            return {}
        path = Path(trainer.default_root_dir) / VERDICTS / f"step-{trainer.global_step:06d}.jsonl"
        write_jsonl(path, verdicts)
        self._show(pairs, verdicts, trainer)
        return metrics_of(found)

    def _show(self, pairs: Sequence[Pair], verdicts: Sequence[Verdict], trainer: Trainer) -> None:
        found = outcomes(verdicts)
        examples = [example_text(pair, found) for pair in pairs[: self.num_examples]]
        for writer in writers_of(trainer) if examples else ():
            writer.add_text(TAG, "\n\n---\n\n".join(examples), trainer.global_step)


def metrics_of(found: WinRate) -> dict[str, float]:
    """Name what is logged; what is not known is left out."""
    valid = found.wins + found.ties + found.losses
    numbers = {
        "eval/win_rate": found.win_rate,
        "eval/win_rate_low": found.low,
        "eval/win_rate_high": found.high,
        "eval/win_rate_ties": found.ties / valid if valid else None,
        "eval/win_rate_invalid": found.invalid / found.pairs if found.pairs else None,
        "eval/win_rate_flips": found.flip_rate,
    }
    return {name: number for name, number in numbers.items() if number is not None}


def example_text(pair: Pair, found: Mapping[str, str]) -> str:
    """Show a pair as Markdown; the texts stand in indented blocks, in which nothing is Markdown or HTML."""
    outcome = _OUTCOMES.get(found.get(pair.pair_id, ""), "no valid verdict")
    texts = {"Prompt": pair.asked, "Policy": pair.a, "Baseline": pair.b}
    blocks = [f"{title}\n\n{code_block(text[:_LONGEST])}" for title, text in texts.items()]
    return "\n\n".join([f"**{outcome}**", *blocks])
