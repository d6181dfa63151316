"""One response of each trained row, cut into macro actions, as a picture of the report."""

from collections.abc import Mapping

from lightning_marlhf.display.blocks import Picture
from lightning_marlhf.display.trace_picture import draw_trace
from lightning_marlhf.reporting.load import Study
from lightning_marlhf.reporting.style import in_style, row_styles, to_picture
from lightning_marlhf.reporting.text import number
from lightning_marlhf.reporting.traces import KeptResponse, find_traces


def trace_pictures(study: Study) -> tuple[Picture, ...]:
    """Return a picture of one response for each trained row that has kept one."""
    styles = row_styles(study.spec)
    pictures = []
    for stage, kept in find_traces(study).items():
        style = styles[stage]
        with in_style():
            figure = draw_trace(
                kept.trace,
                title=f"{style.label}: one response in macro actions",
                facts=_facts(kept, study.spec.scores),
                color=style.color,
            )
            alt = f"A response of {style.label} cut into macro actions"
            pictures.append(to_picture(figure, name=f"trace-{stage}", alt=alt, wide=True))
    return tuple(pictures)


def _facts(kept: KeptResponse, scores: Mapping[str, str]) -> list[str]:
    completion = kept.completion
    return [
        *(f"{label} {number(completion.scores.get(key), 2)}" for key, label in scores.items()),
        f"KL {number(completion.kl, 2)} nats",
        f"tokens {len(kept.trace.tokens)}",
        f"macro actions {len(set(kept.trace.macro_index))}",
        f"update {completion.step}",
        f"seed {kept.run.seed}",
    ]
