"""Worker processes that parse concurrently with the forward passes.

They start once. Each has its own pipe and exits when it closes, so that no worker outlives the trainer.
Workers ignore SIGINT: the trainer handles it.
"""

import logging
import multiprocessing
import os
import signal
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from lightning_marlhf.rollout.parsing import Parser, phrase_starts

Row = tuple[str, Sequence[int]]  # a text, and where its tokens end
Cut = list[int] | str  # the tokens at which macro actions start, or why there are none

_log = logging.getLogger(__name__)


class ParserPool:
    """Cuts rows into phrases, one batch at a time.

    Args:
        parser: gives the trees; it goes to the processes before it is prepared.
        cutoff: a phrase of fewer tokens is one macro action.
        num_processes: 0 parses in this process, when the cuts are collected.
    """

    def __init__(self, parser: Parser, *, cutoff: int, num_processes: int) -> None:
        self.parser = parser
        self.cutoff = cutoff
        self.num_processes = num_processes
        self._pipes: list[Connection] = []
        self._rows: Sequence[Row] = ()
        self._failed_before = False

    def start(self) -> None:
        """Prepare the parser; in the first process before the others, for it may have to download.

        Raises:
            ValueError: a package or model is absent.
        """
        if not self.num_processes:
            self.parser.prepare()
        for number in range(self.num_processes):
            self._pipes.append(_launch(self.parser, self.cutoff))
            if number == 0:
                _wait_until_ready(self._pipes[0])
        for pipe in self._pipes[1:]:
            _wait_until_ready(pipe)

    def submit(self, rows: Sequence[Row]) -> None:
        """Deal the rows out to the processes."""
        self._rows = rows
        for first, pipe in enumerate(self._pipes):
            pipe.send(rows[first :: self.num_processes])

    def collect(self) -> list[list[int] | None]:
        """Wait for the cuts of the rows submitted; None if a row could not be parsed."""
        if self.num_processes:
            cuts: list[Cut] = [""] * len(self._rows)
            for first, pipe in enumerate(self._pipes):
                cuts[first :: self.num_processes] = _receive(pipe)
        else:
            cuts = cut_rows(self._rows, self.parser, self.cutoff)
        self._warn_once([cut for cut in cuts if isinstance(cut, str)])
        return [None if isinstance(cut, str) else cut for cut in cuts]

    def _warn_once(self, reasons: Sequence[str]) -> None:
        if reasons and not self._failed_before:
            self._failed_before = True
            _log.warning(
                "%d of %d responses could not be parsed and are cut into fixed n-grams; "
                "see the metric macro/parse_failures. The first: %s",
                *(len(reasons), len(self._rows), reasons[0]),
            )


def cut_rows(rows: Sequence[Row], parser: Parser, cutoff: int) -> list[Cut]:
    """Cut each row; a parser error on one response never ends the run."""
    cuts: list[Cut] = []
    for text, token_ends in rows:
        try:
            cuts.append(phrase_starts(parser(text), token_ends, cutoff=cutoff))
        except Exception as error:
            cuts.append(f"{type(error).__name__}: {error}")
    return cuts


def _launch(parser: Parser, cutoff: int) -> Connection:
    """Start a process and return the pipe to it."""
    context = multiprocessing.get_context("spawn")  # a fork would share locks of torch's threads
    ours, theirs = context.Pipe()
    context.Process(target=_serve, args=(theirs, parser, cutoff), daemon=True).start()
    theirs.close()
    return ours


def _serve(pipe: Connection, parser: Parser, cutoff: int) -> None:
    """Run a worker process: prepare, then cut rows until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        parser.prepare()
    except ValueError as error:
        pipe.send(str(error))
        return
    pipe.send("")
    try:
        while True:
            pipe.send(cut_rows(pipe.recv(), parser, cutoff))
    except (EOFError, OSError):
        return


def _wait_until_ready(pipe: Connection) -> None:
    message = _receive(pipe)
    if message:
        raise ValueError(message)


def _receive(pipe: Connection) -> Any:
    try:
        return pipe.recv()
    except EOFError:
        raise ValueError(
            "a parser process has ended (out of memory?): lower termination.init_args.num_processes, then resume with "
            "--ckpt_path last"
        ) from None
