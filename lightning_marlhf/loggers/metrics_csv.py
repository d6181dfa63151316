"""`metrics.csv` in the long format: one line per value, only appended to during a run.

Lightning's CSVLogger keeps one wide table, rewrites it for every new metric, and deletes it when a run is resumed.
"""

import csv
import errno
import os
import time
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from lightning_marlhf.files import write_text
from lightning_marlhf.run_folder import CUT_METRICS_FILE, METRICS_FILE

HEADER = "step,name,value,seconds\n"


class MetricsCSV(Logger):
    """Writes every metric as a line ``step,name,value,seconds``.

    `seconds` is the wall time of the run; after a resume it continues from where the kept rows end.

    Args:
        folder: the run directory.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.path = Path(folder) / METRICS_FILE
        self._zero: float | None = None  # time.monotonic() at which the run's seconds were 0

    @property
    def name(self) -> str:
        """Nothing: the run directory needs no folder of its own in it."""
        return ""

    @property
    def version(self) -> str:
        """Nothing, as for `name`."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run directory."""
        return str(self.path.parent)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append one line per metric.

        Raises:
            FileNotFoundError: the file was removed during the run.
        """
        if self._zero is None:
            self._open()
        if not self.path.exists():
            raise FileNotFoundError(errno.ENOENT, "removed during the run", str(self.path))
        seconds = f"{time.monotonic() - (self._zero or 0.0):.2f}"
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([step or 0, name, f"{float(value):.8g}", seconds] for name, value in metrics.items())

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: they are in `config.yaml`."""

    @rank_zero_only
    def continue_from(self, step: int) -> None:
        """Truncate the file to ``step`` updates when a run is resumed; the removed lines are kept in `metrics.cut.csv`.

        An incomplete last line is removed, too.
        """
        if self.path.exists():
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if (at := _step(line)) is not None and at <= step]
            cut = [line for line in lines if (at := _step(line)) is not None and at > step]
            if cut:
                with (self.path.parent / CUT_METRICS_FILE).open("a", encoding="utf-8") as file:
                    file.writelines(cut)
            write_text(self.path, HEADER + "".join(kept))
        self._open()

    def restart(self) -> None:
        """Reset after the file was removed for a new run."""
        self._zero = None

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self.path.exists():
            self.path.write_text(HEADER, encoding="utf-8")
        with self.path.open("rb") as file:  # the last line is enough, however long the file
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            last = file.read().decode("utf-8", errors="replace").splitlines()[-1:]
        done = float(last[0].rpartition(",")[2]) if last and _step(last[0] + "\n") is not None else 0.0
        self._zero = time.monotonic() - done


def _step(line: str) -> int | None:
    """Read the step of a line; None for the header, and for an incomplete line."""
    fields = next(csv.reader([line]), [])
    if not line.endswith("\n") or len(fields) != 4 or not fields[0].isdecimal():
        return None
    try:
        float(fields[2]), float(fields[3])
    except ValueError:
        return None
    return int(fields[0])
