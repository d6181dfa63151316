"""Stands in for `python -m lightning_marlhf` in tests of the scheduler: leaves the files of a run, trains nothing."""

import json
import os
import signal
import sys
import time
from pathlib import Path


def main() -> int:
    words = sys.argv[1:]
    settings = dict(word[2:].split("=", 1) for word in words if "=" in word)
    folder = Path(settings["trainer.default_root_dir"])
    print("fake run", folder.parent.name, "threads", os.environ["OMP_NUM_THREADS"], flush=True)
    events = folder.parents[1] / "events.txt"
    note(events, "start", folder, words)
    if "fail" in settings:
        print("it went wrong here", flush=True)
        return 3
    interrupted = []
    signal.signal(signal.SIGINT, lambda *_: interrupted.append(True))
    steps = int(settings.get("steps", 2))
    for step in range(steps):
        progress = {"command": "fit", "step": step, "max_steps": steps, "eta_s": 1.0, "metric": "loss", "value": 0.5}
        (folder / "progress.json").write_text(json.dumps({**progress, "updated": time.time()}))
        time.sleep(0.05)
        if interrupted:
            (folder / "checkpoints").mkdir(exist_ok=True)
            (folder / "checkpoints/last.ckpt").write_text("half")
            note(events, "interrupted", folder, words)
            return 130
    (folder / "export").mkdir(exist_ok=True)
    (folder / "done.json").write_text(json.dumps({"command": "fit", "step": steps, "seconds": 1.0}))
    note(events, "end", folder, words)
    return 0


def note(events: Path, what: str, folder: Path, words: list[str]) -> None:
    with events.open("a") as file:
        extra = [word for word in ("--overwrite", "last") if word in words]
        file.write(" ".join([what, folder.parent.name, folder.name, *extra]) + "\n")


if __name__ == "__main__":
    sys.exit(main())
