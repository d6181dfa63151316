"""The input of the planning formulas: networks, rows and tokens of a run. Imports no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """Architecture dimensions of a network."""

    parameters: int
    matrices: int  # weights of the layers' matrices
    vocabulary: int  # 0 for a network with a scalar head
    layers: int
    hidden: int
    intermediate: int
    heads: int
    key_value_heads: int
    head_dim: int
    norms: int  # per layer
    soft_capped: bool  # attention, which then keeps its scores
    final_soft_capped: bool = False  # logits


@dataclass(frozen=True)
class Precision:
    """Bytes per number."""

    weight: int  # bytes
    compute: int  # bytes, in matrices and attention
    autocast: bool  # layers cast weights and inputs themselves

    @property
    def residual(self) -> int:
        """Bytes of a hidden state between layers."""
        return self.weight if self.autocast else self.compute


@dataclass(frozen=True)
class Pass:
    """One pass over some rows."""

    rows: int
    width: int  # tokens of a row
    targets: int  # tokens of a row whose log-probabilities are taken
    chunk: int  # tokens whose logits exist at once
    checkpoint: bool = False

    @property
    def tokens(self) -> int:
        """Tokens of all rows."""
        return self.rows * self.width

    def scores_are_kept(self, shape: Shape) -> bool:
        """Return whether the head's log-probabilities are kept for the backward pass, or made again."""
        return self.rows * self.targets <= self.chunk and not shape.final_soft_capped


@dataclass(frozen=True)
class Network:
    """A network of a run."""

    shape: Shape
    precision: Precision
    learns: bool
    micro_batch_size: int
    learning: int | None = None  # weights that learn, if not all


@dataclass(frozen=True)
class PlannedRun:
    """A run in numbers; rows and tokens are one process's, unless it says otherwise."""

    folder: str
    accelerator: str
    stage: str  # "sft", "reward_model" or "ppo"
    precision: str  # in words
    networks: dict[str, Network]
    processes: int
    sharded: bool
    train_rows: int  # of all processes
    batch_size: int  # of all processes
    updates: int
    updates_per_batch: int
    ppo_epochs: int
    prompt: int  # tokens: the longest prompt (ppo), or the longest row
    response: int  # tokens; 0 without generation
    update: Pass
    reference_passes: int
    gathers_full_policy: bool = True  # the policy, to generate
    offloads: bool = False  # frozen networks

    @property
    def rows(self) -> int:
        """Rows of a batch."""
        return self.batch_size // self.processes

    @property
    def rows_trained(self) -> int:
        """Rows of a batch that training passes read, over all processes; a pair is two."""
        return 2 * self.batch_size if self.stage == "reward_model" else self.batch_size

    @property
    def batches(self) -> float:
        """Batches of the run."""
        return self.updates / self.updates_per_batch


def is_scorer(name: str) -> bool:
    """Return whether a network is a scorer, by its name."""
    return name.startswith("scorer ")
