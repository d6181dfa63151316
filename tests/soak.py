"""Kill a tiny MA-PPO run again and again, resume it each time, and compare it with a run that nobody killed.

    python -m tests.soak --kills 20                    # [--processes 2 --config OVERLAY.yaml]; see --help

Kills are SIGKILL at moments drawn from a seed: while the run starts, while it trains, in the middle of a save, and, the
last one, while it exports. It is resumed as a user would: by `--ckpt_path last`, or without it where the program says
so. In the end weights and metrics have to be those of the uninterrupted run, bit for bit.
"""

import argparse
import csv
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.forks import fork

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "experiments/tiny/tldr/ma_ppo_fixed10.yaml"
UPDATES_PER_SAVE, UPDATES_PER_KILL = 4, 6
MEASURED = ("timing_s/", "perf/")  # how long things took differs
MOMENTS = ("training", "saving", "saved", "starting")  # in turn
SIGNS = {"saving": "checkpoints/.*.partial", "saved": "checkpoints/last.ckpt", "exporting": ".export-*"}


class SoakError(AssertionError):
    """The killed run is not what the uninterrupted one is."""


@dataclass
class Session:
    """One process, or torchrun and its processes, from start to end or kill."""

    run: Path
    process: BaseProcess | subprocess.Popen[bytes]
    started: float = field(default_factory=time.time)

    @property
    def age(self) -> float:
        return time.time() - self.started

    @property
    def has_logged(self) -> bool:
        metrics = self.run / "metrics.csv"
        return metrics.exists() and metrics.stat().st_mtime > self.started

    @property
    def log(self) -> str:
        return log_of(self.run).read_text(errors="replace")

    @property
    def status(self) -> int | None:
        if isinstance(self.process, subprocess.Popen):
            return self.process.poll()
        return self.process.exitcode

    def writes(self, pattern: str) -> bool:
        """Tell whether a scratch file of this session is there."""
        with suppress(FileNotFoundError):
            return any(p.stat().st_mtime > self.started for p in self.run.glob(pattern))
        return False

    def kill(self) -> None:
        """End all processes at once, as a machine that loses its power does."""
        for pid in [self.process.pid, *descendants(self.process.pid)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while self.status is None:
            time.sleep(0.001)


def make_networks(folder: Path) -> None:
    """Write a random policy and a random reward model."""
    from tests.modules.tiny_runs import write_exports

    write_exports(folder)


def log_of(run: Path) -> Path:
    return run.with_suffix(".log")


def descendants(pid: int | None) -> list[int]:
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            found += [child, *descendants(child)]
    return found


def start(run: Path, arguments: Sequence[str], *, processes: int) -> Session:
    """Start `fit`: by torchrun, or forked off a server that has imported everything."""
    if processes > 1:
        torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone")
        command = [*torchrun, f"--nproc-per-node={processes}", "-m", "lightning_marlhf", *arguments]
        with log_of(run).open("w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
        return Session(run, process)
    return Session(run, fork(fit, arguments, log=log_of(run)))


def fit(arguments: Sequence[str]) -> int:
    """Run `fit` in this process."""
    from lightning_marlhf.commands import run as cli

    os.chdir(ROOT)
    return cli.main(arguments)


@dataclass(frozen=True)
class Soak:
    """A run, whole and killed, in a folder.

    Attributes:
        folder: of everything.
        kills: how many.
        processes: of the run.
        arguments: more of `fit`, such as an overlay with a strategy.
    """

    folder: Path
    kills: int
    processes: int = 1
    arguments: Sequence[str] = ()

    @property
    def updates(self) -> int:
        return UPDATES_PER_KILL * self.kills

    def command(self, run: Path) -> list[str]:
        settings = {
            "trainer.default_root_dir": run,
            "trainer.max_steps": self.updates,
            "trainer.val_check_interval": 2,  # rollouts: after every save
            "trainer.accelerator": "cpu",
            "checkpoint.every_n_train_steps": UPDATES_PER_SAVE,
            "checkpoint.monitor": "eval/gold",
            "data.init_args.batch_size": 8,
            "data.init_args.eval_batch_size": 8,
            "data.init_args.validate_rows": 8,
            "model.init_args.policy": self.folder / "policy",
            "model.init_args.scorer.init_args.model": self.folder / "reward",
            "model.init_args.sampling.max_new_tokens": 8,
            "model.init_args.optimization.warmup_steps": 2,
            "model.init_args.ppo.epochs": 1,
        }
        given = [f"--{name}={value}" for name, value in settings.items()]
        return ["fit", "--config", str(CONFIG), *self.arguments, *given]

    def start(self, run: Path, *resuming: str) -> Session:
        return start(run, [*self.command(run), *resuming], processes=self.processes)

    def resume(self, run: Path) -> Session:
        """Go on, as a user would who reads what the program says."""
        session = self.start(run, "--ckpt_path", "last")
        while session.status is None and not (run / "checkpoints/last.ckpt").exists():
            time.sleep(0.01)
        if session.status and "so start without --ckpt_path" in session.log:
            return self.start(run)
        return session

    def until_end(self, session: Session) -> None:
        while session.status is None:
            time.sleep(0.01)
        if session.status:
            raise SoakError(f"the run failed with status {session.status}:\n{session.log}")


@dataclass(frozen=True)
class Pace:
    """Seconds that the uninterrupted run took to its first update, and for each update after it."""

    startup: float
    update: float


def run_whole(soak: Soak, run: Path) -> Pace:
    """Run it without a kill."""
    session = soak.start(run)
    while session.status is None and not rows(run):
        time.sleep(0.01)
    startup = session.age
    soak.until_end(session)
    return Pace(startup=startup, update=(session.age - startup) / soak.updates)


def kill_at(session: Session, moment: str, *, draw: random.Random, pace: Pace) -> bool:
    """Kill at a moment of that kind.

    Returns:
        Whether a save or an export was cut off.

    Raises:
        SoakError: the run ended before.
    """
    starting, sign = moment == "starting", SIGNS.get(moment)
    wait = draw.random() * (pace.startup if starting else 1.5 * UPDATES_PER_SAVE * pace.update)
    began = session.started if starting else None  # to train, by its own log: a machine's load may change
    while began is None or time.time() < began + wait or (sign and not session.writes(sign)):
        if session.status is not None:
            raise SoakError(f"the run ended by itself ({session.status}):\n{session.log}")
        if began is None and session.has_logged:
            began = time.time()
        time.sleep(0.0002)
    session.kill()
    return moment in ("saving", "exporting") and session.writes(SIGNS[moment])


def rows(run: Path) -> list[list[str]]:
    """Read all metrics that are no times: step, name and value as they stand there."""
    path = run / "metrics.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [row[:3] for row in [*csv.reader(file)][1:] if not row[1].startswith(MEASURED)]


def compare(killed: Path, whole: Path) -> None:
    """Compare two finished runs.

    Raises:
        SoakError: they differ; says where.
    """
    twins = [name for name, count in Counter(tuple(r[:2]) for r in rows(killed)).items() if count > 1]
    if twins:
        raise SoakError(f"in metrics.csv twice: {twins[:5]}")
    differing = [pair for pair in zip(rows(killed), rows(whole), strict=False) if pair[0] != pair[1]]
    if differing or len(rows(killed)) != len(rows(whole)):
        raise SoakError(f"metrics differ, {len(rows(killed))} and {len(rows(whole))}: {differing[:3]}")
    weights, expected = (run / "export/model.safetensors" for run in (killed, whole))
    if weights.read_bytes() != expected.read_bytes():
        raise SoakError(f"{weights} and {expected} differ")
    kept, wanted = (sorted(p.name for p in (run / "checkpoints").iterdir()) for run in (killed, whole))
    if kept != wanted:
        raise SoakError(f"checkpoints differ: {kept} and {wanted}")


def soak(test: Soak, *, seed: int) -> Iterator[str]:
    """Do it all; yield a line for each thing done.

    Raises:
        SoakError: the killed run failed, or differs.
    """
    fork(make_networks, test.folder).join()
    whole, killed = test.folder / "whole", test.folder / "killed"
    pace = run_whole(test, whole)
    yield f"uninterrupted: {test.updates} updates, {pace.update:.2f} s each after {pace.startup:.1f} s"
    draw, session, cut_off = random.Random(seed), test.start(killed), 0
    for number in range(test.kills):
        last = number == test.kills - 1
        moment = "exporting" if last else MOMENTS[number % len(MOMENTS)]
        cut = kill_at(session, moment, draw=draw, pace=pace)
        cut_off += cut
        yield f"kill {number + 1}: {moment} at {session.age:.2f} s{', cut off' if cut else ''}"
        session = test.resume(killed)
    test.until_end(session)
    compare(killed, whole)
    yield f"{test.kills} kills, {cut_off} in a save or an export: the same metrics, weights and checkpoints"


def main() -> None:
    """Read the command line and print what is done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--processes", type=int, default=1, help="of the run, by torchrun")
    parser.add_argument("--config", action="append", default=[], help="an overlay of the run")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    overlays = [word for path in options.config for word in ("--config", path)]
    with tempfile.TemporaryDirectory() as folder:
        test = Soak(Path(folder), options.kills, options.processes, overlays)
        for line in soak(test, seed=options.seed):
            print(line, flush=True)


if __name__ == "__main__":
    main()
