"""What became of the rows of a split: how many are used, and which were dropped or cut, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from datasets import Dataset

_EXAMPLES = 5


Rows = Mapping[str, Sequence[int]]
"""Why -> numbers of the rows in the source, from 0."""


@dataclass(frozen=True)
class RowCounts:
    """Counts of a tokenised split."""

    rows: int
    dropped: Rows
    truncated: Rows  # used, but for one end
    odd: Rows  # used

    @property
    def kept(self) -> int:
        """Count the rows that are used."""
        return self.rows - sum(len(rows) for rows in self.dropped.values())

    def lines(self) -> list[str]:
        """Say what was dropped, cut or odd, a reason a line, with the first row numbers (from 1, as a file's lines)."""
        found = {"dropped": self.dropped, "cut": self.truncated, "kept, though": self.odd}
        return [
            f"{len(rows):,} of {self.rows:,} rows {what}: {reason} ({_numbers(rows)})"
            for what, reasons in found.items()
            for reason, rows in reasons.items()
        ]


def count_rows(encoded: Dataset) -> RowCounts:
    """Count what `encode` says of its rows, or `read_texts`, which cuts none."""
    uncut = {"truncated": [False] * len(encoded)}
    names = ("row", "unusable", "remark", "truncated")
    columns = (encoded[n][:] if n in encoded.column_names else uncut[n] for n in names)
    dropped: dict[str, list[int]] = {}
    truncated: dict[str, list[int]] = {}
    odd: dict[str, list[int]] = {}
    for row, unusable, remark, cut in zip(*columns, strict=True):
        if unusable:
            dropped.setdefault(unusable, []).append(row)
        if remark and not unusable:
            odd.setdefault(remark, []).append(row)
        if cut and not unusable:
            truncated.setdefault("longer than max_length", []).append(row)
    return RowCounts(len(encoded), dropped, truncated, odd)


def _numbers(rows: Sequence[int]) -> str:
    different = list(dict.fromkeys(rows))
    shown = ", ".join(f"{row + 1}" for row in different[:_EXAMPLES])
    more = ", ..." if len(different) > _EXAMPLES else ""
    return f"{'row' if len(different) == 1 else 'rows'} {shown}{more}"
