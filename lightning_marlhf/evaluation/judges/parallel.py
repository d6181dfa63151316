"""Slow calls side by side, from a generator that can be left at any moment."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def as_they_come(
    call: Callable[[Item], Result], items: Iterable[Item], *, workers: int
) -> Iterator[Result]:
    """Yield the result of ``call`` for each item, the first to be done first.

    In threads, as calls wait for a server. After an error no call is begun, and those on their way are waited for.
    When the caller leaves (Ctrl-C) they are not: the threads are daemons, and a call that hangs keeps nothing alive.

    Raises:
        Exception: the first that a call raised, after all results.
    """
    waiting: queue.SimpleQueue[Item] = queue.SimpleQueue()
    for item in items:
        waiting.put(item)
    done: queue.SimpleQueue[list[Result] | Exception | None] = queue.SimpleQueue()
    stop = threading.Event()

    def work() -> None:
        try:
            while not stop.is_set():
                done.put([call(waiting.get_nowait())])
        except queue.Empty:
            pass
        except Exception as error:
            stop.set()
            done.put(error)
        finally:
            done.put(None)

    working = min(workers, waiting.qsize())
    for _ in range(working):
        threading.Thread(target=work, daemon=True).start()
    try:
        yield from _collect(done, working)
    finally:
        stop.set()


def _collect(
    done: "queue.SimpleQueue[list[Result] | Exception | None]", working: int
) -> Iterator[Result]:
    first_error: Exception | None = None
    while working:
        found = done.get()
        if found is None:
            working -= 1
        elif isinstance(found, Exception):
            first_error = first_error or found
        else:
            yield from found
    if first_error is not None:
        raise first_error
