"""The report: loads the runs, builds the sections, writes Markdown, HTML, LaTeX tables and figures."""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lightning_marlhf.display.columns import plain_lines
from lightning_marlhf.display.document import Block, Note, Picture, Pictures, Section, Table
from lightning_marlhf.display.markdown import render_markdown
from lightning_marlhf.files import write_text
from lightning_marlhf.reporting.best_of_n import best_of_n
from lightning_marlhf.reporting.curves import curves, diagnostics, last_values, losses
from lightning_marlhf.reporting.distributions import distributions
from lightning_marlhf.reporting.load import System, load_system
from lightning_marlhf.reporting.overoptimization import frontier, overoptimization
from lightning_marlhf.reporting.parity import parity
from lightning_marlhf.reporting.programs import pass_at_k
from lightning_marlhf.reporting.provenance import missing_notes, provenance
from lightning_marlhf.reporting.render import render_html, render_latex
from lightning_marlhf.reporting.responses import samples, traces
from lightning_marlhf.reporting.scores import differences, reward_model, score_picture, scores
from lightning_marlhf.reporting.spec import ReportSpec, SectionName
from lightning_marlhf.reporting.win_rates import win_rates

PICTURES_FOLDER = "report"
_MISSING = "Missing results"
_FEW_SAMPLES = 2
_MAX_NAME = 100  # characters of a file's name


def details(systems: Sequence[System]) -> list[Block]:
    """Return the reward model, diagnostics and a few samples in one section."""
    return [*reward_model(systems), *diagnostics(systems), *samples(systems, count=_FEW_SAMPLES)]


# A section: title and content. It gives no blocks if no system has anything to show.
SECTIONS: Mapping[SectionName, tuple[str, Callable[[Sequence[System]], Sequence[Block]]]] = {
    "scores": ("Results", scores),
    "score_picture": ("Scores as a picture", score_picture),
    "differences": ("Differences", differences),
    "pass_at_k": ("Programs: pass@k", pass_at_k),
    "win_rates": ("Win rates", win_rates),
    "best_of_n": ("Best of N", best_of_n),
    "reward_model": ("Reward model", reward_model),
    "last_values": ("Last logged values", last_values),
    "losses": ("Losses and accuracies", losses),
    "curves": ("Training curves", curves),
    "frontier": ("Score against KL", frontier),
    "parity": ("Updates until parity", parity),
    "distributions": ("Distributions of scores", distributions),
    "overoptimization": ("Over-optimization", overoptimization),
    "diagnostics": ("Training diagnostics", diagnostics),
    "traces": ("One response in macro actions", traces),
    "samples": ("Samples side by side", samples),
    "details": ("Reward model, diagnostics, samples", details),
}


@dataclass(frozen=True)
class Report:
    """The written report."""

    title: str
    sections: tuple[Section, ...]

    def terminal_lines(self) -> list[str]:
        """Return the first table and the notes that qualify it, e.g. that the runs were never tested."""
        lines = []
        for block in (block for section in self.sections for block in section.blocks):
            if isinstance(block, Note):
                lines.append(block.text)
            elif isinstance(block, Table):
                return [*lines, *plain_lines(block)]
        return lines


def build_report(spec: ReportSpec, *, title: str, output: Path, seeds: Sequence[int], folder: Path) -> Report:
    """Write ``report.md``, ``report.html`` and ``report/*.{tex,png,svg}``.

    Missing results (an unfinished stage, no trace, one seed) become notes in the report.

    Args:
        spec: Systems, rows and seeds to show.
        title: Its headline.
        output: The run of a stage is ``<output>/<system>/<stage>/seed-<N>``.
        seeds: The seeds to show.
        folder: Where the report goes.

    Raises:
        ValueError: There are no seeds.
    """
    if not seeds:
        raise ValueError("seeds: expected at least one, got none")
    systems = [load_system(system, output=output, seeds=seeds) for system in spec.systems]
    return write_report(systems, spec.sections, title=title, folder=folder, note=spec.note)


def write_report(
    systems: Sequence[System], names: Sequence[SectionName], *, title: str, folder: Path, note: str = ""
) -> Report:
    """Write the report of runs that are loaded; see `build_report`."""
    sections, empty = [], []
    for number, name in enumerate(names):
        headline, make = SECTIONS[name]
        blocks = tuple(make(systems))
        if number and all(isinstance(block, Note) for block in blocks):
            empty += [Note(f"{headline}: {block.text}") for block in blocks if isinstance(block, Note)]
        else:
            sections.append(Section(headline, blocks))
    missing = missing_notes(systems)
    top = [note] if note else []
    if missing:
        top.append(f"{len(missing)} of the runs' results are missing: see “{_MISSING}” below.")
    if missing or empty:
        sections.append(Section(_MISSING, (*missing, *empty)))
    sections.append(Section("Provenance", tuple(provenance(systems))))
    if top:
        sections.insert(0, Section("", tuple(map(Note, top))))
    report = Report(title, tuple(name_pictures(sections)))
    _write_files(report, folder)
    return report


def name_pictures(sections: Sequence[Section]) -> list[Section]:
    """Give every figure a unique, portable file name."""
    taken: set[str] = set()

    def rename(picture: Picture) -> Picture:
        plain = unicodedata.normalize("NFKD", picture.name).encode("ascii", "ignore").decode()
        plain = re.sub(r"[^\w.=+-]+", "-", plain)[:_MAX_NAME].strip("-.") or "picture"
        name, number = plain, 2
        while name.casefold() in taken:  # some file systems are case-insensitive
            name, number = f"{plain}-{number}", number + 1
        taken.add(name.casefold())
        return replace(picture, name=name)

    return [
        replace(
            section,
            blocks=tuple(
                replace(block, pictures=tuple(map(rename, block.pictures))) if isinstance(block, Pictures) else block
                for block in section.blocks
            ),
        )
        for section in sections
    ]


def _write_files(report: Report, folder: Path) -> None:
    pictures = folder / PICTURES_FOLDER
    pictures.mkdir(parents=True, exist_ok=True)
    for block in (block for section in report.sections for block in section.blocks):
        if isinstance(block, Table) and block.name:
            write_text(pictures / f"{block.name}.tex", render_latex(block))
        elif isinstance(block, Pictures):
            _write_pictures(block, pictures)
    write_text(folder / "report.html", render_html(report.title, report.sections))
    write_text(folder / "report.md", render_markdown(report.title, report.sections))


def write_table_and_figure(folder: Path, name: str, *, title: str, table: Table, pictures: Pictures) -> None:
    """Write ``name.md`` and its pictures into ``folder``, as one command leaves them."""
    _write_pictures(pictures, folder)
    section = Section("Results", (table, pictures))
    write_text(folder / f"{name}.md", render_markdown(title, [section]))


def _write_pictures(pictures: Pictures, folder: Path) -> None:
    for picture in pictures.pictures:
        (folder / f"{picture.name}.png").write_bytes(picture.png)
        (folder / f"{picture.name}.svg").write_bytes(picture.svg)
