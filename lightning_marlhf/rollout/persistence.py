"""Scorers fail: servers go away, machines are busy. They are asked again; in the end all ranks give the rollout up."""

import itertools
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_marlhf.ranges import NonNegative, NonNegativeInt, PositiveInt, checked
from lightning_marlhf.rollout.scoring import Pending, Scorer, Scores
from lightning_marlhf.types import Rollout


@checked
@dataclass(frozen=True)
class Patience:
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
    """A rollout has no scores, on this rank or another one."""


class PersistentScorer(Scorer):
    """Asks another scorer until it answers.

    A ValueError before its first answer is a mistake in the settings, and raised as it is.

    Args:
        scorer: the other one.
        patience: how often it is asked.
    """

    def __init__(self, scorer: Scorer, patience: Patience) -> None:
        self.name = scorer.name
        self.scorer = scorer
        self.patience = patience
        self.answered = False

    def submit(self, rollout: Rollout) -> Pending:
        """Start to score ``rollout``."""
        return _Asked(self, rollout)


class _Asked:
    """Scores that may have to be asked for again."""

    def __init__(self, asker: PersistentScorer, rollout: Rollout) -> None:
        self._asker = asker
        self._rollout = rollout
        self._answer = self._submit()

    def result(self) -> Scores:
        """Wait for the scores.

        Raises:
            ScoringError: all attempts failed; its cause is what the last one raised.
        """
        asker, patience = self._asker, self._asker.patience
        for attempt in itertools.count(1):
            outcome = self._outcome()
            if isinstance(outcome, Scores):
                asker.answered = True
                return outcome
            if isinstance(outcome, ValueError) and not asker.answered:
                raise outcome
            failed = f"scorer {asker.name} failed in attempt {attempt} of {patience.attempts}: {outcome!r}"
            if attempt == patience.attempts:
                raise ScoringError(failed) from outcome
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
        try:
            return self._answer.result()
        except Exception as error:
            return error


def wait_for_all(
    pending: Sequence[Pending],
    *,
    all_reduce_sum: Callable[[Tensor], Tensor],
    device: torch.device,
) -> list[Scores]:
    """Wait for the answers of all scorers, on all ranks.

    Raises:
        ScoringError: one failed, here or elsewhere; all ranks raise it together, so that none waits for another.
    """
    failure: ScoringError | None = None
    scores = []
    try:
        scores = [answer.result() for answer in pending]
    except ScoringError as error:
        failure = error
    failed = all_reduce_sum(torch.tensor(float(failure is not None), device=device))
    if failed > 0:
        raise failure or ScoringError("the scorer of another process failed")
    return scores
