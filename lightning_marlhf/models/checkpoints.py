"""Finds the checkpoint of a run that a user names, and refuses one that is damaged."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

from lightning_marlhf.run_folder import CHECKPOINTS, LAST_CHECKPOINT, PREVIOUS_CHECKPOINT

_OF_SHARDED = (".metadata", "meta.pt")
_MARK = b"pytorch-lightning_version"  # a key of every checkpoint that Lightning saves


def find_checkpoint(run_dir: Path, which: str) -> Path:
    """Return the checkpoint that ``which`` means.

    Args:
        run_dir: the run directory.
        which: "last", "best" (the newest `best-*.ckpt`), or a path.

    Raises:
        ValueError: there is no such checkpoint, or it is damaged; says which others there are.
    """
    folder = run_dir / CHECKPOINTS
    there = sorted(folder.glob("*.ckpt"), key=lambda path: path.stat().st_mtime)
    if which == "last":
        found = _last(run_dir)
    elif which == "best":
        found = [path for path in there if path.name.startswith("best")][-1:]
    else:
        found = [Path(which)]
    others = [path for path in there if path not in found]
    if found and found[0].exists():
        wrong = find_damage(found[0])
        if wrong is None:
            return found[0]
        raise ValueError(
            f"{found[0]} {wrong}; {_what_to_do(others, 'start anew with --overwrite')}"
        )
    where = f" in {folder}" if which in ("last", "best") else ""
    instead = _what_to_do(others, "nothing was saved there yet, so start without --ckpt_path")
    raise ValueError(f"no checkpoint {which!r}{where}; {instead}")


def what_is_there(run_dir: Path) -> str:
    """Say in a clause from where a run that failed or was stopped can go on."""
    last = _last(run_dir)
    if not last:
        return "no checkpoint was saved yet: the same command starts anew"
    return f"{last[0]} is there: the same command with --ckpt_path last goes on from it"


def find_damage(path: Path) -> str | None:
    """Say why a file is no whole checkpoint of a run; None where it is one.

    Sharded ones, folders, are hardly looked at. Each record of a file has a checksum, which PyTorch writes and
    does not check.
    """
    if path.is_dir():
        parts = any((path / name).exists() for name in _OF_SHARDED)
        return None if parts else "is no checkpoint, but another folder"
    try:
        with zipfile.ZipFile(path) as file:
            damaged = file.testzip()
            if damaged is not None:
                return f"is damaged ({damaged} does not match its checksum)"
            pickled = next((name for name in file.namelist() if name.endswith("/data.pkl")), None)
            if pickled is None or _MARK not in file.read(pickled):
                return "is no checkpoint of a run"
    except zipfile.BadZipFile:
        size = path.stat().st_size
        return (
            f"is no whole checkpoint ({size:,} bytes): it was cut off, or is another kind of file"
        )
    return None


def _last(run_dir: Path) -> list[Path]:
    """Find the last checkpoint, and the one before it, where a kill came when it was replaced."""
    return [p for p in (run_dir / LAST_CHECKPOINT, run_dir / PREVIOUS_CHECKPOINT) if p.exists()]


def _what_to_do(others: Sequence[Path], instead: str) -> str:
    if others:
        return f"there are: {', '.join(map(str, others))}"
    return instead
