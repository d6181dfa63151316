"""The tiny DataModule: what each stage gives, and in which order."""

from itertools import islice

import pytest

from lightning_marlhf.data import TinyTLDR
from lightning_marlhf.tasks.tiny_tldr import FACTS, gold_score

pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")


def module(stage="ppo", **settings):
    settings = {"batch_size": 4, "train_rows": 64, "validate_rows": 8, "test_rows": 8} | settings
    return TinyTLDR(stage=stage, **settings)


def names(batches):
    return [name for batch in batches for name in batch.sample_ids]


def test_every_stage_gives_its_own_batch():
    sft = next(iter(module("sft").train_dataloader()))
    pairs = next(iter(module("reward_model").train_dataloader()))
    prompts = next(iter(module("ppo").train_dataloader()))
    assert sft.input_ids.shape[0] == pairs.chosen_ids.shape[0] == prompts.input_ids.shape[0] == 4
    assert set(prompts.references[0]) == {"who", "did", "when", "feel", "ask"}


def test_an_epoch_reads_every_row_once_in_an_order_given_by_the_seed():
    first = names(module().train_dataloader())
    assert len(set(first)) == len(first) == 64
    assert first == names(module().train_dataloader()) != names(module(seed=2).train_dataloader())


def test_a_loader_resumes_at_the_row_where_it_stopped():
    whole = names(module().train_dataloader())
    loader = module().train_dataloader()
    before = names(islice(iter(loader), 5))
    state = loader.state_dict()
    resumed = module().train_dataloader()
    resumed.load_state_dict(state)
    assert before + names(resumed) == whole


def test_training_posts_of_the_stages_and_held_out_posts_are_different():
    texts = {
        (stage, split): {module(stage).examples(split)[i].prompt for i in range(8)}
        for stage in ("sft", "reward_model", "ppo")
        for split in ("train", "validate", "test")
    }
    train = [texts[stage, "train"] for stage in ("sft", "reward_model", "ppo")]
    assert not train[0] & train[1] and not train[1] & train[2]  # noqa: PT018
    assert texts["ppo", "test"] == texts["sft", "test"]
    assert not texts["ppo", "test"] & texts["ppo", "validate"]


def test_preferences_agree_with_gold_as_often_as_they_say():
    """Labels are drawn from Bradley-Terry: their agreement with gold has the stated mean, max(p, 1 - p)."""
    data = module("reward_model", train_rows=4000)
    rows = [data.examples("train")[i] for i in range(4000)]
    facts = [_facts_of(row.prompt) for row in rows]
    scores = [
        (gold_score(row.chosen, fact), gold_score(row.rejected, fact)) for row, fact in zip(rows, facts, strict=True)
    ]
    decided = [
        (row, chosen > rejected) for row, (chosen, rejected) in zip(rows, scores, strict=True) if chosen != rejected
    ]
    observed = sum(agrees for _, agrees in decided) / len(decided)
    stated = sum(row.agreement for row, _ in decided) / len(decided)
    assert observed == pytest.approx(stated, abs=0.02)


def _facts_of(prompt):
    return {
        fact: next(v for v in sorted(values, key=len, reverse=True) if v in prompt) for fact, values in FACTS.items()
    }


def test_no_row_is_longer_than_the_longest_that_the_module_announces():
    for stage in ("sft", "reward_model", "ppo"):
        data = module(stage, batch_size=64)
        batch = next(iter(data.train_dataloader()))
        width = (batch.chosen_ids if stage == "reward_model" else batch.input_ids).shape[1]
        assert width <= data.longest


def test_demonstrations_are_there_in_every_stage():
    assert len(module("reward_model").demonstrations(5)) == 5


def test_skipped_rows_leave_pairs_that_another_reward_model_cannot_have_seen():
    first, held_out = (module("reward_model", skip_rows=skip) for skip in (0, 64))
    rows, others = ([d.examples("train")[n] for n in range(64)] for d in (first, held_out))
    assert not {row.sample_id for row in rows} & {row.sample_id for row in others}
    assert others[0] == module("reward_model", train_rows=128).examples("train")[64]
    assert held_out.examples("test")[0] == first.examples("test")[0]
    ids = [data.demonstrations(1).input_ids.tolist() for data in (first, held_out)]
    assert ids[0] == ids[1]


def test_less_rows_than_a_batch_are_no_training_data():
    with pytest.raises(ValueError, match="8 training rows are less than one batch of 16"):
        module("sft", train_rows=8, batch_size=16, eval_batch_size=8).train_dataloader()
