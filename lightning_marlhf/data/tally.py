"""What became of the rows of a split: how many are used, and which were dropped or cut, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from datasets import Dataset

_EXAMPLES = 5


@dataclass(frozen=True)
class Tally:
    """Counts of a tokenised split."""

    rows: int
    dropped: Mapping[str, Sequence[int]]  # why -> numbers of the rows in the source, from 0
    truncated: int  # rows that lost one end

    @property
    def kept(self) -> int:
        """Count the rows that are used."""
        return self.rows - sum(len(rows) for rows in self.dropped.values())

    def lines(self) -> list[str]:
        """Say what was dropped and cut, a reason a line, with the first row numbers (from 1, as lines of a file)."""
        lines = [
            f"{len(rows):,} of {self.rows:,} rows dropped: {reason} ({_numbers(rows)})"
            for reason, rows in self.dropped.items()
        ]
        if self.truncated:
            lines.append(f"{self.truncated:,} of {self.rows:,} rows cut to their limit")
        return lines


def take_tally(encoded: Dataset) -> Tally:
    """Count what `encode` says of its rows."""
    dropped: dict[str, list[int]] = {}
    columns = encoded.with_format("numpy")
    rows, reasons = columns["row"][:], encoded["unusable"][:]
    for row, reason in zip(rows.tolist(), reasons, strict=True):
        if reason:
            dropped.setdefault(reason, []).append(row)
    truncated = sum(
        cut and not reason for cut, reason in zip(encoded["truncated"][:], reasons, strict=True)
    )
    return Tally(len(encoded), dropped, truncated)


def _numbers(rows: Sequence[int]) -> str:
    different = list(dict.fromkeys(rows))
    shown = ", ".join(f"{row + 1}" for row in different[:_EXAMPLES])
    more = ", ..." if len(different) > _EXAMPLES else ""
    return f"{'row' if len(different) == 1 else 'rows'} {shown}{more}"
