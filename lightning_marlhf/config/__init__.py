"""Reading and checking of YAML files and command lines, with errors of one line."""

import sys
from pathlib import Path


def program_name() -> str:
    """Return the program's name for usage lines: `marlhf`, or `python -m lightning_marlhf`."""
    return "marlhf" if Path(sys.argv[0]).stem == "marlhf" else "python -m lightning_marlhf"
