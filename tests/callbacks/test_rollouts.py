import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from lightning_marlhf.callbacks.completion_records import records_of, token_pieces
from lightning_marlhf.callbacks.rollouts import RolloutWriter
from lightning_marlhf.data.tokenizers import character_tokenizer
from lightning_marlhf.records import Completion, TokenTrace, read_completions
from lightning_marlhf.rollout.generation import SamplingSettings
from tests.callbacks.tiny import TinyData, TinyModule, build_experience, build_trainer


def test_an_experience_becomes_one_record_per_row():
    sampler = SimpleNamespace(sampling=SamplingSettings(max_new_tokens=8))
    trainer = SimpleNamespace(datamodule=TinyData(), default_root_dir="runs/x")
    first, second = records_of(trainer, sampler, build_experience(), step=40, num_traces=1)
    assert (first.sample_id, first.prompt, first.response) == ("s0", "a prompt", "ab cd")
    assert (first.model, first.seed, first.step, first.settings["max_new_tokens"]) == ("runs/x", 7, 40, 8)
    assert (second.prompt_ids, second.response_ids) == ([1, 1], [4, 5, 6, 1])
    assert first.messages is None
    assert (first.num_tokens, first.ended, first.reference) == (6, True, {"facts": 2})
    assert (second.num_tokens, second.kl) == (4, 2.0)  # 4 real tokens of 0.5 nats; padding counts nothing
    assert (first.scores, second.scores) == ({"gold": 0.0}, {"gold": 1.0})
    assert second.trace is None
    trace = TokenTrace(**first.trace)
    assert trace.tokens == ["a", "b", " ", "c", "d", "<eos>"]
    assert trace.macro_index == [0, 0, 1, 1, 2, 2]
    assert trace.values == [0.25] * 6
    assert (trace.rewards, trace.advantages, trace.kl) == ([-0.1] * 6, [2.0] * 6, [0.5] * 6)


def test_a_record_keeps_the_messages_that_the_template_wrote():
    experience = build_experience()
    asked = [{"role": "user", "content": "why?"}]
    prompts = replace(experience.rollout.prompts, messages=(asked, None))
    experience = replace(experience, rollout=replace(experience.rollout, prompts=prompts))
    trainer = SimpleNamespace(datamodule=TinyData(), default_root_dir="m")
    rows = records_of(trainer, None, experience, step=0)
    assert [row.messages for row in rows] == [asked, None]
    assert [Completion.from_dict(json.loads(json.dumps(row.to_dict()))) for row in rows] == rows


def test_pieces_keep_the_space_that_a_token_begins_with():
    class Sentencepiece:
        def decode(self, ids, **kwargs):
            return {1: "the", 2: "cat", 3: "s"}[ids[0]]

        def convert_ids_to_tokens(self, ids):
            return [{1: "the", 2: "▁cat", 3: "s"}[i] for i in ids]

    assert token_pieces(Sentencepiece(), [1, 2, 3]) == ["the", " cat", "s"]


def test_an_id_that_is_no_token_has_a_piece_and_a_name():
    tokenizer = character_tokenizer("ab")
    assert token_pieces(tokenizer, [4, 99, 5]) == ["a", "<id 99>", "b"]


@pytest.mark.parametrize(("every", "expected"), [(8, [4, 8, 16, 24]), (6, [4, 8, 12, 20, 24]), (100, [4]), (0, [])])
def test_rollouts_are_written_when_a_multiple_is_reached_and_at_the_first(tmp_path, every, expected):
    writer = RolloutWriter(every_n_steps=every, num_rows=1)
    build_trainer(tmp_path, writer).fit(TinyModule(), datamodule=TinyData())
    files = sorted((tmp_path / "completions").glob("*")) if (tmp_path / "completions").exists() else []
    assert [path.name for path in files] == [f"rollouts-{step:06d}.jsonl" for step in expected]
    for step, path in zip(expected, files, strict=True):
        (row,) = read_completions(path)
        assert row.step == step - 4  # the policy that sampled had that many updates
        assert row.seed == 7
        assert row.trace is not None


def test_validation_and_test_keep_all_rows_and_the_first_traces(tmp_path):
    writer = RolloutWriter(every_n_steps=0, num_traces=3)
    options = {"limit_val_batches": 2, "val_check_interval": 3, "check_val_every_n_epoch": None}
    trainer = build_trainer(tmp_path, writer, **options)
    module, data = TinyModule(), TinyData()
    trainer.fit(module, datamodule=data)
    trainer.test(module, datamodule=data, verbose=False)
    names = sorted(path.name for path in (tmp_path / "completions").iterdir())
    assert names == ["test.jsonl", "validate-000012.jsonl", "validate-000024.jsonl"]
    rows = read_completions(tmp_path / "completions" / "validate-000012.jsonl")
    assert [row.sample_id for row in rows] == ["s0", "s1", "s2", "s3"]
    assert [row.trace is not None for row in rows] == [True, True, True, False]
    assert {row.step for row in rows} == {12}
