import random

import pytest

from lightning_marlhf.records import write_jsonl
from lightning_marlhf.reporting.load import load_study
from lightning_marlhf.reporting.spec import ReportSpec
from lightning_marlhf.reporting.traces import find_traces, place_tokens, read_trace

SPEC = ReportSpec.from_mapping({"rows": [{"stage": "ppo"}, {"stage": "ma"}]})


@pytest.fixture
def kept(make_completion, make_trace):
    def make(sample_id, text="some text"):
        trace = make_trace(text, macro_length=3, score=1.0, rng=random.Random(0))
        return make_completion(sample_id, trace=trace)

    return make


def test_lines_are_about_equally_long_and_hold_every_token():
    lines = place_tokens([*"x" * 65, "<eos>"])
    assert [sum(cell.width for cell in line) for line in lines] == [35, 35]
    assert [cell.position for line in lines for cell in line] == list(range(66))
    assert lines[1][0].left == 0


def test_a_short_response_has_one_line_and_an_empty_one_an_empty_line():
    assert [cell.left for cell in place_tokens(["ab", "c"])[0]] == [0, 2]
    assert place_tokens([]) == [[]]


def test_words_are_not_split_and_long_responses_are_cut():
    lines = place_tokens(["word "] * 200)
    assert len(lines) == 5
    assert {cell.text for line in lines for cell in line} == {"word "}


def test_every_token_can_be_seen_and_drawn():
    texts = [cell.text for cell in place_tokens(["\n", "", "日", "$", "x" * 100])[0]]
    assert texts == ["↵", "□", "□", "$", "x" * 46] or texts == ["↵", "□", "□", "$"]


def test_a_trace_whose_lists_differ_in_length_is_no_trace(kept, make_completion):
    good = kept("a")
    assert read_trace(good).tokens[-1] == "<eos>"
    assert read_trace(make_completion("a")) is None
    assert read_trace(make_completion("a", trace=good.trace | {"values": [1.0]})) is None
    assert read_trace(make_completion("a", trace=good.trace | {"values": ["x"] * 10})) is None


def test_all_rows_show_the_post_that_most_of_them_kept(tmp_path, kept, make_run):
    make_run(tmp_path / "ppo/seed-1", answers=[kept("a"), kept("b")])
    make_run(tmp_path / "ma/seed-1", answers=[kept("b"), kept("c")])
    found = find_traces(load_study(SPEC, output=tmp_path, seeds=[1]))
    assert {stage: k.completion.sample_id for stage, k in found.items()} == {"ppo": "b", "ma": "b"}


def test_without_held_out_traces_the_latest_rollouts_serve(
    tmp_path, kept, make_completion, make_run
):
    make_run(tmp_path / "ppo/seed-1", answers=[make_completion("a")])
    for step in (40, 80):
        path = tmp_path / f"ppo/seed-1/completions/rollouts-{step:06d}.jsonl"
        write_jsonl(path, [kept(f"at-{step}")])
    found = find_traces(load_study(SPEC, output=tmp_path, seeds=[1]))
    assert found["ppo"].completion.sample_id == "at-80"
    assert "ma" not in found
