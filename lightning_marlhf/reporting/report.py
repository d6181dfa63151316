"""The whole report: load the runs, gather the sections, write Markdown, HTML and pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_marlhf.display.blocks import (
    Block,
    Bullets,
    Note,
    Picture,
    Pictures,
    Section,
    Table,
    Text,
)
from lightning_marlhf.display.markdown import render_markdown
from lightning_marlhf.files import write_text
from lightning_marlhf.reporting.findings import findings
from lightning_marlhf.reporting.html import render_html
from lightning_marlhf.reporting.latex import render_latex
from lightning_marlhf.reporting.load import Study, load_study
from lightning_marlhf.reporting.parity import parity_table
from lightning_marlhf.reporting.plots import curve_pictures, diagnostics_picture, frontier_pictures
from lightning_marlhf.reporting.programs import kinds_picture, pass_at_k_table
from lightning_marlhf.reporting.provenance import environment_table, stage_table
from lightning_marlhf.reporting.samples import samples
from lightning_marlhf.reporting.spec import ReportSpec
from lightning_marlhf.reporting.tables import (
    answered,
    difference_table,
    result_table,
    reward_model_table,
    seed_difference_table,
    seed_table,
)
from lightning_marlhf.reporting.trace_picture import trace_pictures

PICTURES_FOLDER = "report"


def build_report(
    *, title: str, report: Mapping[str, Any], output: Path, seeds: Sequence[int]
) -> str:
    """Write ``report.md``, ``report.html`` and ``report/*.{png,svg}`` into ``output``.

    What is missing (an unfinished stage, no trace, one seed) becomes a note in the report.

    Args:
        title: the plan's title.
        report: the plan's ``report:`` section, see ``ReportSpec``.
        output: the plan's output folder; the run of a stage is ``<output>/<stage>/seed-<N>``.
        seeds: the seeds to show.

    Returns:
        The text of ``report.md``.

    Raises:
        ValueError: the ``report:`` section has an unknown key or names a row that it lacks, or
            there are no seeds.
    """
    if not seeds:
        raise ValueError("seeds: expected at least one, got none")
    study = load_study(ReportSpec.from_mapping(report), output=Path(output), seeds=seeds)
    return write_report(title, build_sections(study), folder=study.output)


def write_report(title: str, sections: Sequence[Section], *, folder: Path) -> str:
    """Write sections as Markdown, HTML, LaTeX tables and pictures into ``folder``; return the Markdown."""
    markdown = render_markdown(title, sections)
    _write_files(folder / PICTURES_FOLDER, sections)
    write_text(folder / "report.html", render_html(title, sections))
    write_text(folder / "report.md", markdown)
    return markdown


def build_sections(study: Study) -> list[Section]:
    """Return the report's sections in reading order."""
    spec = study.spec
    return [
        Section("Results", (*missing_notes(study), *_results(study))),
        *([Section("Programs", _programs(study, spec.programs))] if spec.programs else []),
        *_comparisons(study),
        *([Section("Reward model", _reward_model(study))] if spec.reward_model else []),
        Section("Training curves", _curves(study)),
        Section("Score against KL", _frontier(study)),
        Section("Updates until parity", _parity(study)),
        Section("Training diagnostics", _diagnostics(study)),
        Section("One response in macro actions", _traces(study)),
        Section("Samples side by side", _samples(study)),
        Section("What made this report", _provenance(study)),
    ]


def missing_notes(study: Study) -> tuple[Note, ...]:
    """Return a note for each run that is unfinished, unreadable, or without held-out answers."""
    compared = {row.stage for row in study.spec.rows}
    notes = []
    for run in study.runs.values():
        name = f"{study.spec.label(run.stage)} ({run.stage}, seed {run.seed})"
        if run.summary is None:
            notes.append(Note(f"{name}: {run.state}."))
        notes.extend(Note(f"{name}: could not read {problem}") for problem in run.problems)
        if run.stage in compared and run.folder.is_dir() and not run.completions:
            notes.append(Note(f"{name}: no answers to the held-out posts, so no numbers."))
    return tuple(notes)


def _results(study: Study) -> tuple[Block, ...]:
    sentences = findings(study)
    blocks: list[Block] = [Bullets(sentences)] if sentences else []
    blocks.append(result_table(study))
    if len(study.seeds) > 1:
        blocks += [Text("Seed by seed:"), seed_table(study)]
    else:
        blocks.append(Note("One seed: the intervals are over posts and say nothing about training"
                           " again. Run with several seeds for that."))  # fmt: skip
    return tuple(blocks)


def _comparisons(study: Study) -> list[Section]:
    sections = []
    for other in dict.fromkeys((study.spec.reference_run, study.spec.baseline)):
        if other is None or len(study.spec.rows) == 1:
            continue
        blocks: tuple[Block, ...] = (Note(f"{study.spec.label(other)} has no held-out answers."),)
        if answered(study.runs_of(other)):
            blocks = (difference_table(study, other),)
            if len(study.seeds) > 1:
                blocks += (seed_difference_table(study, other),)
        sections.append(Section(f"Difference to {study.spec.label(other)}", blocks))
    return sections


def _reward_model(study: Study) -> tuple[Block, ...]:
    table = reward_model_table(study.runs_of(study.spec.reward_model))
    return (table or Note("No reward-model stage has left its accuracy (eval/accuracy)."),)


def _programs(study: Study, scorer: str) -> tuple[Block, ...]:
    picture = kinds_picture(study, scorer)
    return (
        pass_at_k_table(study) or Note("No finished run has counted pass@k (eval/pass_at_1)."),
        *_pictures(
            () if picture is None else (picture,),
            caption="Of the programs in the training rollouts, smoothed; mean over seeds.",
            missing=f"No run has logged objective/{scorer}_* yet.",
        ),
    )


def _curves(study: Study) -> tuple[Block, ...]:
    return _pictures(
        curve_pictures(study),
        caption="Means over the training rollouts. Bold: moving mean over a tenth of the curve;"
        " faint: as logged; band: lowest to highest seed. Dashed grey: the baseline's mean on"
        " held-out posts.",
        missing="No run has logged objective/* metrics yet.",
    )


def _frontier(study: Study) -> tuple[Block, ...]:
    return _pictures(
        frontier_pictures(study),
        caption="Lines: the smoothed training curves, mean over seeds. Markers: each seed on"
        " held-out posts with 95 % intervals. Further up at the same KL is better.",
        missing="No run has logged a score and KL yet.",
    )


def _parity(study: Study) -> tuple[Block, ...]:
    return (parity_table(study) or Note("The reference run is not finished or has no curves."),)


def _diagnostics(study: Study) -> tuple[Block, ...]:
    picture = diagnostics_picture(study)
    return _pictures(
        () if picture is None else (picture,),
        caption="As in the training curves: bold smoothed, faint as logged, band over seeds.",
        missing="No run has logged diagnostics yet.",
    )


def _traces(study: Study) -> tuple[Block, ...]:
    return _pictures(
        trace_pictures(study),
        caption="Each background is one macro action. Bars: its advantage as the policy loss saw"
        " it. Line: the critic's value of the state before each token. Bars below: the token's"
        " log-ratio of policy to reference. A response that is too long is cut.",
        missing="No row has kept a response token by token (a trace).",
    )


def _samples(study: Study) -> tuple[Block, ...]:
    found = samples(study)
    if not found:
        return (Note("There is no held-out post that all rows have answered."),)
    return (Text("The first posts of the held-out file, not chosen for what they show."), *found)


def _provenance(study: Study) -> tuple[Block, ...]:
    environment = environment_table(study)
    return (stage_table(study), environment or Note("No run has left an environment.json."))


def _pictures(pictures: tuple[Picture, ...], *, caption: str, missing: str) -> tuple[Block, ...]:
    return (Pictures(pictures, caption) if pictures else Note(missing),)


def _write_files(folder: Path, sections: Sequence[Section]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for block in (block for section in sections for block in section.blocks):
        if isinstance(block, Table) and block.name:
            write_text(folder / f"{block.name}.tex", render_latex(block))
        for picture in block.pictures if isinstance(block, Pictures) else ():
            (folder / f"{picture.name}.png").write_bytes(picture.png)
            (folder / f"{picture.name}.svg").write_bytes(picture.svg)
