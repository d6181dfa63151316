"""Finds the checkpoint of a run that a user names."""

from pathlib import Path

FOLDER = "checkpoints"


def find_checkpoint(run_dir: Path, which: str) -> Path:
    """Return the checkpoint that ``which`` means.

    Args:
        run_dir: the run directory.
        which: "last", "best" (the newest `best-*.ckpt`), or a path.

    Raises:
        ValueError: there is no such checkpoint; says which there are.
    """
    folder = run_dir / FOLDER
    there = sorted(folder.glob("*.ckpt"), key=lambda path: path.stat().st_mtime)
    if which == "last":  # the one before, where a kill came when it was replaced
        found = [p for p in (folder / "last.ckpt", folder / "last-previous.ckpt") if p.exists()]
    elif which == "best":
        found = [path for path in there if path.name.startswith("best")][-1:]
    else:
        found = [Path(which)]
    if found and found[0].exists():
        return found[0]
    missing = f"no checkpoint {which!r}" + (f" in {folder}" if which in ("last", "best") else "")
    if there:
        raise ValueError(f"{missing}; there are: {', '.join(str(path) for path in there)}")
    raise ValueError(f"{missing}; nothing was saved there yet, so start without --ckpt_path")
