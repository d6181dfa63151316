"""Finds a run's checkpoint by "last", "best" or a path, and checks its integrity."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

from lightning_marlhf.run_folder import CHECKPOINTS, LAST

_OF_SHARDED = (".metadata", "meta.pt")
_MARK = b"pytorch-lightning_version"  # a key of every checkpoint that Lightning saves


def find_checkpoint(run_dir: Path, which: str) -> Path:
    """Return the checkpoint that ``which`` names.

    Args:
        run_dir: The run directory.
        which: "last", "best" (the newest `best-*.ckpt`), or a path.

    Raises:
        ValueError: There is no such checkpoint, or it is damaged; names the others that there are.
    """
    folder = run_dir / CHECKPOINTS
    there = sorted(folder.glob("*.ckpt"), key=lambda path: path.stat().st_mtime)
    found: Path | None = Path(which)
    if which == "last":
        found = last_checkpoint(folder)
    elif which == "best":
        found = next((path for path in reversed(there) if path.name.startswith("best")), None)
    others = [path for path in there if path != found]
    if found is None or not found.exists():
        where = f" in {folder}" if which in ("last", "best") else ""
        instead = _name(others, "nothing was saved there yet, so start without --ckpt_path")
        raise ValueError(f"no checkpoint {which!r}{where}; {instead}")
    damage = find_damage(found)
    if damage is not None:
        raise ValueError(f"{found} {damage}; {_name(others, 'restart with --overwrite')}")
    return found


def last_checkpoint(folder: Path) -> Path | None:
    """Find the last checkpoint in a folder, or the previous one if a kill came while the last was replaced."""
    paths = (folder / LAST, previous_path(folder / LAST))
    return next((path for path in paths if path.exists()), None)


def previous_path(path: Path) -> Path:
    """Return the temporary name of a sharded checkpoint while it is being replaced."""
    return path.with_name(f"{path.stem}-previous{path.suffix}")


def resume_hint(run_dir: Path) -> str:
    """Return a hint on how to resume a stopped run."""
    last = last_checkpoint(run_dir / CHECKPOINTS)
    if last is None:
        return "no checkpoint was saved yet: the same command restarts the run"
    return f"{last} exists: the same command with --ckpt_path last resumes from it"


def find_damage(path: Path) -> str | None:
    """Return why a file is not an intact checkpoint; None if it is.

    Folders (sharded checkpoints) are only checked superficially. Each record of a file has a checksum, which PyTorch
    writes and does not check.
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
        return f"is an incomplete checkpoint ({size:,} bytes): it was cut off, or is another kind of file"
    return None


def _name(checkpoints: Sequence[Path], instead: str) -> str:
    return f"there are: {', '.join(map(str, checkpoints))}" if checkpoints else instead
