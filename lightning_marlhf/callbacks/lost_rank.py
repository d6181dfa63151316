"""Which process is gone, when a collective fails in the others: its error knows an address at best."""

import os
import socket
import time

import psutil
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

_OF_COLLECTIVES = ("gloo", "NCCL", "ProcessGroup", "TCPStore")
_PATIENCE_S = 5.0  # a process that failed may still be ending


class LostRankError(ValueError):
    """Another process of the run is gone."""


class RollCall(Callback):
    """Notes where each process of a run lives, and finds those that are gone."""

    def __init__(self) -> None:
        self._rank = 0
        self._processes: list[tuple[str, int]] = []  # host and process id, by rank

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Note host and process of every rank."""
        self._rank = trainer.global_rank
        if trainer.world_size > 1:
            self._processes = [("", 0)] * trainer.world_size
            here = (socket.gethostname(), os.getpid())
            torch.distributed.all_gather_object(self._processes, here)

    def explain(self, error: BaseException) -> LostRankError | None:
        """Say who is gone, if ``error`` is that of a collective which somebody has left.

        Processes of other hosts cannot be seen from here: where none of this host is gone, they are named all together.
        """
        text = str(error)
        if not self._processes or not any(word in text for word in _OF_COLLECTIVES):
            return None
        host = self._processes[self._rank][0]
        until = time.monotonic() + _PATIENCE_S
        while not (gone := self._gone(host)) and time.monotonic() < until:
            time.sleep(0.1)
        elsewhere = [rank for rank, (where, _) in enumerate(self._processes) if where != host]
        if not gone and not elsewhere:
            return None  # all are there
        who = ", ".join(
            f"rank {rank} ({self._processes[rank][0]}, process {self._processes[rank][1]})"
            for rank in gone or elsewhere
        )
        reach = "" if gone else f", or out of reach of {host}"
        return LostRankError(
            f"{who} is gone{reach}: its own last line says why, or it was killed, as for want of memory"
        )

    def _gone(self, host: str) -> list[int]:
        """Find the ranks of this host whose process has ended."""
        return [
            rank
            for rank, (where, process) in enumerate(self._processes)
            if where == host and not _lives(process)
        ]


def _lives(process: int) -> bool:
    try:
        return psutil.Process(process).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False
