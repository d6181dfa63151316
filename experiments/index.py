"""Write experiments/README.md, the index of the files beside this one, from the comments at their top.

    python -m experiments.index            # write it
    python -m experiments.index --check    # fail if it is not up to date

The first line of a file says what it is; lines such as "# Reported: ..." fill the columns. A measured number is entered
in the file of its run ("# Measured: ...").
"""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

FOLDER = Path(__file__).parent
README = FOLDER / "README.md"
TITLE = "What it is"
KEYS = ("Paper", "Reported", "Measured", "Hardware", "Time")


@dataclass(frozen=True)
class Section:
    """A table of the index.

    Attributes:
        folder: holds the files.
        title: its heading.
        columns: of the table, after the file and what it is.
        introduction: what stands above the table.
    """

    folder: str
    title: str
    columns: Sequence[str] = KEYS
    introduction: str = ""


_SECTIONS = (
    Section("tiny", "Tiny tasks, on a laptop", ("Hardware", "Time")),
    Section("tldr", "TL;DR"),
    Section("hh_rlhf", "HH-RLHF"),
    Section("webgpt", "WebGPT"),
    Section("apps", "APPS"),
    Section(
        "paper",
        "The paper's tables and figures",
        (),
        "Plans: what they show, of which runs. Runs are shared between plans, and trained once. `--systems tiny` runs "
        "the tiny tasks\nin place of the paper's; `--dry-run` says what is left to do, and its cost:\n\n"
        "```\n"
        "python -m lightning_marlhf reproduce experiments/paper/table2_rm_scores.yaml --only tldr/gemma-2b --dry-run\n"
        "python -m lightning_marlhf reproduce experiments/paper/table2_rm_scores.yaml --systems tiny --seeds 3\n"
        "```\n\n"
        "`systems.yaml` (the paper's), `tiny.yaml` (those in place of them) and `reported.yaml` (the paper's "
        "numbers) are what the plans share.\n",
    ),
    Section(
        "ablations",
        "Ablations",
        (),
        "A second `--config` over a PPO run, which then needs a folder of its own:\n\n"
        "```\n"
        "python -m lightning_marlhf fit --config experiments/tldr/gemma-2b/ppo.yaml \\\n"
        "  --config experiments/ablations/randomized.yaml --trainer.default_root_dir runs/tldr/gemma-2b/randomized\n"
        "```\n",
    ),
    Section(
        "hardware",
        "Hardware",
        (),
        "The last `--config`; it changes no result. One node starts its own processes; several are started by\n"
        "`hardware/torchrun.sh` on each node, or by `sbatch hardware/slurm.sh`.\n",
    ),
)
_INTRODUCTION = """\
# Experiments

One file is one whole run: `python -m lightning_marlhf fit --config experiments/FILE`. A plan holds the stages of a
study: `python -m lightning_marlhf reproduce experiments/FILE`. Results are in the main README.

This index is made by `python -m experiments.index`. Reported numbers are the paper's, with how sure we are of them;
"not found" is one that we have no source for. An empty cell is a number that we do not have yet. The stages of a system
run in the order of its table; each starts from the `export/` of those before it. Times "by `plan`" are estimates of
`python -m lightning_marlhf plan` under its own assumptions (`plan --help`); those runs have not been made.
"""
_STAGES = ("sft", "reward_model", "ppo")


def main(arguments: Sequence[str]) -> None:
    """Write the index, or check that it is up to date."""
    if "--check" not in arguments:
        README.write_text(index(), encoding="utf-8")
    elif README.read_text(encoding="utf-8") != index():
        sys.exit("experiments/README.md is not up to date: run `python -m experiments.index`")


def index() -> str:
    """Make the text of the index."""
    tables = [_section(section) for section in _SECTIONS if (FOLDER / section.folder).is_dir()]
    return "\n".join([_INTRODUCTION, *tables])


def read_header(path: Path) -> dict[str, str]:
    """Read the comment at the top of a file: its first line, and the lines that begin with a key."""
    lines = path.read_text(encoding="utf-8").splitlines()
    first, *others = (line.removeprefix("# ") for line in takewhile(_is_comment, lines))
    header = {TITLE: first.removesuffix(".")}
    for line in others:
        key, _, value = line.partition(": ")
        if key in KEYS:
            header[key] = value
    return header


def _section(section: Section) -> str:
    files = sorted((FOLDER / section.folder).rglob("*.yaml"), key=_order)
    columns = (TITLE, *section.columns)
    rows = [[f"`{section.folder}/`", *map(str.lower, columns)], ["---"] * (1 + len(columns))]
    for path in files:
        header = read_header(path)
        name = path.relative_to(FOLDER / section.folder)
        rows.append([f"`{name}`", *(header.get(key, "") for key in columns)])
    parts = [f"## {section.title}\n"] + ([section.introduction] if section.introduction else [])
    return "\n".join([*parts, *map(_line, rows), ""])


def _is_comment(line: str) -> bool:
    return line.startswith("#")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _order(path: Path) -> tuple[Path, int, str]:
    """Sort by folder, then stages as they run, then by name, with numbers by their size."""
    stage = _STAGES.index(path.stem) if path.stem in _STAGES else len(_STAGES)
    return path.parent, stage, re.sub(r"\d+", lambda number: number[0].zfill(4), path.stem)


if __name__ == "__main__":
    main(sys.argv[1:])
