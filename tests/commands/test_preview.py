"""`preview`: the rows of a phase as texts and as tokens, with nothing built but the data."""

import json
from pathlib import Path

import pytest
import yaml

from lightning_marlhf.commands import preview
from lightning_marlhf.commands.preview import histogram
from lightning_marlhf.data import TinyTLDR
from lightning_marlhf.data.tokenizers import character_tokenizer

MODULES = {"sft": "SFT", "reward_model": "RewardModel", "ppo": "SFT", "evaluation": "SFT"}
# The phases of ten rows by row: see tests/data/test_splits.py
PHASES = {"sft": [7, 2], "reward_model": [9, 1, 0, 8], "ppo": [4, 5, 6, 3]}


def comparison(number, post=None):
    return {
        "info": {"post": post or f"post {number}", "subreddit": None, "article": None},
        "summaries": [{"text": f" good {number}"}, {"text": f" gone {number}"}],
        "choice": 0,
    }


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A tokenizer, and ten comparisons with two held out."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    letters = "abcdefghijklmnopqrstuvwxyzPOSTLDR0123456789: \n"
    character_tokenizer(letters).save_pretrained(tmp_path / "tokenizer")
    write(tmp_path / "train.jsonl", map(comparison, range(10)))
    write(tmp_path / "valid.jsonl", [comparison(20), comparison(21)])
    return tmp_path


def write(path, rows):
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def config(folder, stage="sft", *, data="TLDR", model=None, **settings):
    """Write the YAML of a run and return its path."""
    if data != "TinyTLDR":
        settings = {"source": str(folder), "tokenizer": str(folder / "tokenizer"), "split_by": "row"} | settings
    run = {
        "trainer": {"default_root_dir": str(folder / "run")},
        "model": {
            "class_path": f"lightning_marlhf.modules.{MODULES[stage]}",
            "init_args": {"model": "nowhere", "optimization": {"lr": 0.1}} | (model or {}),
        },
        "data": {"class_path": f"lightning_marlhf.data.{data}", "init_args": {"stage": stage} | settings},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(run))
    return str(folder / "run.yaml")


@pytest.fixture
def show(capsys):
    """Run the command; give what it prints."""

    def show(*arguments, status=0):
        assert preview.main(["preview", "--config", *arguments]) == status
        return capsys.readouterr()

    return show


@pytest.fixture
def read(show):
    """Run the command with --json; give the rows."""

    def read(*arguments):
        return [json.loads(line) for line in show(*arguments, "--json").out.splitlines()]

    return read


@pytest.mark.parametrize(
    ("stage", "responses"),
    [("sft", {"response": " good {}"}), ("reward_model", {"chosen": " good {}", "rejected": " gone {}"}), ("ppo", {})],
)
def test_json_gives_the_texts_of_the_phase_in_its_order(folder, read, stage, responses):
    assert read(config(folder, stage), "--num", "9") == [
        {
            "row": row,
            "prompt": f"POST\npost {row}\nTL;DR: ",
            **{name: text.format(row) for name, text in responses.items()},
        }
        for row in PHASES[stage]
    ]


def test_num_limits_the_rows_and_unusable_ones_do_not_count(folder, read):
    rows = [comparison(number) for number in range(10)]
    rows[9]["info"]["post"] = " "
    write(folder / "train.jsonl", rows)
    found = read(config(folder, "reward_model"), "--num", "2")
    assert [row["row"] for row in found] == [1, 0]


def test_the_evaluation_previews_held_out_rows(folder, read, show):
    found = read(config(folder, "evaluation"))
    assert sorted(row["prompt"][5:12] for row in found) == ["post 20", "post 21"]
    page = show(config(folder, "evaluation")).out
    assert "test 2 rows, 2 used" in " ".join(page.split())
    assert "train" not in page


def test_a_row_with_several_responses_is_shown_once_with_each(folder, read):
    problem = {
        "problem_id": 3,
        "question": "add",
        "solutions": '["one", "two"]',
        "input_output": "",
        "difficulty": "interview",
        "starter_code": "",
    }
    write(folder / "train.jsonl", [problem])
    (folder / "valid.jsonl").unlink()
    found = read(config(folder, data="APPS", phases="1,0"))
    assert [(row["row"], row["response"]) for row in found] == [(0, "one"), (0, "two")]


def test_without_the_tokenizer_texts_are_shown_and_what_is_missing_is_said(folder, show):
    whole = show(config(folder), "--json")
    assert whole.err == ""
    missing = show(config(folder, tokenizer="runs/nowhere"), "--json")
    assert missing.out == whole.out
    assert missing.err.startswith("without the tokenizer only texts can be shown: runs/nowhere")
    page = show(config(folder, tokenizer="runs/nowhere")).out
    assert "train     2 rows, 2 used" in page
    assert "response\n|  good 7\n" in page
    assert "tokens" not in page


def test_the_page_tells_prompt_and_response_apart_and_how_they_weigh(folder, show):
    page = show(config(folder, model={"prompt_weight": 0.25}), "--num", "1").out
    prompt = "<bos>POST|post 7|TL<unk>DR: ".replace("|", "\n| ")
    assert f"train[7] {'─' * 5}" in page
    assert f"prompt: 20 tokens, weight 0.25 in the loss\n| {prompt}\n" in page
    assert "response: 8 tokens, weight 1 in the loss\n|  good 7<eos>\n" in page
    assert "padding" not in page
    assert "train[2]" not in page


def test_padding_is_shown_where_the_model_sees_it(folder, show):
    run = config(folder, pad_to_max_length=True, max_length=30, model={"padding_weight": 1.0})
    page = show(run).out
    assert "prompt: 20 tokens, weight 0 in the loss\n" in page
    assert "padding: 2 tokens, weight 1 in the loss\n| <pad>\n" in page


@pytest.mark.parametrize(("loss", "use"), [("last", "at the last token"), ("tokens", "at each of these tokens")])
def test_a_pair_is_cut_where_its_responses_part(folder, show, loss, use):
    page = show(config(folder, "reward_model", model={"loss": loss}), "--num", "1").out
    assert "shared by both: 23 tokens, not compared\n" in page  # prompt, " ", "g", "o"
    assert f"chosen: 5 tokens, compared {use}\n| od 9<eos>\n" in page
    assert f"rejected: 5 tokens, compared {use}\n| ne 9<eos>\n" in page


def test_prompts_are_what_the_policy_responds_to(folder, show):
    page = show(config(folder, "ppo"), "--num", "1").out
    assert "prompt: 20 tokens, the policy responds\n| <bos>POST\n" in page


def test_the_page_counts_what_was_dropped_and_the_groups_that_phases_share(folder, show):
    rows = [comparison(number, post="same") for number in range(10)]
    rows[4]["info"]["post"] = "x" * 50
    rows[5]["info"]["post"] = ""
    write(folder / "train.jsonl", rows)
    page = show(config(folder, "ppo", max_prompt_length=40)).out
    assert "train     4 rows, 2 used" in page
    assert "1 of 4 rows dropped: prompt longer than max_prompt_length (40 tokens)" in page
    assert "1 of 4 rows dropped: empty prompt (row 6)" in page
    assert "groups    3 in this phase, 1 of them in other phases too" in page
    assert "tokens per row: 18 to 18, median of 2 rows 18" in page


def test_control_characters_of_a_post_do_not_reach_the_terminal(folder, show):
    write(folder / "train.jsonl", [comparison(0, post="\x1b[31mred")] * 10)
    page = show(config(folder, tokenizer="nowhere/here")).out
    assert "\x1b" not in page
    assert "[31mred" in page


def test_generated_data_is_previewed_too(folder, read, show):
    run = config(folder, data="TinyTLDR", train_rows=30)
    first = TinyTLDR(stage="sft").examples("train")[0]
    assert read(run, "--num", "1") == [{"row": 0, "prompt": first.prompt, "response": first.response}]
    page = show(run).out
    assert "train     30 rows" in page
    assert "median of 30 rows" in page
    assert f"| {first.response}<eos>\n" in page


def test_a_mixture_is_previewed_part_by_part(folder, read):
    part = {"stage": "sft", "source": str(folder), "tokenizer": str(folder / "tokenizer")}
    parts = [
        {"class_path": f"lightning_marlhf.data.{name}", "init_args": part | settings}
        for name, settings in (
            ("TLDR", {"split_by": "row"}),
            ("Preferences", {"prompt_column": "info.post", "chosen_column": "info.post"}),
        )
    ]
    run = yaml.safe_load(Path(config(folder)).read_text())
    run["data"] = {"class_path": "lightning_marlhf.data.Mixture", "init_args": {"parts": parts}}
    (folder / "mixture.yaml").write_text(yaml.safe_dump(run))
    found = read(str(folder / "mixture.yaml"), "--num", "1")
    assert [(row["row"], row["response"]) for row in found] == [(7, " good 7"), (0, "post 0")]


def test_a_broken_row_is_one_line_of_error_and_nothing_else(folder, show):
    rows = [comparison(number) for number in range(10)]
    rows[4]["choice"] = 7
    write(folder / "train.jsonl", rows)
    for arguments in ([], ["--json"]):
        said = show(config(folder), *arguments, status=1)
        assert said.out == ""
        assert said.err.count("\n") == 1
        assert "row 5: column choice: expected 0 or 1, got 7" in said.err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--num", "0"], "--num: expected at least 1, got 0"),
        (["--data.init_args.sorce", "x"], "did you mean 'source'?"),
        (["--data.init_args.stage", "rm"], "data.init_args.stage"),
    ],
)
def test_the_command_line_is_checked_as_for_a_run(folder, show, arguments, complaint):
    assert complaint in show(config(folder), *arguments, status=2).err


def test_data_of_another_package_is_refused(toy_yaml, show):
    said = show(str(toy_yaml), status=2).err
    assert "data: expected a data set of this package, got ToyData" in said


def test_lengths_are_counted_in_bins_of_one_width():
    first, *bins = histogram([3, 4, 4, 5, 18])
    assert first == "tokens per row: 3 to 18, median of 5 rows 4"
    assert [line.split()[:2] for line in bins] == [
        ["3-4", "3"],
        ["5-6", "1"],
        ["7-8", "0"],
        ["9-10", "0"],
        ["11-12", "0"],
        ["13-14", "0"],
        ["15-16", "0"],
        ["17-18", "1"],
    ]
    assert [line.count("#") for line in bins] == [40, 13, 0, 0, 0, 0, 0, 13]
    assert list(histogram([])) == []


def test_rows_that_json_leaves_out_are_counted_beside_it(folder, show):
    write(folder / "train.jsonl", [comparison(7), comparison(8, post=" ")])
    said = show(config(folder, phases=None), "--json")
    assert said.err == "1 of 2 rows dropped: empty prompt (row 2)\n"
    assert len(said.out.splitlines()) == 1
