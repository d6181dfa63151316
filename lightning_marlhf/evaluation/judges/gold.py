"""The gold score of tiny TL;DR as judge: the truth that a reward model is to learn."""

from collections.abc import Iterator, Mapping, Sequence

from lightning_marlhf.evaluation.judges import scored
from lightning_marlhf.evaluation.judges.base import JudgeError
from lightning_marlhf.evaluation.pairs import Pair
from lightning_marlhf.records import Verdict
from lightning_marlhf.tasks import tiny_tldr


class GoldJudge:
    """Prefers the summary that gets more of its post's facts right."""

    name = "gold"
    prompt_version = ""

    def orders(self, pair: Pair) -> tuple[str, ...]:
        """Say in which orders a pair is shown: each text is seen alone."""
        return scored.ORDERS

    def judge(self, pairs: Sequence[Pair]) -> Iterator[Verdict]:
        """Yield a verdict for each pair.

        Raises:
            JudgeError: a pair does not tell the facts of its post.
        """
        for pair in pairs:
            facts = pair.reference
            if not isinstance(facts, Mapping) or not facts.keys() >= tiny_tldr.FACTS.keys():
                raise JudgeError(
                    f"gold judges tiny TL;DR alone: expected `reference` with {', '.join(tiny_tldr.FACTS)} in --a, got "
                    f"{str(facts)[:60]}"
                )
            a, b = (tiny_tldr.gold_score(text, facts) for text in (pair.a, pair.b))
            yield scored.compare(pair, a, b, judge=self.name)
