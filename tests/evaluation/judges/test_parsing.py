"""Replies of judges: a verdict is one that was said once and clearly."""

import pytest

from lightning_marlhf.evaluation.judges.parsing import read_preference

GOOD = '{"comparison": "B invents a {cat}.", "preferred": "A"}'


@pytest.mark.parametrize(
    ("reply", "preference"),
    [
        (GOOD, "first"),
        ('{"comparison": "x", "preferred": "B"}', "second"),
        ('{"preferred": "tie"}', "tie"),
        (f"```json\n{GOOD}\n```", "first"),
        ('{"preferred": "b"}', "second"),
        ('{"preferred": " Tie "}', "tie"),
        (f"Here it is: {GOOD} I hope that this helps {{you}}!", "first"),
        (f"{GOOD}\n{GOOD}", "first"),
        ("<think>{a draft}</think>" + GOOD, "first"),
    ],
    ids=["bare", "B", "tie", "fence", "lower", "spaces", "trailing", "repeated", "thinking"],
)
def test_a_verdict_is_found(reply, preference):
    assert read_preference(reply) == preference


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "I cannot compare these texts.",
        "A",
        "Preferred: A",
        GOOD[:-2],
        '{"preferred": "A"',
        '{"preferred": "A or B"}',
        '{"preferred": "C"}',
        '{"preferred": null}',
        '{"preferred": ["A"]}',
        '{"winner": "A"}',
        '{"verdict": {"preferred": "A"}}',
        '{"preferred": "A"} no, {"preferred": "B"}',
        '{"preferred": "A"} or {"preferred": "?"}',
        '{"preferred": "A", "preferred": "B"}',
        '{"preferred":' * 1500,
        '["A"]',
    ],
)
def test_what_is_not_said_clearly_is_not_guessed(reply):
    assert read_preference(reply) is None
