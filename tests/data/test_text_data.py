"""From files to batches: phases, held-out rows, what is dropped, what is reused, for the four real data sets."""

import json
import logging

import pytest

from lightning_marlhf.data import APPS, HHRLHF, TLDR, WebGPT
from lightning_marlhf.data.splits import evaluation_subset, phase_by_row
from lightning_marlhf.tasks.rows import MalformedRow

pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")


@pytest.fixture
def tldr(write, tldr_row, tokenizer_folder):
    """Make TL;DR of 20 comparisons of 10 posts, 10 held out: tldr("sft", split_by="row")."""
    write("train.jsonl", [tldr_row(post // 2) for post in range(20)])
    folder = write("valid.jsonl", [tldr_row(100 + post) for post in range(10)])

    def make(stage, **settings):
        return TLDR(stage=stage, **{"tokenizer": tokenizer_folder, "source": folder, "batch_size": 2, **settings})

    return make


def rows(data, split="train"):
    return data.texts(split)["row"][:]


def posts(data):
    return set(data.texts("train")["group"][:])


def test_phases_by_row_are_those_of_the_released_code(tldr):
    for index, stage in enumerate(("sft", "reward_model", "ppo")):
        expected = phase_by_row(20, (2, 4, 4), index, seed=1234).tolist()
        assert rows(tldr(stage, split_by="row")) == expected


def test_phases_by_row_share_posts_and_say_so(tldr):
    data = tldr("sft", split_by="row")
    mine, shared = data.shared_groups()
    assert mine == len(posts(data))
    assert shared == len(
        posts(data) & (posts(tldr("reward_model", split_by="row")) | posts(tldr("ppo", split_by="row")))
    )
    assert data.describe()["shared groups"].startswith(f"{shared} of {mine} groups")


def test_phases_by_post_share_none(tldr):
    phases = [posts(tldr(stage)) for stage in ("sft", "reward_model", "ppo")]
    assert sum(map(len, phases)) == len(set().union(*phases)) == 10
    assert tldr("sft").shared_groups()[1] == 0
    assert "shared groups" not in tldr("sft").describe()


def test_without_phases_every_stage_has_all_rows(tldr):
    assert rows(tldr("sft", phases=None)) == rows(tldr("ppo", phases=None)) == list(range(20))


@pytest.mark.parametrize("shares", ["2,8", "1,-1,2", "0,0,0", "a,b,c"])
def test_shares_that_are_none_are_refused(tldr, shares):
    with pytest.raises(ValueError, match="expected 3 shares such as"):
        tldr("sft", phases=shares)


def test_the_test_reads_the_papers_evaluation_subset(tldr):
    expected = evaluation_subset(10, 4, shuffled=True).tolist()
    assert rows(tldr("ppo", evaluation_rows=4), "test") == expected
    assert rows(tldr("evaluation", evaluation_rows=4), "test") == expected


def test_the_test_asks_each_prompt_as_often_as_it_should_under_names_of_their_own(tldr):
    once = tldr("ppo", evaluation_rows=4)
    often = tldr("ppo", evaluation_rows=4, samples_per_prompt=3)
    asked = [often.examples("test")[index].example for index in range(12)]
    names = [once.examples("test")[index].example.sample_id for index in range(4)]
    assert [question.sample_id for question in asked] == [f"{n}/{i}" for n in names for i in range(3)]
    assert len(often.examples("test")) == 12
    assert len({question.prompt for question in asked}) == 4
    assert len(often.examples("train")) == len(once.examples("train"))
    assert len(often.examples("validate")) == len(once.examples("validate"))
    pairs = tldr("reward_model", samples_per_prompt=3), tldr("reward_model")
    assert len(pairs[0].examples("test")) == len(pairs[1].examples("test"))


def test_validation_reads_the_phase_of_the_held_out_rows(tldr):
    expected = phase_by_row(10, (2, 4, 4), 2, seed=1234).tolist()
    assert rows(tldr("ppo", split_by="row"), "validate") == expected
    assert rows(tldr("ppo", split_by="row", validate_rows=2), "validate") == expected[:2]


def test_every_stage_gives_its_batch(tldr):
    sft = next(iter(tldr("sft").train_dataloader()))
    pairs = next(iter(tldr("reward_model").train_dataloader()))
    prompts = next(iter(tldr("ppo").train_dataloader()))
    assert len(sft) == len(pairs) == len(prompts) == 2
    assert prompts.texts[0].startswith("POST\nSubreddit: r/cats\npost ")
    row = int(prompts.sample_ids[0].removeprefix("tldr/train/"))
    assert prompts.references[0] == f" good{row // 2}"
    text = tldr("sft").tokenizer.decode(sft.input_ids[0][sft.response_mask[0]])
    assert text.replace(" ", "").startswith("good")


def test_rows_are_padded_to_their_longest_or_to_the_limit(tldr):
    narrow = next(iter(tldr("sft").train_dataloader()))
    wide = next(iter(tldr("sft", pad_to_max_length=True, max_length=90).train_dataloader()))
    assert narrow.input_ids.shape[1] == max(narrow.lengths) < 90
    assert wide.input_ids.shape[1] == 90
    assert tldr("sft", pad_to_max_length=True, max_length=90).longest == 90


def test_dropped_rows_are_counted_with_their_numbers(tldr, write, tldr_row, caplog):
    lines = [tldr_row(post) for post in range(6)] + [tldr_row(6, text="x" * 80)]
    write("train.jsonl", [*lines, tldr_row(7, text=" ")])
    data = tldr("ppo", phases=None, max_prompt_length=60)
    with caplog.at_level(logging.WARNING):
        data.setup("fit")
    assert "1 of 8 rows dropped: prompt longer than max_prompt_length (60 tokens) (row 7)" in caplog.text
    assert "1 of 8 rows dropped: empty prompt (row 8)" in caplog.text
    assert len(data.examples("train")) == 6


def test_a_run_without_any_row_is_refused_with_the_reasons(tldr):
    with pytest.raises(ValueError, match="no rows left to train on: 8 of 8 rows dropped: prompt"):
        tldr("ppo", max_prompt_length=3, split_by="row").train_dataloader()


def test_a_broken_row_stops_the_run(tldr, write, tldr_row):
    write("train.jsonl", [tldr_row(0), tldr_row(1, choice=7)])
    with pytest.raises(MalformedRow, match=r"row 2: column choice: expected 0 or 1, got 7"):
        tldr("sft").prepare_data()


def test_evaluation_has_no_rows_to_train_on(tldr):
    with pytest.raises(ValueError, match="evaluation has no rows to train on"):
        tldr("evaluation").train_dataloader()


def test_without_held_out_rows_there_is_no_validation(write, tokenizer_folder, tmp_path):
    folder = write("train.jsonl", [{"prompt": f"p{i}", "chosen": "a", "rejected": "b"} for i in range(9)])
    data = HHRLHF(stage="sft", tokenizer=tokenizer_folder, source=folder, batch_size=1)
    data.prepare_data()
    assert data.val_dataloader() == []


def test_a_loader_resumes_at_the_row_where_it_stopped(tldr):
    def names(batches):
        return [name for batch in batches for name in batch.sample_ids]

    whole = names(tldr("ppo").train_dataloader())
    loader = tldr("ppo").train_dataloader()
    batches = iter(loader)
    before = names([next(batches), next(batches)])
    resumed = tldr("ppo").train_dataloader()
    resumed.load_state_dict(loader.state_dict())
    assert before + names(resumed) == whole


@pytest.mark.parametrize(
    "changed",
    [
        {"max_length": 20},
        {"tokenize": "joined"},
        {"keep_eos": True},
        {"truncate": "drop"},
        {"split_seed": 1},
        {"split_by": "row"},
        {"phases": "4,4,2"},
        {"tokenizer": "other"},
    ],
)
def test_every_setting_is_part_of_the_caches_key(tldr, changed, tmp_path, tokenizer_folder):
    if "tokenizer" in changed:
        from lightning_marlhf.data.tokenizers import word_tokenizer

        word_tokenizer(["POST", "good"]).save_pretrained(tmp_path / "other")
        changed = {"tokenizer": str(tmp_path / "other")}
    before, again = (tldr("sft", split_by="group").encoded("train")._fingerprint for _ in range(2))
    assert before == again
    assert tldr("sft", **changed).encoded("train")._fingerprint != before


def test_the_second_run_reads_the_cache(tldr, monkeypatch):
    first = tldr("sft").encoded("train")
    monkeypatch.setattr("lightning_marlhf.data.encoding._encode_batch", lambda *_, **__: 1 / 0)
    assert tldr("sft").encoded("train").to_dict() == first.to_dict()


def test_a_changed_file_is_read_anew(tldr, write, tldr_row):
    assert len(tldr("sft", phases=None).texts("train")) == 20
    write("train.jsonl", [tldr_row(post) for post in range(21)])
    assert len(tldr("sft", phases=None).texts("train")) == 21


def test_planned_rows_need_no_download_for_the_papers_data(tokenizer_folder):
    def planned(kind, stage):
        return kind(stage=stage, tokenizer=tokenizer_folder).planned_train_rows()

    assert [planned(TLDR, stage) for stage in ("sft", "reward_model", "ppo")] == [18572, 37143, 37143]
    assert planned(HHRLHF, "ppo") == 44821
    assert planned(WebGPT, "ppo") == 7440  # of 95 % of the rows
    assert planned(APPS, "ppo") == 4000


def webgpt_row(question, scores, responses=("a (b) [1].", "b")):
    return {
        "question": {"full_text": question},
        "answer_0": responses[0],
        "answer_1": responses[1],
        "score_0": scores[0],
        "score_1": scores[1],
    }


def test_webgpt_holds_out_a_twentieth_and_drops_ties_for_the_reward_model(write, tokenizer_folder):
    rows = [webgpt_row(f"q{i}", (0, 0) if i % 2 else (1, -1)) for i in range(40)]
    folder = write("train.jsonl", rows)

    def make(stage, **settings):
        return WebGPT(stage=stage, tokenizer=tokenizer_folder, source=folder, phases=None, **settings)

    assert len(make("evaluation").texts("test")) == 2
    assert make("evaluation").texts("test")["row"][:] == phase_by_row(40, (95, 5), 1, seed=1234).tolist()
    ties = sum(row % 2 for row in make("sft").texts("train")["row"][:])
    assert ties > 0
    assert make("reward_model").row_counts("train").dropped.keys() == {"a tie"}
    assert len(make("reward_model").examples("train")) == 38 - ties
    assert len(make("reward_model", ties="keep").examples("train")) == 38
    assert len(make("sft").examples("train")) == 38
    assert make("sft").texts("train")["responses"][0] == [" a (b)."]
    assert make("sft", brackets="all").texts("train")["responses"][0] == [" a."]


def apps_row(number, **columns):
    return {
        "problem_id": number,
        "question": f"problem {number}",
        "solutions": json.dumps(["print(1)", "print(2)"]),
        "input_output": json.dumps({"inputs": ["1"], "outputs": ["1"]}),
        "difficulty": "interview",
        "starter_code": "",
        **columns,
    }


def test_apps_demonstrates_all_solutions_or_one_and_keeps_tests_for_ppo(write, tokenizer_folder):
    broken = apps_row(1, solutions="[", input_output="{")
    folder = write("train.jsonl", [apps_row(0), broken, apps_row(2, solutions="", input_output="")])

    def make(stage, **settings):
        return APPS(stage=stage, tokenizer=tokenizer_folder, source=folder, phases=None, **settings)

    assert len(make("sft").examples("train")) == 2
    assert len(make("sft", solutions="one").examples("train")) == 1
    reasons = {"solutions cannot be parsed": [1], "no solutions": [2]}
    assert make("sft").row_counts("train").dropped == reasons
    reasons = {"input_output cannot be parsed": [1], "no input_output": [2]}
    assert make("ppo").row_counts("train").dropped == reasons
    question = make("ppo").examples("train")[0].example
    assert question.reference["difficulty"] == "interview"
    assert json.loads(question.reference["input_output"])["outputs"] == ["1"]


def test_apps_has_no_reward_model(tokenizer_folder):
    with pytest.raises(ValueError, match="APPS has no stage 'reward_model': expected sft, ppo"):
        APPS(stage="reward_model", tokenizer=tokenizer_folder)


def test_demonstrations_are_those_of_sft_in_every_stage(tldr):
    batch = tldr("reward_model").demonstrations(3)
    assert len(batch) == 3
    sft = tldr("sft").texts("train")
    text = tldr("sft").tokenizer.decode(batch.input_ids[0][batch.response_mask[0]])
    assert text.replace(" ", "").removesuffix("<eos>") == sft["responses"][0][0].replace(" ", "")


def test_without_phases_all_rows_are_planned(tokenizer_folder):
    data = TLDR(stage="sft", tokenizer=tokenizer_folder, phases=None)
    assert data.planned_train_rows() == 92858
