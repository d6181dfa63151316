"""A response as Markdown for TensorBoard: its numbers, the prompt, and the response cut into macro actions."""

import itertools
import textwrap

from lightning_marlhf.display.text import printable
from lightning_marlhf.records import Completion

BOUNDARY = "│"  # between two macro actions
_EMPTY = "(empty)"
_WIDTH = 110  # characters; TensorBoard does not wrap code


def sample_text(row: Completion) -> str:
    """Show one response as Markdown.

    Prompt and response stand in indented code blocks, in which nothing is Markdown or HTML; long lines are wrapped.
    """
    text = macro_text(row)
    legend = f" (`{BOUNDARY}` between macro actions)" if BOUNDARY in text else ""
    heading = f"**{' · '.join(facts(row))}**"
    return "\n\n".join(
        [heading, "Prompt", code_block(row.prompt), f"Response{legend}", code_block(text)]
    )


def facts(row: Completion) -> list[str]:
    """Say what is known of a response: scores, KL, length, and whether it was cut off."""
    scores = [f"{_plain(name)} {value:.4g}" for name, value in row.scores.items()]
    kl = [] if row.kl is None else [f"KL {row.kl:.4g} nats"]
    macro = [_count(len(set(row.trace["macro_index"])), "macro action")] if row.trace else []
    end = [] if row.ended else ["cut off at the limit"]
    return [*scores, *kl, _count(row.num_tokens, "token"), *macro, *end]


def macro_text(row: Completion) -> str:
    """Join the response's tokens, with a bar between macro actions; without bars where each token is one.

    Where there is no trace, it is the plain response.
    """
    if row.trace is None:
        return row.response
    tokens, index = row.trace["tokens"], row.trace["macro_index"]
    if len(set(index)) == len(index):
        return "".join(tokens)
    starts = (now != before for before, now in itertools.pairwise([*index[:1], *index]))
    return "".join(
        f"{BOUNDARY if start else ''}{token}" for token, start in zip(tokens, starts, strict=True)
    )


def code_block(text: str) -> str:
    """Indent untrusted text, so that nothing in it is Markdown or HTML; long lines are wrapped."""
    lines = printable(text).removesuffix("\n").split("\n") if text else [_EMPTY]
    wrap = textwrap.TextWrapper(_WIDTH, expand_tabs=False, replace_whitespace=False)
    return "\n".join(f"    {part}" for line in lines for part in wrap.wrap(line) or [""])


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() else " " for c in name)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
