"""The strategy under which networks are sharded over all processes: Lightning's ModelParallelStrategy with our settings."""

from typing import Literal

from lightning.pytorch.strategies import ModelParallelStrategy

from lightning_marlhf.models.configs import torch_dtype
from lightning_marlhf.models.fsdp import Gathering, Sharding


class ShardedStrategy(ModelParallelStrategy):
    """Shards every network of a run over all processes (FSDP2); also on one process, and on CPUs.

    Weights, gradients and AdamW's moments are sharded in the dtype of the weights (`model.init_args.dtype`); set
    `trainer.precision` to 32-true.

    Args:
        compute_dtype: of passes; gradients are added up in fp32 all the same.
        gathering: a "rollout" gathers the whole policy once, or "block" by block for every token, where memory is short.
        offload_frozen: keep networks that do not learn in the memory of the host; slower.
    """

    def __init__(
        self,
        *,
        compute_dtype: Literal["bfloat16", "float32"] = "bfloat16",
        gathering: Gathering = "rollout",
        offload_frozen: bool = False,
    ) -> None:
        super().__init__(data_parallel_size="auto", tensor_parallel_size=1)
        self.compute_dtype = torch_dtype(compute_dtype)
        self.gathering = gathering
        self.offload_frozen = offload_frozen

    @property
    def sharding(self) -> Sharding:
        """How networks are sharded."""
        return Sharding(
            mesh=self.device_mesh["data_parallel"],
            compute_dtype=self.compute_dtype,
            gathering=self.gathering,
            offload_frozen=self.offload_frozen,
        )

    def setup_environment(self) -> None:
        """Connect the processes: all of them share the networks (Lightning's "auto" is one per node)."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()
