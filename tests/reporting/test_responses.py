import random

import pytest

from lightning_marlhf.records import write_jsonl
from lightning_marlhf.reporting.load import load_system
from lightning_marlhf.reporting.responses import find_traces, read_trace, reference_text, samples_of
from lightning_marlhf.reporting.spec import ReportRow, SystemReport

SPEC = SystemReport(
    rows=[ReportRow(stage="ppo"), ReportRow(stage="ma"), ReportRow(stage="late")], scores={"gold": "Gold"}
)


def test_the_first_shared_prompts_are_shown_in_the_order_of_the_file(tmp_path, make_completion, make_run):
    make_run(tmp_path / "ppo/seed-1", responses=[make_completion(i) for i in "dbac"])
    shorter = [make_completion(i, response=f"{i}!", ended=False) for i in "abc"]
    make_run(tmp_path / "ma/seed-1", responses=shorter)
    shown = samples_of(load_system(SPEC, output=tmp_path, seeds=[1]), count=2)
    assert [sample.prompt for sample in shown] == ["prompt b", "prompt a"]
    first = shown[0]
    assert [(a.label, a.text) for a in first.responses] == [("ppo", "a summary"), ("ma", "b!")]
    assert [a.facts for a in first.responses] == ["Gold 1.00, 10 tokens", "Gold 1.00, 10 tokens, cut off"]


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


TRACED = SystemReport(rows=[ReportRow(stage="ppo"), ReportRow(stage="ma")])


@pytest.fixture
def kept(make_completion, make_trace):
    def make(sample_id, text="some text"):
        trace = make_trace(text, macro_length=3, score=1.0, rng=random.Random(0))
        return make_completion(sample_id, trace=trace)

    return make


def test_a_trace_whose_lists_differ_in_length_is_no_trace(kept, make_completion):
    good = kept("a")
    assert read_trace(good).tokens[-1] == "<eos>"
    assert read_trace(make_completion("a")) is None
    assert read_trace(make_completion("a", trace=good.trace | {"values": [1.0]})) is None
    assert read_trace(make_completion("a", trace=good.trace | {"values": ["x"] * 10})) is None


def test_all_rows_show_the_prompt_that_most_of_them_kept(tmp_path, kept, make_run):
    make_run(tmp_path / "ppo/seed-1", responses=[kept("a"), kept("b")])
    make_run(tmp_path / "ma/seed-1", responses=[kept("b"), kept("c")])
    found = find_traces(load_system(TRACED, output=tmp_path, seeds=[1]))
    assert {stage: k.completion.sample_id for stage, k in found.items()} == {"ppo": "b", "ma": "b"}


def test_without_held_out_traces_the_latest_rollouts_serve(tmp_path, kept, make_completion, make_run):
    make_run(tmp_path / "ppo/seed-1", responses=[make_completion("a")])
    for step in (40, 80):
        path = tmp_path / f"ppo/seed-1/completions/rollouts-{step:06d}.jsonl"
        write_jsonl(path, [kept(f"at-{step}")])
    found = find_traces(load_system(TRACED, output=tmp_path, seeds=[1]))
    assert found["ppo"].completion.sample_id == "at-80"
    assert "ma" not in found
