import pytest

from lightning_marlhf.reporting.load import load_system
from lightning_marlhf.reporting.responses import reference_text, samples_of
from lightning_marlhf.reporting.spec import ReportRow, SystemReport

SPEC = SystemReport(
    rows=[ReportRow(stage="ppo"), ReportRow(stage="ma"), ReportRow(stage="late")],
    scores={"gold": "Gold"},
)


def test_the_first_shared_prompts_are_shown_in_the_order_of_the_file(
    tmp_path, make_completion, make_run
):
    make_run(tmp_path / "ppo/seed-1", responses=[make_completion(i) for i in "dbac"])
    shorter = [make_completion(i, response=f"{i}!", ended=False) for i in "abc"]
    make_run(tmp_path / "ma/seed-1", responses=shorter)
    shown = samples_of(load_system(SPEC, output=tmp_path, seeds=[1]), count=2)
    assert [sample.prompt for sample in shown] == ["prompt b", "prompt a"]
    first = shown[0]
    assert [(a.label, a.text) for a in first.responses] == [("ppo", "a summary"), ("ma", "b!")]
    assert [a.facts for a in first.responses] == [
        "Gold 1.00, 10 tokens",
        "Gold 1.00, 10 tokens, cut off",
    ]


def test_without_responses_there_are_no_samples(tmp_path):
    assert samples_of(load_system(SPEC, output=tmp_path, seeds=[1])) == []


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        (None, None),
        ("a summary", "a summary"),
        ({"summary": "s", "facts": {}}, "s"),
        ({"tests": [1]}, '{"tests": [1]}'),
    ],
)
def test_what_the_task_holds_as_truth_becomes_text(reference, text):
    assert reference_text(reference) == text
