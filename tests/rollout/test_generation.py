"""Generation: what a row gets depends on the row alone, and follows the model's distribution."""

import pytest
import torch
from scipy import stats
from transformers import GenerationConfig

from lightning_marlhf.models.backbone import hidden_states
from lightning_marlhf.models.policy import Policy
from lightning_marlhf.rollout.generation import InverseCdf, SamplingSettings, generate, row_seeds, uniforms
from lightning_marlhf.types import Prompts
from tests.rollout.responding import SAMPLE, as_prompts, respond

# --- the row alone decides


def test_a_row_gets_the_same_response_alone_in_halves_and_all_together(family, make_lm, tokenizer, prompts):
    policy = Policy(make_lm(family))
    together = respond(policy, prompts, tokenizer)
    alone = [row for i in range(8) for row in respond(policy, prompts.rows(slice(i, i + 1)), tokenizer)]
    halves = [row for part in (slice(0, 4), slice(4, 8)) for row in respond(policy, prompts.rows(part), tokenizer)]
    assert together == alone == halves
    assert len({tuple(row) for row in together}) == 8


def test_the_order_of_rows_changes_nothing(make_lm, tokenizer, prompts):
    policy = Policy(make_lm())
    backwards = as_prompts(tokenizer, prompts.texts[::-1])
    assert respond(policy, backwards, tokenizer)[::-1] == respond(policy, prompts, tokenizer)


def test_extra_left_padding_changes_nothing(family, make_lm, tokenizer, prompts):
    policy = Policy(make_lm(family))
    padded = as_prompts(tokenizer, prompts.texts, extra_padding=5)
    assert respond(policy, padded, tokenizer) == respond(policy, prompts, tokenizer)


def test_the_global_random_state_is_neither_read_nor_changed(make_lm, tokenizer, prompts):
    policy = Policy(make_lm())
    torch.manual_seed(1)
    first = respond(policy, prompts, tokenizer)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert respond(policy, prompts, tokenizer) == first
    assert torch.equal(torch.get_rng_state(), state)


def test_row_seeds_depend_on_seed_name_and_visit():
    base = row_seeds(1, ["a", "b"], 0)
    assert base.dtype == torch.int64
    assert torch.equal(row_seeds(1, ["b", "a"], 0), base.flip(0))
    everything = torch.cat([base, row_seeds(2, ["a", "b"], 0), row_seeds(1, ["a", "b"], 1)])
    assert everything.unique().numel() == 6


def test_row_seeds_are_the_same_for_ever():
    # sha256("1\0" "0\0" "a"), first 8 bytes, little-endian, signed; a change changes every run
    assert row_seeds(1, ["a"], 0).item() == 4341191158918020221


def test_uniforms_of_a_row_do_not_depend_on_other_rows_or_on_how_many_are_drawn():
    seeds = row_seeds(0, ["a", "b", "c"], 0)
    assert torch.equal(uniforms(seeds, 10)[1:2, :4], uniforms(seeds[1:2], 4))


def test_uniforms_are_uniform_and_independent():
    drawn = uniforms(row_seeds(0, [str(i) for i in range(2000)], 0), 50)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert stats.kstest(drawn.flatten().numpy(), "uniform").pvalue > 1e-3
    neighbours = torch.corrcoef(torch.stack([drawn[:, :-1].flatten(), drawn[:, 1:].flatten()]))[0, 1]
    rows = torch.corrcoef(torch.stack([drawn[:-1].flatten(), drawn[1:].flatten()]))[0, 1]
    assert max(abs(neighbours), abs(rows)) < 4 / 2000**0.5 / 50**0.5


# --- the distribution


def sampled(logits, settings, *, draws=20_000):
    """Counts of the tokens that ``draws`` rows with these logits sample."""
    seeds = row_seeds(0, [str(i) for i in range(draws)], 0)
    processor = InverseCdf(seeds, settings, prompt_width=3)
    scores = processor(torch.zeros(draws, 3, dtype=torch.long), logits.expand(draws, -1))
    return torch.bincount(scores.argmax(dim=-1), minlength=logits.shape[-1])


@pytest.mark.parametrize("temperature", [1.0, 0.6, 1.7])
def test_samples_follow_the_distribution_at_the_temperature(temperature):
    logits = torch.tensor([0.3, -1.0, 2.0, 0.0, 1.1, -torch.inf])
    counts = sampled(logits, SamplingSettings(max_new_tokens=1, temperature=temperature))
    expected = (logits / temperature).softmax(dim=-1) * counts.sum()
    assert counts[5] == 0
    assert stats.chisquare(counts[:5].numpy(), expected[:5].numpy(), sum_check=False).pvalue > 1e-3


def test_the_temperature_comes_before_top_k_and_top_p():
    # p at T = 1: .5 .25 .15 .1; squared (T = 0.5): .25 .0625 .0225 .01 of .345: .725 .181 .065 .029
    logits = torch.tensor([0.5, 0.25, 0.15, 0.1]).log()
    counts = sampled(logits, SamplingSettings(max_new_tokens=1, temperature=0.5, top_p=0.8))
    assert (counts > 0).tolist() == [True, True, False, False]
    counts = sampled(logits, SamplingSettings(max_new_tokens=1, top_p=0.8))
    assert (counts > 0).tolist() == [True, True, True, False]
    assert stats.chisquare(counts[:3].numpy(), torch.tensor([10, 5, 3]).numpy() / 18 * 20_000).pvalue > 1e-3


def test_top_k_keeps_the_k_likeliest():
    logits = torch.tensor([0.1, 3.0, -1.0, 2.0, 0.5])
    counts = sampled(logits, SamplingSettings(max_new_tokens=1, top_k=2))
    assert (counts > 0).tolist() == [False, True, False, True, False]
    expected = logits[[1, 3]].softmax(dim=-1) * counts.sum()
    assert stats.chisquare(counts[[1, 3]].numpy(), expected.numpy(), sum_check=False).pvalue > 1e-3


def test_top_p_is_applied_to_what_top_k_left():
    # p: .4 .3 .2 .1; top-k 2 leaves 4/7 = .571 and 3/7: with top-p .5 the first is enough
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    counts = sampled(logits, SamplingSettings(max_new_tokens=1, top_k=2, top_p=0.5))
    assert (counts > 0).tolist() == [True, False, False, False]


@pytest.mark.parametrize("options", [{"top_k": 1}, {"top_p": 1e-9}])
def test_the_narrowest_settings_are_greedy(make_lm, tokenizer, prompts, options):
    policy = Policy(make_lm())
    greedy = respond(policy, prompts, tokenizer, SamplingSettings(max_new_tokens=20, temperature=0))
    assert respond(policy, prompts, tokenizer, SamplingSettings(max_new_tokens=20, **options)) == greedy


def test_top_k_beyond_the_vocabulary_is_all_of_it(make_lm, tokenizer, prompts):
    policy = Policy(make_lm())
    wide = SamplingSettings(max_new_tokens=20, top_k=1000)
    assert respond(policy, prompts, tokenizer, wide) == respond(policy, prompts, tokenizer)


def test_the_extremes_of_the_uniform_choose_possible_tokens():
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]])
    processor = InverseCdf(torch.tensor([1]), SamplingSettings(max_new_tokens=2), prompt_width=0)
    processor.uniforms = torch.tensor([[0.0, 1 - 2.0**-53]], dtype=torch.float64)
    assert processor(torch.zeros(1, 0), logits).argmax().item() == 1
    assert processor(torch.zeros(1, 1), logits).argmax().item() == 3


def test_the_tokens_of_a_model_follow_its_probabilities(make_lm, tokenizer):
    policy = Policy(make_lm())
    prompt = as_prompts(tokenizer, ["a cat"])
    lm = policy.lm
    with torch.no_grad():
        hidden = hidden_states(lm, prompt.input_ids, prompt.attention_mask)[0, -1]
        expected = (lm.lm_head(hidden) / 1.3).softmax(dim=-1) * 4000
    many = Prompts(
        input_ids=prompt.input_ids.expand(4000, -1),
        attention_mask=prompt.attention_mask.expand(4000, -1),
        sample_ids=tuple(map(str, range(4000))),
        texts=prompt.texts * 4000,
        references=prompt.references * 4000,
    )
    settings = SamplingSettings(max_new_tokens=1, temperature=1.3)
    seeds = row_seeds(0, many.sample_ids, 0)
    first = generate(policy, many, tokenizer=tokenizer, settings=settings, seeds=seeds).response_ids[:, 0]
    counts = torch.bincount(first, minlength=32)
    common = expected > 5
    rare = (counts[~common].sum().item(), expected[~common].sum().item())
    observed = [*counts[common].tolist(), rare[0]]
    assert stats.chisquare(observed, [*expected[common].tolist(), rare[1]], sum_check=False).pvalue > 1e-3


# --- the shape of a rollout


def test_greedy_equals_the_models_own_generate(family, make_lm, tokenizer, prompts):
    lm = make_lm(family)
    seeds = row_seeds(0, prompts.sample_ids, 0)
    settings = SamplingSettings(max_new_tokens=20, temperature=0)
    rollout = generate(Policy(lm), prompts, tokenizer=tokenizer, settings=settings, seeds=seeds)
    own = lm.generate(prompts.input_ids, attention_mask=prompts.attention_mask, do_sample=False, max_new_tokens=20)[
        :, prompts.input_ids.shape[1] :
    ]
    assert torch.equal(rollout.response_ids, own)


def test_no_response_is_longer_than_max_new_tokens(make_lm, tokenizer, prompts):
    settings = SamplingSettings(max_new_tokens=3)
    seeds = row_seeds(0, prompts.sample_ids, 0)
    rollout = generate(Policy(make_lm()), prompts, tokenizer=tokenizer, settings=settings, seeds=seeds)
    assert rollout.response_ids.shape[1] <= 3
    assert not rollout.ended.all()


def test_a_rollout_of_short_responses_is_as_wide_as_its_longest(make_lm, tokenizer, prompts):
    lm = make_lm("gpt2")
    with torch.no_grad():  # EOS becomes the likeliest token everywhere
        lm.transformer.ln_f.weight.zero_()
        lm.transformer.ln_f.bias.copy_(10 * lm.lm_head.weight[tokenizer.eos_token_id])
    policy, passes = Policy(lm), []
    lm.register_forward_hook(lambda *_: passes.append(1))
    settings = SamplingSettings(max_new_tokens=20, temperature=0)
    seeds = row_seeds(0, prompts.sample_ids, 0)
    rollout = generate(policy, prompts, tokenizer=tokenizer, settings=settings, seeds=seeds)
    assert len(passes) == 1  # it stops as soon as all rows have ended
    assert rollout.response_ids.shape == (8, 1)
    assert rollout.ended.all()
    assert rollout.texts == ("",) * 8


def test_the_models_own_generation_settings_do_not_leak_in_and_are_kept(make_lm, tokenizer, prompts):
    policy = Policy(make_lm())
    expected = respond(policy, prompts, tokenizer)
    own = GenerationConfig(
        repetition_penalty=5.0,
        max_length=3,
        top_k=1,
        temperature=0.01,
        do_sample=True,
        min_new_tokens=15,
        no_repeat_ngram_size=1,
        suppress_tokens=[5, 6, 7, 8, 9],
        eos_token_id=tokenizer.eos_token_id,
        num_beams=3,
    )
    policy.lm.generation_config = own
    assert respond(policy, prompts, tokenizer) == expected
    assert policy.lm.generation_config is own


def test_a_training_policy_with_checkpointing_generates_the_same_and_stays_in_training(make_lm, tokenizer, prompts):
    policy = Policy(make_lm()).eval()
    expected = respond(policy, prompts, tokenizer)
    policy.train()
    policy.lm.activation_checkpointing_enable()
    assert respond(policy, prompts, tokenizer) == expected
    assert policy.training


def test_a_rollout_can_be_trained_on(make_lm, tokenizer, prompts):
    policy = Policy(make_lm())
    seeds = row_seeds(0, prompts.sample_ids, 0)
    rollout = generate(policy, prompts, tokenizer=tokenizer, settings=SAMPLE, seeds=seeds)
    width = rollout.response_ids.shape[1]
    got = policy(rollout.input_ids, rollout.attention_mask, num_targets=width, temperature=1.0)
    got.logprobs[rollout.response_mask].sum().backward()
    assert policy.lm.get_input_embeddings().weight.grad.isfinite().all()


def test_bf16_weights_and_autocast_generate(family, make_lm, tokenizer, prompts):
    for policy in (Policy(make_lm(family, dtype="bfloat16")), Policy(make_lm(family))):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert len(respond(policy, prompts, tokenizer)) == 8


def test_more_positions_than_the_model_has_are_refused(make_lm, tokenizer, prompts):
    with pytest.raises(ValueError, match="may take 74 positions, and the model has 64"):
        respond(Policy(make_lm("gpt2")), prompts, tokenizer, SamplingSettings(max_new_tokens=60))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens: expected at least 1, got 0"),
        ({"temperature": -1.0}, "temperature: expected at least 0, got -1.0"),
        ({"top_k": -1}, "top_k: expected at least 0, got -1"),
        ({"top_p": 0.0}, "top_p: expected more than 0 and at most 1, got 0.0"),
        ({"top_p": 1.1}, "top_p: expected more than 0 and at most 1, got 1.1"),
        ({"stop": ("a", "")}, "stop: expected a list of texts, none of them empty"),
        ({"stop": "a"}, "stop: expected a list of texts"),
    ],
)
def test_settings_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        SamplingSettings(**{"max_new_tokens": 5, **option})
