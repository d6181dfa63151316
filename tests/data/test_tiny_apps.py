"""Tiny APPS as a DataModule: what each stage gives, and what a token is."""

import json

import pytest

from lightning_marlhf.data import TinyAPPS
from lightning_marlhf.rollout.code_tests import read_tests
from lightning_marlhf.tasks import tiny_apps

pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")


def module(stage="ppo", **settings):
    return TinyAPPS(stage=stage, **({"batch_size": 4, "train_rows": 3000} | settings))


def test_every_stage_gives_its_own_batch():
    sft = next(iter(module("sft").train_dataloader()))
    prompts = next(iter(module("ppo").train_dataloader()))
    assert sft.input_ids.shape[0] == prompts.input_ids.shape[0] == 4
    assert set(prompts.references[0]) == {"problem_id", "difficulty", "input_output"}


def test_a_stage_without_rows_is_refused():
    with pytest.raises(ValueError, match="no preference pairs"):
        module("reward_model")


def test_stages_train_on_different_problems_and_share_the_held_out_ones():
    prompts = {
        (stage, split): {row.prompt for row in module(stage).examples(split)}
        for stage in ("sft", "ppo")
        for split in ("train", "validate", "test")
    }
    assert not prompts["sft", "train"] & prompts["ppo", "train"]
    for split in ("validate", "test"):
        assert prompts["sft", split] == prompts["ppo", split]
        assert not prompts["ppo", split] & prompts["ppo", "train"]
    assert not prompts["ppo", "validate"] & prompts["ppo", "test"]


def test_a_problem_is_demonstrated_again_with_other_noise():
    rows = module("sft").examples("train")
    period = len(tiny_apps.problems("sft"))
    again = [(rows[i], rows[i + period]) for i in range(50)]
    assert all(first.prompt == second.prompt for first, second in again)
    assert any(first.response != second.response for first, second in again)
    assert rows[3] == module("sft", seed=2).examples("train")[3]


def test_a_test_asks_each_problem_as_often_as_told_and_validation_once():
    data = module(samples_per_prompt=5, test_problems=3, validate_problems=2)
    rows = list(data.examples("test"))
    assert [row.reference["problem_id"] for row in rows] == [
        problem.problem_id for problem in tiny_apps.problems("test")[:3] for _ in range(5)
    ]
    assert len({row.sample_id for row in rows}) == 15
    assert len(data.examples("validate")) == 2


def test_asking_more_often_keeps_the_first_samples():
    once, twice = (list(module(samples_per_prompt=n).examples("test")) for n in (1, 2))
    assert once == twice[::2]


def test_a_reference_holds_the_tests_as_the_scorer_reads_them():
    (row, *_) = module().examples("train")
    problem = tiny_apps.problems("ppo")[0]
    assert read_tests(row.reference).inputs == problem.tests["inputs"]
    assert json.loads(row.reference["input_output"]) == problem.tests


def test_a_question_is_read_word_by_word_and_a_program_character_by_character():
    data = module()
    problem = tiny_apps.problems("test")[0]
    question = data.tokenizer.tokenize(problem.prompt)
    assert len(question) < 20
    program = tiny_apps.write_program(problem)
    ids = data.tokenizer(program, add_special_tokens=False).input_ids
    assert len(ids) == len(program)
    assert data.tokenizer.decode(ids) == program


def test_every_text_comes_back_from_its_tokens():
    tokenizer = module().tokenizer
    for row in module("sft").examples("validate"):
        text = row.prompt + row.response
        assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text


def test_no_row_is_longer_than_the_longest_that_the_module_announces():
    for stage in ("sft", "ppo"):
        data = module(stage, batch_size=512)
        assert next(iter(data.train_dataloader())).input_ids.shape[1] <= data.longest


def test_demonstrations_are_there_in_every_stage():
    assert len(module("ppo").demonstrations(5)) == 5
