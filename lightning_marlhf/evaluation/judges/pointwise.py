"""Pointwise judges, which prefer the response with the higher score: a reward model, and tiny TL;DR's gold score."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from lightning_marlhf.evaluation.judges import Judge, JudgeError
from lightning_marlhf.evaluation.pairs import Pair
from lightning_marlhf.ranges import NonNegative, PositiveInt, checked
from lightning_marlhf.records import Verdict
from lightning_marlhf.tasks import tiny_tldr

ORDERS = ("",)  # each response is seen alone


class TextScorer(Protocol):
    """Scores responses, as `RewardModelScorer` does."""

    def score_texts(self, *args: Any, **kwargs: Any) -> Any:
        """Return a score per response, [response]."""
        ...


@checked
class RewardModelJudge:
    """Prefers the response with the higher score. EOS follows a response that ended, as in training.

    Args:
        scorer: A loaded sequence classifier.
        name: Name of the reward model in the records.
        margin: Scores that differ by no more are a tie.
        batch_size: Responses per forward pass.
    """

    prompt_version = ""

    def __init__(
        self, scorer: TextScorer, *, name: str, margin: NonNegative = 0.0, batch_size: PositiveInt = 32
    ) -> None:
        self.name = f"rm:{name}" + (f" (margin {margin:g})" if margin else "")
        self._scorer = scorer
        self._margin = margin
        self._pairs_per_batch = max(1, batch_size // 2)

    def orders(self, pair: Pair) -> tuple[str, ...]:
        """Return the orders in which a pair is shown: none."""
        return ORDERS

    def judge(self, pairs: Sequence[Pair]) -> Iterator[Verdict]:
        """Yield a verdict for each pair; one that is too long for the reward model is invalid."""
        for start in range(0, len(pairs), self._pairs_per_batch):
            batch = pairs[start : start + self._pairs_per_batch]
            try:
                yield from self._judge(batch)
            except ValueError:  # a pair is too long: find out which
                for pair in batch:
                    try:
                        yield from self._judge([pair])
                    except ValueError as error:
                        yield invalid(pair, str(error), judge=self.name)

    def _judge(self, pairs: Sequence[Pair]) -> list[Verdict]:
        prompts = [pair.prompt for pair in pairs]
        responses = [pair.a for pair in pairs] + [pair.b for pair in pairs]
        ended = [pair.ended[side] for side in (0, 1) for pair in pairs]
        messages = [pair.messages for pair in pairs]
        ids = [pair.ids[side] for side in (0, 1) for pair in pairs]
        scores = self._scorer.score_texts(prompts * 2, responses, ended, messages * 2, ids).tolist()
        return [
            compare(pair, a, b, judge=self.name, margin=self._margin)
            for pair, a, b in zip(pairs, scores, scores[len(pairs) :], strict=False)
        ]


class GoldJudge(Judge):
    """Prefers the summary with more of the facts of its post: the ground truth of tiny TL;DR."""

    name = "gold"
    prompt_version = ""

    def orders(self, pair: Pair) -> tuple[str, ...]:
        """Return the orders in which a pair is shown: none."""
        return ORDERS

    def judge(self, pairs: Sequence[Pair]) -> Iterator[Verdict]:
        """Yield a verdict for each pair.

        Raises:
            JudgeError: A pair has no facts of its post.
        """
        for pair in pairs:
            facts = pair.reference
            if not isinstance(facts, Mapping) or not facts.keys() >= tiny_tldr.FACTS.keys():
                expected = f"expected `reference` with {', '.join(tiny_tldr.FACTS)} in --a, got {str(facts)[:60]}"
                raise JudgeError(f"the gold judge supports tiny TL;DR only: {expected}")
            a, b = (tiny_tldr.gold_score(text, facts) for text in (pair.a, pair.b))
            yield compare(pair, a, b, judge=self.name)


def compare(pair: Pair, a: float, b: float, *, judge: str, margin: float = 0.0) -> Verdict:
    """Return the verdict for the response with the higher score; scores that differ by ``margin`` at most are a tie."""
    if not (math.isfinite(a) and math.isfinite(b)):
        return invalid(pair, f"scores are {a} and {b}", judge=judge)
    winner = "tie" if abs(a - b) <= margin else "a" if a > b else "b"
    scores = json.dumps({"a": a, "b": b})
    return Verdict(pair.pair_id, pair.fingerprint, "", winner, judge, raw=scores)


def invalid(pair: Pair, why: str, *, judge: str) -> Verdict:
    """Return the verdict on a pair that cannot be judged."""
    return Verdict(pair.pair_id, pair.fingerprint, "", "invalid", judge, error=why)
