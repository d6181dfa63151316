"""The order of rows: a function of seed and epoch alone, the same rows in a batch for any number of ranks."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import Sampler

from lightning_marlhf.seeds import derive_seed


class TrainingSampler(Sampler[int]):
    """Shuffles rows anew in every epoch, and sorts rows that come close to each other by length.

    The batch of an update is cut into micro-batches, each padded to its longest row; sorted rows need little padding.
    With a window of one batch the batches, and so the updates, are those of an unsorted shuffle. A wider window puts
    rows of similar length into the same batch, which saves padding if a batch is one micro-batch, and shuffles the
    batches.

    Stateful, so that a dataloader resumes inside an epoch.

    Args:
        size: Number of rows.
        batch_size: Rows of one update or rollout, over all ranks.
        seed: Seed of the shuffles.
        ranks: Number of processes, which share the rows of each batch.
        rank: This process.
        lengths: Tokens of each row; None does not sort.
        window: Number of batches whose rows are sorted together.
    """

    def __init__(
        self,
        size: int,
        *,
        batch_size: int,
        seed: int,
        ranks: int = 1,
        rank: int = 0,
        lengths: Sequence[int] | None = None,
        window: int = 1,
    ) -> None:
        self.batches = size // batch_size  # the rest of the rows is left out of this epoch
        self.size = size
        self.batch_size = batch_size
        self.seed = seed
        self.ranks = ranks
        self.rank = rank
        self.lengths = None if lengths is None else torch.tensor(lengths)
        self.window = window
        self.epoch = 0
        self.yielded = 0
        self._resume_at = 0

    def __len__(self) -> int:
        """Count the rows of this rank in one epoch."""
        return self.batches * self.batch_size // self.ranks

    def set_epoch(self, epoch: int) -> None:
        """Choose the shuffle; the trainer calls this before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        """Yield this rank's rows, batch by batch."""
        self.yielded, self._resume_at = self._resume_at, 0
        for row in self.order()[:, self.rank :: self.ranks].flatten()[self.yielded :].tolist():
            self.yielded += 1
            yield row

    def order(self) -> Tensor:
        """Return the rows of this epoch, [batches, batch_size], over all ranks."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", self.epoch))
        rows = torch.randperm(self.size, generator=generator)
        rows = rows[: self.batches * self.batch_size].reshape(self.batches, self.batch_size)
        if self.lengths is None:
            return rows
        windows = (self._sort(window) for window in rows.split(self.window))
        if self.window == 1:
            return torch.cat(list(windows))
        return torch.cat([w[torch.randperm(len(w), generator=generator)] for w in windows])

    def state_dict(self) -> dict[str, int]:
        """Return the position in the epoch over all ranks, whose number may differ when the run resumes."""
        return {"yielded": self.yielded * self.ranks}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Resume at the position of ``state``."""
        self._resume_at = state["yielded"] // self.ranks

    def _sort(self, rows: Tensor) -> Tensor:
        assert self.lengths is not None
        flat = rows.flatten()
        return flat[self.lengths[flat].argsort(descending=True, stable=True)].reshape(rows.shape)


class HeldOutSampler(Sampler[int]):
    """Sequential sampler of held-out rows, round-robin over ranks, padded to equal numbers.

    If the rows cannot be shared evenly, the last ranks repeat the last row, so that all ranks make the same number
    of forward passes; repeated rows do not count.

    Args:
        size: Number of rows, at least 1.
        ranks: Number of processes.
        rank: This process.
    """

    def __init__(self, size: int, *, ranks: int = 1, rank: int = 0) -> None:
        self.size = size
        self.ranks = ranks
        self.rank = rank

    def __len__(self) -> int:
        """Count the rows of this rank."""
        return -(-self.size // self.ranks)

    def __iter__(self) -> Iterator[int]:
        """Yield this rank's rows."""
        return (min(self.rank + self.ranks * at, self.size - 1) for at in range(len(self)))

    def num_valid_rows(self, batch_size: int, batch: int) -> int:
        """Count the rows of this rank's ``batch`` (from 0) that are no repetitions; they come first."""
        mine = len(range(self.rank, self.size, self.ranks))
        return max(0, min(batch_size, mine - batch_size * batch))
