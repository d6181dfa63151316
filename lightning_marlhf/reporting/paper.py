"""Reports of plans of the paper: its numbers beside ours, over several systems."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lightning_marlhf.display.blocks import Block, Note, Pictures, Sample, Section, Text
from lightning_marlhf.reporting import best_runs, pass_at_k, wins
from lightning_marlhf.reporting.distributions import distribution_picture
from lightning_marlhf.reporting.load import Study, load_study
from lightning_marlhf.reporting.old_spec import ReportSpec, RowSpec
from lightning_marlhf.reporting.optimisation import optimisation_picture
from lightning_marlhf.reporting.paper_parity import paper_parity_table
from lightning_marlhf.reporting.paper_scores import score_picture, score_table
from lightning_marlhf.reporting.plots import curve_pictures, diagnostics_picture
from lightning_marlhf.reporting.provenance import stage_table
from lightning_marlhf.reporting.report import missing_notes, write_report
from lightning_marlhf.reporting.samples import samples
from lightning_marlhf.reporting.systems import System
from lightning_marlhf.reporting.tables import reward_model_table

_NUM_SAMPLES = 2
_CURVES = (
    "Means over training rollouts; bold: moving mean over a tenth of the curve, mean over seeds; band: lowest to"
    " highest seed; faint: as logged."
)
_DISTRIBUTIONS = (
    "Answers to held-out prompts, all seeds together; vertical lines: means. Kernel density estimates with Scott's"
    " bandwidth."
)
_OPTIMISATION = (
    "What each scorer has gained since the first rollout, in standard deviations of its scores over held-out answers of"
    " the run's starting point; training maximises the first alone. Where the first rises and a held-out one does not,"
    " the policy learns the reward model's faults. Bands: lowest to highest seed."
)


@dataclass(frozen=True)
class Show:
    """Something that a plan can show: `shows:` names it."""

    title: str
    make: Callable[[Sequence[System]], Sequence[Block]]


def build_paper_report(
    *,
    title: str,
    rows: Sequence[Mapping[str, Any]],
    shows: Sequence[str],
    output: Path,
    folder: Path,
    seeds: Sequence[int],
) -> str:
    """Write ``report.md``, ``report.html`` and ``report/*.{tex,png,svg}`` into ``folder``.

    Args:
        title: the plan's title.
        rows: for each system its name, label, runs (stage -> label), evaluations, `report:` and the paper's numbers.
        shows: names from ``SHOWS``, in the order of the report.
        output: the run of a stage is ``<output>/<system>/<stage>/seed-<N>``.
        folder: where the report goes.
        seeds: the seeds to show.

    Returns:
        The text of ``report.md``.
    """
    systems = [read_system(row, output=output, seeds=seeds) for row in rows]
    notes = tuple(note for system in systems for note in missing_notes(system.study))
    sections = [Section(SHOWS[name].title, tuple(SHOWS[name].make(systems))) for name in shows]
    if notes:
        sections.append(Section("What is missing", notes))
    provenance = tuple(stage_table(system.study) for system in systems)
    return write_report(title, [*sections, Section("Runs", provenance)], folder=folder)


def read_system(row: Mapping[str, Any], *, output: Path, seeds: Sequence[int]) -> System:
    """Load what the runs of one system have left."""
    settings = dict(row["report"])
    for key in ("baseline", "reference_run"):
        if settings.get(key) not in row["runs"]:
            settings.pop(key, None)
    specs = tuple(RowSpec(stage, label) for stage, label in row["runs"].items())
    spec = replace(ReportSpec.from_mapping({**settings, "rows": [vars(each) for each in specs]}))
    study = load_study(spec, output=output / row["system"], seeds=seeds, others=())
    return System(
        name=row["system"].replace("/", "-"),
        label=row["label"],
        study=study,
        evaluations=tuple(row["evaluations"]),
        reported=row["reported"],
    )


def _each(
    make: Callable[[Study], Sequence[Block]], caption: str = ""
) -> Callable[[Sequence[System]], Sequence[Block]]:
    """Make the same blocks for each system, the pictures named after it, below a caption of them all."""

    def blocks(systems: Sequence[System]) -> Sequence[Block]:
        found = [_named(block, system) for system in systems for block in make(system.study)]
        return [Text(caption), *found] if caption else found

    return blocks


def _named(block: Block, system: System) -> Block:
    if isinstance(block, Sample):
        return replace(block, title=f"{system.label}. {block.title}")
    if not isinstance(block, Pictures):
        return block
    pictures = [replace(each, name=f"{each.name}-{system.name}") for each in block.pictures]
    return Pictures(tuple(pictures), f"{system.label}. {block.caption}".strip())


def _curves(study: Study) -> Sequence[Block]:
    pictures = curve_pictures(study)
    return [Pictures(pictures, "") if pictures else Note("No run has logged its curves yet.")]


def _distributions(study: Study) -> Sequence[Block]:
    picture = distribution_picture(study)
    return [Pictures((picture,), "") if picture else Note("No run has answered yet.")]


def _optimisation(study: Study) -> Sequence[Block]:
    picture = optimisation_picture(study)
    return [Pictures((picture,), "") if picture else Note("No run has several scorers yet.")]


def _details(study: Study) -> Sequence[Block]:
    diagnostics = diagnostics_picture(study)
    accuracy = reward_model_table(study.runs_of(study.spec.reward_model))
    return [
        *([accuracy] if accuracy else []),
        *([Pictures((diagnostics,), "Bold: smoothed; band over seeds.")] if diagnostics else []),
        *samples(study, count=_NUM_SAMPLES),
    ]


SHOWS: Mapping[str, Show] = {
    "scores": Show("Scores", score_table),
    "score_picture": Show("Scores as a picture", score_picture),
    "pass_at_k": Show("pass@k", pass_at_k.blocks),
    "win_rates": Show("Win rates", wins.blocks),
    "best_of_n": Show("Best of N", best_runs.blocks),
    "parity": Show("Time to parity", paper_parity_table),
    "curves": Show("Training curves", _each(_curves, _CURVES)),
    "distributions": Show("Distributions of scores", _each(_distributions, _DISTRIBUTIONS)),
    "optimisation": Show("Over-optimisation", _each(_optimisation, _OPTIMISATION)),
    "details": Show("Reward model, diagnostics, samples", _each(_details)),
}
