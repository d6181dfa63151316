"""Which rows of a data set belong to which phase of RLHF, by row as in the paper's runs, or by post."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from datasets import Dataset

from lightning_marlhf.data import splits

SplitBy = Literal["post", "row"]


@dataclass(frozen=True)
class Phases:
    """How the rows of a split are shared.

    Attributes:
        shares: of SFT, reward model and PPO; they need not add up to 1. None gives all rows to each.
        seed: of the shuffle.
        by: "post" keeps rows of one post together.
    """

    shares: Sequence[float] | None
    seed: int
    by: SplitBy

    @classmethod
    def parse(cls, text: str | None, *, seed: int, by: SplitBy, expected: int) -> "Phases":
        """Read shares such as "2,4,4".

        Raises:
            ValueError: they are no such numbers, or not as many as there are phases.
        """
        if text is None:
            return cls(None, seed, by)
        try:
            shares = [float(share) for share in text.split(",")]
        except ValueError:
            shares = []
        if len(shares) != expected or min(shares) < 0 or sum(shares) <= 0:
            raise ValueError(
                f'data.init_args.phases: expected {expected} shares such as "2,8" or "2,4,4", got {text!r}'
            )
        return cls(shares, seed, by)

    def size(self, rows: int, phase: int) -> int:
        """Count the rows of a phase of a split by row; one by post comes as near as whole posts allow."""
        if self.shares is None:
            return rows
        bounds = splits.phase_bounds(self.shares, rows)
        return bounds[phase + 1] - bounds[phase]

    def rows(self, texts: Dataset, phase: int) -> Sequence[int]:
        """Give the rows of a phase, counted from 0, in the order of the shuffle."""
        if self.shares is None:
            return range(len(texts))
        if self.by == "row":
            return splits.phase(len(texts), self.shares, phase, seed=self.seed).tolist()
        posts = texts["post"][:]
        return splits.phase_by_post(posts, self.shares, phase, seed=self.seed).tolist()

    def shared_posts(self, texts: Dataset, phase: int) -> tuple[int, int]:
        """Count the posts of a phase, and those of them that other phases have too, where there are phases."""
        posts = np.array(texts["post"][:])
        mine = self.rows(texts, phase)
        others = np.ones(len(posts), dtype=bool)
        others[mine] = False
        found = set(posts[mine].tolist())
        return len(found), len(found & set(posts[others].tolist()))
