"""The strategy that shards networks over all processes: Lightning's ModelParallelStrategy, set up for us."""

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from lightning_marlhf.models.configs import torch_dtype
from lightning_marlhf.models.fsdp import Gathering, Sharding
from lightning_marlhf.models.safe_checkpoint import write_data
from lightning_marlhf.models.sharded_checkpoint import (
    METADATA_FILE,
    Writer,
    first_failure,
    load,
    read_index,
    read_metadata_file,
)


class ShardedStrategy(ModelParallelStrategy):
    """Shards every network of a run over all processes (FSDP2); also on one process, and on CPUs.

    Weights, gradients and AdamW's moments are sharded in the dtype of the weights (`model.init_args.dtype`); set
    `trainer.precision` to 32-true. Checkpoints are folders to which each process writes its shard, in the background
    if the caller passes a completion callback.

    Args:
        compute_dtype: dtype of forward and backward passes; gradients are reduced in fp32 all the same.
        gathering: how the policy is gathered for generation: in full, once per "rollout"; or "block" by block for every
            token, which takes less memory.
        offload_frozen: keep networks that do not learn in the memory of the host, which is slower.
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
        self._writing: Future[Any] | None = None

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
        # a separate group for checkpoints, which are written asynchronously during training
        self._writers = torch.distributed.new_group(backend="gloo")

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Callable[[], None] | None = None
    ) -> None:
        """Write a checkpoint, each process its shard.

        Args:
            checkpoint: as Lightning collects it.
            filepath: the folder.
            storage_options: completion callback, called on rank 0. With it this method returns once the
                weights are copied, and they are written in the background; an error is raised by the next save.
        """
        self.finish_saving()
        folder = Path(self.broadcast(filepath))
        tensors = {"state_dict": checkpoint.pop("state_dict")}
        for at, state in enumerate(checkpoint.pop("optimizer_states", [])):
            tensors[f"optimizer_{at}"] = state
        if self.is_global_zero:
            folder.mkdir(parents=True, exist_ok=True)
            write_data(checkpoint, folder / METADATA_FILE)
        self.barrier()
        to = {"storage_writer": Writer(folder), "process_group": self._writers}
        if storage_options is None:
            with first_failure():
                dcp.save(tensors, **to)  # type: ignore[attr-defined]
            return
        writing: Future[Any] = dcp.async_save(tensors, **to)  # type: ignore[attr-defined, assignment]
        self._writing = _then(writing, storage_options) if self.is_global_zero else writing

    def finish_saving(self) -> None:
        """Wait for an asynchronous checkpoint to be complete; collective.

        Raises:
            Exception: whatever went wrong while it was written.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            with first_failure():
                writing.result()
            self.barrier()

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Return the shards of the trained weights, on the CPU."""
        assert self.model is not None
        return get_model_state_dict(self.model, options=StateDictOptions(cpu_offload=True, ignore_frozen_params=True))

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Load a checkpoint that any number of processes wrote under this strategy.

        Raises:
            BrokenCheckpointError: it is incomplete; names the file.
            ValueError: it was saved without sharding.
        """
        self.finish_saving()
        folder = Path(self.broadcast(checkpoint_path))
        if not folder.is_dir():
            raise ValueError(
                f"{folder} was saved without sharding: resume as it was saved (trainer.strategy auto), or start a "
                "sharded run from its export"
            )
        assert self.model is not None
        read_index(folder)
        rest = read_metadata_file(folder)
        options = StateDictOptions(ignore_frozen_params=True, strict=False)
        state = {"state_dict": get_model_state_dict(self.model, options=options)}
        load(state, folder)
        set_model_state_dict(self.model, state["state_dict"], options=options)
        for at, optimizer in enumerate(self.optimizers):
            name = f"optimizer_{at}"
            moments = {name: get_optimizer_state_dict(self.model, optimizer)}
            load(moments, folder)
            set_optimizer_state_dict(self.model, optimizer, optim_state_dict=moments[name])
        return rest

    def teardown(self) -> None:
        """Wait for an asynchronous checkpoint."""
        self.finish_saving()
        super().teardown()


def _then(writing: Future[Any], act: Callable[[], None]) -> Future[None]:
    """Return a future that completes after ``writing`` and ``act``."""
    done: Future[None] = Future()

    def finish(written: Future[Any]) -> None:
        try:
            written.result()
            act()
        except BaseException as error:  # for whoever waits, in another thread
            done.set_exception(error)
        else:
            done.set_result(None)

    writing.add_done_callback(finish)
    return done
