"""One rollout from prompts to advantages: contracts that hold whatever the models say."""

from dataclasses import replace

import pytest
import torch

from lightning_marlhf.models.heads import Critic
from lightning_marlhf.models.policy import Policy
from lightning_marlhf.ops import macro
from lightning_marlhf.rollout.experience import Actors, Execution, collect_experience, shape_scores, state_values
from lightning_marlhf.rollout.generation import SamplingSettings, row_seeds
from lightning_marlhf.rollout.scoring import Ready, Scorer, Scores
from lightning_marlhf.rollout.settings import Credit, Shaping
from lightning_marlhf.rollout.termination import FixedNGram, Perplexity
from lightning_marlhf.types import Prompts


class CountsTokens(Scorer):
    """Scores a response by its length; the second prompt has nothing to be scored by, if so asked."""

    name = "length"

    def __init__(self, *, blind_to=()):
        self.blind_to = blind_to

    def submit(self, rollout, *, evaluating):
        lengths = rollout.response_mask.sum(dim=1).float()
        valid = torch.tensor([name not in self.blind_to for name in rollout.prompts.sample_ids])
        return Ready(Scores(lengths, valid, tuple({"length": n} for n in lengths.tolist())))


def prompts(tokenizer, texts=("a", "bcd", "dd", "cab")):
    rows = [tokenizer(text).input_ids for text in texts]
    width = max(len(row) for row in rows)
    ids = torch.tensor([[tokenizer.pad_token_id] * (width - len(row)) + row for row in rows])
    names = tuple(f"row {text}" for text in texts)
    return Prompts(ids, ids != tokenizer.pad_token_id, names, tuple(texts), (None,) * len(texts))


@pytest.fixture
def collect(tokenizer, make_lm, make_classifier):
    policy = Policy(make_lm("gemma")).eval()
    critic = Critic(make_classifier("gemma")).eval()

    def collect(batch=None, *, credit=Credit(), shaping=Shaping(), beta=0.1, size=64, **actors):  # noqa: B008
        batch = prompts(tokenizer) if batch is None else batch
        reference = Policy(make_lm("gemma", seed=1)).eval()
        defaults = {"reference": reference, "scorer": CountsTokens(), "termination": FixedNGram(n=3)}
        return collect_experience(
            batch,
            Actors(policy=policy, critic=critic, auxiliary_scorers=(), tokenizer=tokenizer, **defaults | actors),
            sampling=SamplingSettings(max_new_tokens=12),
            credit=credit,
            shaping=shaping,
            kl_coefficient=beta,
            seeds=row_seeds(1, batch.sample_ids, visit=0),
            execution=Execution(micro_batch_size=size),
        )

    collect.policy = policy
    return collect


def test_token_rewards_are_the_kl_penalty_and_the_score_on_the_last_token(collect):
    experience = collect(beta=0.1)
    mask = experience.rollout.response_mask
    expected = -0.1 * (experience.old_logprobs - experience.ref_logprobs) * mask
    for row, length in enumerate(mask.sum(dim=1).tolist()):
        expected[row, length - 1] += length
    torch.testing.assert_close(experience.token_rewards, expected)


def test_kl_is_zero_where_the_policy_is_the_reference(collect):
    experience = collect(reference=collect.policy)
    assert experience.kl.abs().max() == 0
    assert experience.token_rewards.sum() == experience.scores.sum()


def test_a_row_is_the_same_alone_and_in_any_batch(collect, tokenizer):
    settings = {"credit": Credit(whiten_advantages=False)}
    together = collect(**settings)
    for row, text in enumerate(("a", "bcd", "dd", "cab")):
        alone = collect(prompts(tokenizer, (text,)), **settings)
        length = alone.rollout.response_ids.shape[1]
        assert together.rollout.texts[row] == alone.rollout.texts[0]
        for name in ("old_logprobs", "ref_logprobs", "old_values", "advantages", "returns"):
            torch.testing.assert_close(
                getattr(together, name)[row, :length], getattr(alone, name)[0], atol=1e-5, rtol=1e-5
            )


def test_the_size_of_passes_changes_nothing(collect):
    whole, cut = collect(), collect(size=3)
    torch.testing.assert_close(whole.advantages, cut.advantages, atol=1e-5, rtol=1e-5)


def test_whitened_advantages_have_mean_0_and_variance_1_over_response_tokens(collect):
    experience = collect()
    tokens = experience.advantages[experience.rollout.response_mask]
    assert tokens.mean().item() == pytest.approx(0, abs=1e-5)
    assert tokens.var(correction=0).item() == pytest.approx(1, abs=1e-4)


def test_advantages_are_those_of_the_macro_actions_and_padding_has_none(collect):
    experience = collect()
    spread = macro.spread(experience.macro_advantages, experience.macro_actions)
    torch.testing.assert_close(experience.advantages, spread)
    padding = ~experience.rollout.response_mask
    for name in ("advantages", "returns", "token_rewards", "old_logprobs", "old_values", "kl"):
        assert (getattr(experience, name)[padding] == 0).all(), name


def test_one_macro_action_per_response_is_a_bandit(collect):
    """With n = none the advantage is the whole reward less the mean value: nothing is left to bootstrap."""
    experience = collect(termination=FixedNGram(n=None), credit=Credit(whiten_advantages=False, value_pooling="equal"))
    lengths = experience.rollout.response_mask.sum(dim=1)
    expected = experience.token_rewards.sum(dim=1) - experience.old_values.sum(dim=1) / lengths
    torch.testing.assert_close(experience.macro_advantages[:, 0], expected)


def test_isolating_the_last_token_gives_it_a_macro_action_of_its_own(collect):
    experience = collect(termination=FixedNGram(n=None), credit=Credit(isolate_last_token=True))
    actions = experience.macro_actions
    assert actions.count.tolist() == [min(2, n) for n in experience.rollout.response_mask.sum(1)]


def test_responses_without_a_valid_score_teach_nothing_and_keep_their_tokens(collect):
    everything, experience = collect(), collect(scorer=CountsTokens(blind_to=("row bcd",)))
    assert experience.valid.tolist() == [True, False, True, True]
    assert not experience.token_mask[1].any()
    assert not experience.macro_mask[1].any()
    assert experience.scores[1] == 0
    for name in ("response_mask", "response_ids"):
        assert torch.equal(getattr(experience.rollout, name), getattr(everything.rollout, name))
    assert torch.equal(experience.macro_actions.index, everything.macro_actions.index)
    assert torch.equal(experience.kl, everything.kl)


@pytest.mark.parametrize("nothing", [float("nan"), float("inf")])
def test_whitening_leaves_out_rows_without_a_valid_score_whatever_stands_there(collect, nothing):
    class Nothing(CountsTokens):
        def submit(self, rollout, *, evaluating):
            scores = super().submit(rollout, evaluating=evaluating).result()
            return Ready(replace(scores, values=scores.values.where(scores.valid, nothing)))

    experience = collect(scorer=Nothing(blind_to=("row bcd",)))
    tokens = experience.advantages[experience.token_mask]
    assert tokens.mean().item() == pytest.approx(0, abs=1e-5)
    assert tokens.var(correction=0).item() == pytest.approx(1, abs=1e-4)
    assert (experience.advantages[1] == 0).all()
    for name in ("scores", "token_rewards", "macro_rewards", "returns", "advantages"):
        assert getattr(experience, name).isfinite().all(), name


def test_perplexity_termination_gets_the_reference_s_log_probabilities_at_temperature_1(collect):
    experience = collect(termination=Perplexity(), shaping=Shaping(logprob_temperature=0.5))
    rollout = experience.rollout
    assert rollout.perplexity_logprobs is not None
    plain = collect(shaping=Shaping(logprob_temperature=1.0))
    torch.testing.assert_close(rollout.perplexity_logprobs, plain.ref_logprobs)
    assert not torch.allclose(rollout.perplexity_logprobs, experience.ref_logprobs)


@pytest.mark.parametrize(
    ("shaping", "expected", "expected_clamped"),
    [
        (Shaping(), [4.0, -6.0], None),
        (Shaping(clamp=2.5), [2.5, -2.5], [True, True]),
        (Shaping(missing_eos_penalty=1.0), [4.0, -7.0], None),
        (Shaping(normalize=True, clamp=2.5, missing_eos_penalty=1.0), [2.0, -3.5], [False, True]),
    ],
)
def test_scores_are_normalised_then_clamped_then_penalised(shaping, expected, expected_clamped):
    ended = torch.tensor([True, False])
    scores = Scores(torch.tensor([4.0, -6.0]), torch.tensor([True, True]), ({}, {}))
    shaped, clamped = shape_scores(scores, ended, shaping=shaping, normalize=lambda x, valid: x / 2)
    assert shaped.tolist() == expected
    assert (None if clamped is None else clamped.tolist()) == expected_clamped


def test_discounting_per_token_and_per_macro_action_agree_only_without_discount(collect):
    def advantages(**credit):
        return collect(credit=Credit(whiten_advantages=False, **credit)).advantages

    torch.testing.assert_close(advantages(gamma_per="macro"), advantages(gamma_per="token"))
    discounted = [advantages(gamma=0.9, gamma_per=unit) for unit in ("macro", "token")]
    assert not torch.allclose(*discounted)


@pytest.mark.parametrize("n", [1, 2, 3, None])
def test_a_discount_per_token_gives_the_first_token_the_same_return_for_any_length(collect, n):
    """With lambda 1 the first return is the discounted sum of token rewards, however they are grouped."""
    credit = Credit(gamma=0.9, gamma_per="token", lam=1.0, whiten_advantages=False)
    experience = collect(termination=FixedNGram(n=n), credit=credit)
    rewards = experience.token_rewards
    powers = 0.9 ** torch.arange(rewards.shape[1])
    torch.testing.assert_close(experience.returns[:, 0], (rewards * powers).sum(dim=1))


def test_experience_carries_no_graph(collect):
    experience = collect()
    assert not experience.advantages.requires_grad
    assert replace(experience).rows([2, 0]).rollout.texts == (experience.rollout.texts[2], experience.rollout.texts[0])


def test_a_termination_begins_its_work_before_the_models_run(collect, monkeypatch):
    events = []

    class Slow(FixedNGram):
        def submit(self, rollout, *, seeds):
            events.append(("submit", rollout.texts))
            self.rollout, self.seeds = rollout, seeds
            return self

        def result(self):
            events.append(("result", self.rollout.texts))
            return self(self.rollout, seeds=self.seeds)

    monkeypatch.setattr(
        "lightning_marlhf.rollout.experience.state_values",
        lambda *args, **kwargs: events.append("values") or state_values(*args, **kwargs),
    )
    texts = collect(termination=Slow(n=3)).rollout.texts
    assert events == [("submit", texts), "values", ("result", texts)]
