"""A reward model as judge."""

import math
from collections.abc import Iterator, Sequence

from lightning_marlhf.evaluation.judges import scored
from lightning_marlhf.evaluation.pairs import Pair
from lightning_marlhf.ranges import NonNegative, PositiveInt, checked
from lightning_marlhf.records import Verdict
from lightning_marlhf.rollout.scoring import RewardModelScorer


@checked
class RewardModelJudge:
    """Prefers the answer with the higher score, with probability sigmoid(score of a - score of b).

    EOS stands behind an answer that ended, as in training.

    Args:
        scorer: a one-label sequence classifier, loaded.
        name: of the reward model, for the records.
        margin: scores that differ by no more are a tie.
        batch_size: texts in a pass.
    """

    prompt_version = ""

    def __init__(
        self,
        scorer: RewardModelScorer,
        *,
        name: str,
        margin: NonNegative = 0.0,
        batch_size: PositiveInt = 32,
    ) -> None:
        self.name = f"rm:{name}" + (f" (margin {margin:g})" if margin else "")
        self._scorer = scorer
        self._margin = margin
        self._pairs_in_pass = max(1, batch_size // 2)

    def orders(self, pair: Pair) -> tuple[str, ...]:
        """Say in which orders a pair is shown: each text is seen alone."""
        return scored.ORDERS

    def judge(self, pairs: Sequence[Pair]) -> Iterator[Verdict]:
        """Yield a verdict for each pair; one that is too long for the reward model is invalid."""
        for start in range(0, len(pairs), self._pairs_in_pass):
            batch = pairs[start : start + self._pairs_in_pass]
            try:
                yield from self._judge(batch)
            except ValueError:  # too long: find out which
                for pair in batch:
                    yield self._judge_alone(pair)

    def _judge(self, pairs: Sequence[Pair]) -> list[Verdict]:
        prompts = [pair.prompt for pair in pairs]
        answers = [pair.a for pair in pairs] + [pair.b for pair in pairs]
        ended = [pair.ended[side] for side in (0, 1) for pair in pairs]
        messages = [pair.messages for pair in pairs]
        ids = [pair.ids[side] for side in (0, 1) for pair in pairs]
        scores = self._scorer.score_texts(prompts * 2, answers, ended, messages * 2, ids).tolist()
        return [
            scored.compare(
                pair, a, b, judge=self.name, margin=self._margin, p_a=preference_probability(a, b)
            )
            for pair, a, b in zip(pairs, scores, scores[len(pairs) :], strict=False)
        ]

    def _judge_alone(self, pair: Pair) -> Verdict:
        try:
            return self._judge([pair])[0]
        except ValueError as error:
            return scored.invalid(pair, str(error), judge=self.name)


def preference_probability(a: float, b: float) -> float:
    """Bradley-Terry: how often the answer with score ``a`` is preferred, however far the scores are apart.

    >>> preference_probability(2.0, 2.0), preference_probability(-1000.0, 1000.0)
    (0.5, 0.0)
    """
    return 0.5 * (1.0 + math.tanh((a - b) / 2))
