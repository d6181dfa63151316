import pytest
from lightning_marlhf.reporting.old_spec import ReportSpec

from lightning_marlhf.reporting.load import load_study
from lightning_marlhf.reporting.samples import reference_text, samples

SPEC = ReportSpec.from_mapping(
    {"rows": [{"stage": "ppo"}, {"stage": "ma"}, {"stage": "late"}], "scores": {"gold": "Gold"}}
)


def test_the_first_shared_posts_are_shown_in_the_order_of_the_file(
    tmp_path, make_completion, make_run
):
    make_run(tmp_path / "ppo/seed-1", answers=[make_completion(i) for i in "dbac"])
    shorter = [make_completion(i, response=f"{i}!", ended=False) for i in "abc"]
    make_run(tmp_path / "ma/seed-1", answers=shorter)
    shown = samples(load_study(SPEC, output=tmp_path, seeds=[1]), count=2)
    assert [sample.prompt for sample in shown] == ["post b", "post a"]
    first = shown[0]
    assert [(a.label, a.response) for a in first.answers] == [("ppo", "a summary"), ("ma", "b!")]
    assert [a.facts for a in first.answers] == [
        "Gold 1.00, 10 tokens",
        "Gold 1.00, 10 tokens, cut off",
    ]


def test_without_answers_there_are_no_samples(tmp_path):
    assert samples(load_study(SPEC, output=tmp_path, seeds=[1])) == ()


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
