"""Human judges: verdicts written by `annotate`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from lightning_marlhf.evaluation.judges import WINNERS, JudgeError
from lightning_marlhf.evaluation.outcomes import latest
from lightning_marlhf.evaluation.pairs import Pair
from lightning_marlhf.records import Verdict, read_verdicts


class HumanJudge:
    """Reads a file of verdicts, of one person or several.

    Args:
        path: JSONL of `Verdict`.

    Attributes:
        left_out: Number of verdicts in the file on other prompts or responses than those judged last.
    """

    prompt_version = ""

    def __init__(self, path: Path) -> None:
        self.name = f"human:{path}"
        self.left_out = 0
        self._path = path

    def orders(self, pair: Pair) -> tuple[str, ...]:
        """Return one order: every pair that is judged has at least one verdict."""
        return ("",)

    def judge(self, pairs: Sequence[Pair]) -> Iterator[Verdict]:
        """Yield the verdicts on ``pairs``: each person's last one on a pair.

        Raises:
            JudgeError: The file holds something else, or nothing on these pairs.
        """
        try:
            verdicts = latest(read_verdicts(self._path))
        except ValueError as error:
            raise JudgeError(f"expected verdicts: {error}") from None
        for verdict in verdicts:
            if verdict.winner not in WINNERS:
                raise JudgeError(f"{self._path}: winner is {verdict.winner!r}: expected one of {', '.join(WINNERS)}")
        fingerprints = {pair.pair_id: pair.fingerprint for pair in pairs}
        fitting = [each for each in verdicts if fingerprints.get(each.pair_id) == each.fingerprint]
        self.left_out = len(verdicts) - len(fitting)
        if not fitting:
            raise JudgeError(f"{self._path}: none of its {len(verdicts)} verdicts is on these pairs of responses")
        yield from fitting
