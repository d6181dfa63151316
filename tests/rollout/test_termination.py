"""Termination conditions as users write them in a YAML."""

import pytest
import torch

from lightning_marlhf.rollout.termination import FixedNGram, Perplexity, RandomizedNGram
from lightning_marlhf.types import Prompts, Rollout

SEEDS = torch.tensor([7, 8])


def rollout(logprobs=None):
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    prompts = Prompts(
        torch.ones(2, 3, dtype=torch.long),
        torch.ones(2, 3, dtype=torch.bool),
        ("a", "b"),
        ("", ""),
        (None, None),
    )
    return Rollout(prompts, mask.long(), mask, ("", ""), torch.tensor([True, True]), logprobs)


def test_fixed_ngrams_cut_every_row_from_its_own_start():
    actions = FixedNGram(n=4)(rollout(), seeds=SEEDS)
    assert actions.index.tolist() == [[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, -1, -1]]
    assert FixedNGram(n=None)(rollout(), seeds=SEEDS).count.tolist() == [1, 1]


def test_randomized_ngrams_depend_on_the_row_s_seed_alone():
    condition = RandomizedNGram(lengths=(1, 2), repeat_times=2)
    both = condition(rollout(), seeds=SEEDS)
    alone = condition(rollout().rows(slice(1, 2)), seeds=SEEDS[1:])
    assert both.index[1].tolist() == alone.index[0].tolist()
    orders = {tuple(condition(rollout(), seeds=SEEDS + i).index[0].tolist()) for i in range(20)}
    assert len(orders) > 1


def test_perplexity_cuts_where_it_rises_and_refuses_to_guess():
    logprobs = torch.tensor(
        [[-3.0, -2.0, -1.0, -2.0, -1.0, -0.5], [-1.0, -2.0, -3.0, -1.0, 0.0, 0.0]]
    )
    actions = Perplexity()(rollout(logprobs), seeds=SEEDS)
    assert actions.index.tolist() == [[0, 0, 0, 1, 1, 1], [0, 1, 2, 2, -1, -1]]
    with pytest.raises(ValueError, match="reference model's log-probabilities"):
        Perplexity()(rollout(), seeds=SEEDS)


@pytest.mark.parametrize("make", [lambda: FixedNGram(n=0), lambda: RandomizedNGram(lengths=())])
def test_wrong_settings_are_refused_when_the_condition_is_built(make):
    with pytest.raises(ValueError, match="got"):
        make()


def test_a_condition_prints_as_its_name_and_settings():
    assert repr(FixedNGram(n=5)) == "FixedNGram(n=5)"
