"""Time trivial programs in the sandbox, at each level of isolation that works here, against a fresh interpreter each.

    python -m benchmarks.sandbox

A program reads two numbers and prints their sum; it is one test, one process. Workers are warm. The rounds of all ways
alternate, so that a machine that is busy for a while is so for all of them; the median round counts.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from lightning_marlhf.sandbox.levels import Level, candidates
from lightning_marlhf.sandbox.verdicts import Limits, SandboxError
from lightning_marlhf.sandbox.worker import Worker

PROGRAM = "print(sum(map(int, input().split())))"
GIVEN, EXPECTED = "1 2\n", b"3\n"
Way = Callable[[int], None]  # runs so many programs


def in_workers(workers: list[Worker]) -> Way:
    """Share the programs out to workers, each with a thread of its own."""

    def serve(worker: Worker, programs: int) -> None:
        for _ in range(programs):
            assert worker.run(PROGRAM, GIVEN, function=None).output == EXPECTED

    def run(programs: int) -> None:
        share = programs // len(workers)
        with ThreadPoolExecutor(len(workers)) as threads:
            list(threads.map(lambda worker: serve(worker, share), workers))

    return run


def in_fresh_interpreters(programs: int) -> None:
    """Start an interpreter for each program; no isolation at all."""
    command = [sys.executable, "-I", "-S", "-c", PROGRAM]
    for _ in range(programs):
        assert subprocess.check_output(command, input=GIVEN.encode()) == EXPECTED


def start(level: Level, number: int) -> list[Worker]:
    """Start workers; none where the level does not work here."""
    try:
        return [Worker(level, Limits()) for _ in range(number)]
    except SandboxError as error:
        print(f"{level.name}: {error}")
        return []


def rate(way: Way, programs: int) -> float:
    """Measure programs per second."""
    begin = time.perf_counter()
    way(programs)
    return programs / (time.perf_counter() - begin)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=int, default=200, help="in a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()

    ways: dict[str, Way] = {"fresh python -I -S": in_fresh_interpreters}
    everything: list[Worker] = []
    for level in candidates():
        for number in options.workers:
            workers = start(level, number)
            everything += workers
            if workers:
                ways[f"{level.name} ({level.how}), {number} worker(s)"] = in_workers(workers)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            rates[name].append(rate(way, options.programs))
    baseline = statistics.median(rates["fresh python -I -S"])
    print("| way | programs/s, median (best) | against a fresh interpreter |\n|---|---|---|")
    for name, measured in rates.items():
        median = statistics.median(measured)
        print(f"| {name} | {median:.0f} ({max(measured):.0f}) | {median / baseline:.1f}x |")
    for worker in everything:
        worker.close()


if __name__ == "__main__":
    main()
