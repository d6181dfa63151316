"""Retries for scorers that fail: servers down, timeouts, overflows.

A failed request is retried; after the last attempt all ranks skip the rollout together. A response whose score is not
finite is masked out of losses and metrics.
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
from lightning_marlhf.rollout.scoring import Scorer, Scores
from lightning_marlhf.types import Pending, Rollout

RESERVED_NAMES = {"scores", "scores_invalid", "scores_clamped", "kl", "kl_coefficient", "entropy"} | {
    "non_score_reward",
    "rlhf_reward",
    "response_length",
    "ended",
}
"""Names of other metrics, with which a scorer's numbers of that name would be averaged."""


@checked
@dataclass(frozen=True)
class RetryPolicy:
    """How failing scorers are retried.

    Attributes:
        attempts: Maximum number of requests for the scores of one rollout.
        wait_s: Seconds before the second attempt; the wait doubles with each further one.
        max_skips_in_a_row: Maximum number of rollouts in a row that are skipped for lack of scores; one more ends
            the run.
    """

    attempts: PositiveInt = 3
    wait_s: NonNegative = 1.0
    max_skips_in_a_row: NonNegativeInt = 3


def check_names(scorers: Sequence[Scorer]) -> None:
    """Refuse scorers whose numbers could not be told apart from each other's or from other metrics.

    Raises:
        ValueError: two have one name, or one has a name of `RESERVED_NAMES`.
    """
    names = [scorer.name for scorer in scorers]
    if len(set(names)) < len(names) or set(names) & RESERVED_NAMES:
        raise ValueError(
            f"scorers are called {names}: expected different names, none of {sorted(RESERVED_NAMES)}; "
            "set init_args.name"
        )


class ScoringError(RuntimeError):
    """A rollout has no scores, on this rank or another one.

    Attributes:
        final: no other rollout would have scores either, as a scorer never replied.
    """

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


class RetryingScorer(Scorer):
    """Retries another scorer until it succeeds.

    A ValueError before its first reply is a mistake in the settings, and raised at once.

    Args:
        scorer: the other one, prepared.
        retry_policy: number of attempts and waits.
    """

    def __init__(self, scorer: Scorer, retry_policy: RetryPolicy) -> None:
        self.name = scorer.name
        self.scorer = scorer
        self.retry_policy = retry_policy
        self.replied = False

    def submit(self, rollout: Rollout, *, evaluating: bool) -> Pending[Scores]:
        """Start to score ``rollout``."""
        return _Attempts(self, rollout, evaluating=evaluating)


class _Attempts:
    """Pending scores that are requested again on failure."""

    def __init__(self, retrying: RetryingScorer, rollout: Rollout, *, evaluating: bool) -> None:
        self._retrying = retrying
        self._rollout = rollout
        self._evaluating = evaluating
        self._pending = self._submit()

    def result(self) -> Scores:
        """Wait for the scores; those that are no finite number are not valid, and warned of.

        Raises:
            ScoringError: all attempts failed; its cause is what the last one raised.
            ValueError: a mistake in the settings, or in the scorer.
        """
        retrying, policy = self._retrying, self._retrying.retry_policy
        for attempt in itertools.count(1):
            outcome = self._outcome()
            if isinstance(outcome, Scores):
                retrying.replied = True
                return self._without_non_finite(outcome)
            if isinstance(outcome, ValueError) and not retrying.replied:
                raise ValueError(f"scorer {retrying.name}: {outcome}") from outcome
            failed = f"scorer {retrying.name} failed in attempt {attempt} of {policy.attempts}: {outcome!r}"
            if attempt == policy.attempts:
                raise ScoringError(failed, final=not retrying.replied) from outcome
            warnings.warn(failed, stacklevel=2)
            time.sleep(policy.wait_s * 2 ** (attempt - 1))
            self._pending = self._submit()
        raise AssertionError

    def _submit(self) -> Pending[Scores] | Exception:
        try:
            return self._retrying.scorer.submit(self._rollout, evaluating=self._evaluating)
        except Exception as error:
            return error

    def _outcome(self) -> Scores | Exception:
        if isinstance(self._pending, Exception):
            return self._pending
        if not hasattr(self._pending, "result"):
            given = type(self._pending).__name__
            return ValueError(f"expected pending scores, such as Ready(Scores(...)), got {given}")
        try:
            return normalize_scores_output(self._pending.result(), self._rollout)
        except Exception as error:
            return error

    def _without_non_finite(self, scores: Scores) -> Scores:
        finite = scores.values.float().square().isfinite()  # as losses and variances need it
        broken = (scores.valid & ~finite).nonzero().flatten().tolist()
        if not broken:
            return scores
        reason = (
            f"scorer {self._retrying.name} gave {scores.values[broken[0]].item()} for the response to "
            f"{self._rollout.prompts.sample_ids[broken[0]]} "
            f"(no finite number for {len(broken)} of {len(finite)} responses)"
        )
        warnings.warn(f"{reason}; masked out of the losses", stacklevel=2)
        return replace(scores, valid=scores.valid & finite, reason=reason)


def normalize_scores_output(scores: Scores, rollout: Rollout) -> Scores:
    """Normalise a scorer's output: floats, on the device of the rollout; details that are infinite are NaN.

    Raises:
        ValueError: it is not one score for each response.
    """
    size, device = len(rollout), rollout.response_ids.device
    if not isinstance(scores, Scores):
        raise ValueError(f"expected Scores, got {type(scores).__name__}")
    try:
        values = at_least_float32(torch.as_tensor(scores.values, device=device).detach())
        valid = torch.as_tensor(scores.valid, device=device)
        details = tuple(
            {name: float(x) if math.isfinite(x) else math.nan for name, x in row.items()} for row in scores.details
        )
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"expected numbers and details of numbers by name: {error}") from error
    if values.is_complex():
        raise ValueError(f"expected real numbers, got {values.dtype}")
    if taken := RESERVED_NAMES.intersection(itertools.chain(*details)):
        raise ValueError(f"details are called {sorted(taken)}, as other metrics are: rename them")
    if values.shape != (size,) or valid.shape != (size,) or len(details) != size:
        shapes = f"{list(values.shape)}, {list(valid.shape)} and {len(details)}"
        raise ValueError(f"expected values, valid and details for each of {size} responses, got {shapes}")
    if valid.dtype != torch.bool:
        raise ValueError(f"expected valid to be bool, got {valid.dtype}")
    return Scores(values, valid, details)


def wait_for_all(
    pending: Sequence[Pending[Scores]], *, all_reduce_sum: Callable[[Tensor], Tensor], device: torch.device
) -> list[Scores]:
    """Wait for the scores of all scorers, on all ranks.

    Raises:
        ScoringError: one failed, here or elsewhere; all ranks raise together, so that none waits for another.
        Exception: a configuration error, which the next rollout would raise, too.
    """
    failure: Exception | None = None
    scores = []
    try:
        scores = [each.result() for each in pending]
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


def require_scores(scores: Scores, *, all_reduce_sum: Callable[[Tensor], Tensor]) -> None:
    """Require a valid score on any rank; a rollout of which the scorer itself says that it has none is accepted.

    Raises:
        ScoringError: there is none, as the scorer gave NaN or infinity; on all ranks together.
    """
    failed_here = torch.tensor(int(scores.reason != ""), device=scores.valid.device)
    counts = all_reduce_sum(torch.stack([scores.valid.sum(), failed_here]))
    valid, complaints = counts.tolist()
    if complaints and not valid:
        raise ScoringError(f"no score of the rollout is a finite number: {scores.reason}")
