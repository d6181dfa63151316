"""Scorers fail: servers go away, machines are busy, a number overflows.

They are asked again; in the end all ranks give the rollout up. An answer whose score is no finite number is left out.
"""

import itertools
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lightning_marlhf.ops.masking import at_least_float32
from lightning_marlhf.ranges import NonNegative, NonNegativeInt, PositiveInt, checked
from lightning_marlhf.rollout.scoring import Pending, Scorer, Scores
from lightning_marlhf.types import Rollout

# Of other metrics, with which a scorer's would be averaged
RESERVED_NAMES = {"scores", "scores_invalid", "kl", "kl_coefficient", "entropy"} | {
    "non_score_reward",
    "rlhf_reward",
    "response_length",
    "ended",
}


@checked
@dataclass(frozen=True)
class RetryPolicy:
    """What is done about a scorer that raises.

    Attributes:
        attempts: how often it is asked for the scores of one rollout.
        wait_s: seconds before the second attempt; twice as many before each one that follows.
        max_skips_in_a_row: rollouts without scores are left out; more than so many, one after another, end the run.
    """

    attempts: PositiveInt = 3
    wait_s: NonNegative = 1.0
    max_skips_in_a_row: NonNegativeInt = 3


class ScoringError(RuntimeError):
    """A rollout has no scores, on this rank or another one.

    Attributes:
        final: other rollouts would have none either: a scorer never answered.
    """

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


class RetryingScorer(Scorer):
    """Asks another scorer until it answers.

    A ValueError before its first answer is a mistake in the settings, and raised at once.

    Args:
        scorer: the other one.
        patience: how often it is asked.
    """

    def __init__(self, scorer: Scorer, patience: RetryPolicy) -> None:
        self.name = scorer.name
        self.scorer = scorer
        self.patience = patience
        self.answered = False
        self.complaint = ""  # which answers of the last rollout got no finite number

    def submit(self, rollout: Rollout) -> Pending:
        """Start to score ``rollout``."""
        return _Asked(self, rollout)


class _Asked:
    """Scores that may have to be asked for again."""

    def __init__(self, asker: RetryingScorer, rollout: Rollout) -> None:
        self._asker = asker
        self._rollout = rollout
        self._answer = self._submit()

    def result(self) -> Scores:
        """Wait for the scores; those that are no finite number are not valid, and warned of.

        Raises:
            ScoringError: all attempts failed; its cause is what the last one raised.
            ValueError: a mistake in the settings, or in the scorer.
        """
        asker, patience = self._asker, self._asker.patience
        for attempt in itertools.count(1):
            outcome = self._outcome()
            if isinstance(outcome, Scores):
                asker.answered = True
                return self._without_non_finite(outcome)
            if isinstance(outcome, ValueError) and not asker.answered:
                raise ValueError(f"scorer {asker.name}: {outcome}") from outcome
            failed = f"scorer {asker.name} failed in attempt {attempt} of {patience.attempts}: {outcome!r}"
            if attempt == patience.attempts:
                raise ScoringError(failed, final=not asker.answered) from outcome
            warnings.warn(failed, stacklevel=2)
            time.sleep(patience.wait_s * 2 ** (attempt - 1))
            self._answer = self._submit()
        raise AssertionError

    def _submit(self) -> Pending | Exception:
        try:
            return self._asker.scorer.submit(self._rollout)
        except Exception as error:
            return error

    def _outcome(self) -> Scores | Exception:
        if isinstance(self._answer, Exception):
            return self._answer
        if not hasattr(self._answer, "result"):
            given = type(self._answer).__name__
            return ValueError(f"expected pending scores, such as Ready(Scores(...)), got {given}")
        try:
            return in_one_form(self._answer.result(), self._rollout)
        except Exception as error:
            return error

    def _without_non_finite(self, scores: Scores) -> Scores:
        finite = scores.values.float().square().isfinite()  # as losses and variances need it
        broken = (scores.valid & ~finite).nonzero().flatten().tolist()
        self._asker.complaint = ""
        if broken:
            sample = self._rollout.prompts.sample_ids[broken[0]]
            self._asker.complaint = (
                f"scorer {self._asker.name} gave {scores.values[broken[0]].item()} for the answer to {sample} "
                f"(no finite number for {len(broken)} of {len(finite)} answers)"
            )
            warnings.warn(f"{self._asker.complaint}; nothing is learnt from that", stacklevel=2)
        return replace(scores, valid=scores.valid & finite)


def in_one_form(scores: Scores, rollout: Rollout) -> Scores:
    """Bring what a scorer gave into one form: floats, on the device of the rollout; details that are infinite are NaN.

    Raises:
        ValueError: it is not one score for each answer.
    """
    size, device = len(rollout), rollout.response_ids.device
    if not isinstance(scores, Scores):
        raise ValueError(f"expected Scores, got {type(scores).__name__}")
    try:
        values = at_least_float32(torch.as_tensor(scores.values, device=device).detach())
        valid = torch.as_tensor(scores.valid, device=device)
        details = tuple(
            {name: float(x) if math.isfinite(x) else math.nan for name, x in row.items()}
            for row in scores.details
        )
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"expected numbers and details of numbers by name: {error}") from error
    if values.is_complex():
        raise ValueError(f"expected real numbers, got {values.dtype}")
    if taken := RESERVED_NAMES.intersection(itertools.chain(*details)):
        raise ValueError(f"details are called {sorted(taken)}, as other metrics are: rename them")
    if values.shape != (size,) or valid.shape != (size,) or len(details) != size:
        shapes = f"{list(values.shape)}, {list(valid.shape)} and {len(details)}"
        raise ValueError(
            f"expected values, valid and details for each of {size} answers, got {shapes}"
        )
    if valid.dtype != torch.bool:
        raise ValueError(f"expected valid to be bool, got {valid.dtype}")
    return Scores(values, valid, details)


def wait_for_all(
    pending: Sequence[Pending],
    *,
    all_reduce_sum: Callable[[Tensor], Tensor],
    device: torch.device,
) -> list[Scores]:
    """Wait for the answers of all scorers, on all ranks.

    Raises:
        ScoringError: one failed, here or elsewhere; all ranks raise together, so that none waits for another.
        Exception: what a scorer raised here that no other rollout would mend.
    """
    failure: Exception | None = None
    scores = []
    try:
        scores = [answer.result() for answer in pending]
    except Exception as error:
        failure = error
    final = failure is not None and getattr(failure, "final", True)
    flags = torch.tensor([failure is not None, final], dtype=torch.float32, device=device)
    failed, final = (all_reduce_sum(flags) > 0).tolist()
    if not failed:
        return scores
    failure = failure or ScoringError("the scorer of another process failed")
    if isinstance(failure, ScoringError):
        failure.final = final
    raise failure
