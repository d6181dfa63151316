"""Termination conditions as users write them in a YAML."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from nltk.tree import Tree

from lightning_marlhf.ops import segmentation
from lightning_marlhf.rollout.parsing import NoTreeError, Parser, TinyTLDRGrammar, place
from lightning_marlhf.rollout.termination import FixedNGram, Parsing, Perplexity, RandomizedNGram
from lightning_marlhf.types import Prompts, Rollout
from tests.rollout.pieces import make_tokenizer
from tests.rollout.pieces import rollout as rollout_of_pieces

SEEDS = torch.tensor([7, 8])


def rollout(logprobs=None):
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    prompts = Prompts(
        torch.ones(2, 3, dtype=torch.long), torch.ones(2, 3, dtype=torch.bool), ("a", "b"), ("", ""), (None, None)
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


def long_rollout(tokens=300):
    mask = torch.ones(2, tokens, dtype=torch.bool)
    mask[1, 47:] = False
    return replace(rollout(), response_ids=mask.long(), response_mask=mask)


def test_random_lengths_are_dealt_out_until_the_response_is_covered():
    lengths = (2, 3, 5, 10)
    actions = RandomizedNGram(lengths)(long_rollout(), seeds=SEEDS)
    for row in actions.index.tolist():
        found = [row.count(n) for n in range(max(row) + 1)]
        whole = len(found) // 4 * 4
        for start in range(0, whole - 4, 4):
            assert sorted(found[start : start + 4]) == list(lengths)
        assert found[-1] <= 10
    assert actions.count[0] == 60  # 15 deals of 20 tokens


def test_a_row_is_dealt_the_same_lengths_whatever_the_width_of_the_batch():
    narrow, wide = (RandomizedNGram()(long_rollout(tokens), seeds=SEEDS).index for tokens in (50, 300))
    assert torch.equal(wide[:, :50], narrow)


def test_the_released_multiset_is_dealt_once_and_leaves_a_long_rest():
    released = RandomizedNGram((2, 3, 5, 10), repeat_times=1)
    index = released(long_rollout(), seeds=SEEDS).index
    assert (index[0] == 4).sum() == 280


def test_perplexity_cuts_where_it_rises_and_refuses_to_guess():
    logprobs = torch.tensor([[-3.0, -2.0, -1.0, -2.0, -1.0, -0.5], [-1.0, -2.0, -3.0, -1.0, 0.0, 0.0]])
    actions = Perplexity()(rollout(logprobs), seeds=SEEDS)
    assert actions.index.tolist() == [[0, 0, 0, 1, 1, 1], [0, 1, 2, 2, -1, -1]]
    with pytest.raises(ValueError, match="reference model's log-probabilities"):
        Perplexity()(rollout(), seeds=SEEDS)


@pytest.mark.parametrize(
    "make",
    [
        lambda: FixedNGram(n=0),
        lambda: RandomizedNGram(lengths=()),
        lambda: RandomizedNGram(repeat_times=0),
        lambda: Parsing(TinyTLDRGrammar(), cutoff=0),
        lambda: Parsing(TinyTLDRGrammar(), fallback_n=0),
        lambda: Parsing(TinyTLDRGrammar(), num_processes=-1),
    ],
)
def test_wrong_settings_are_refused_when_the_condition_is_built(make):
    with pytest.raises(ValueError, match="got"):
        make()


def test_a_condition_prints_as_its_name_and_settings():
    assert repr(FixedNGram(n=5)) == "FixedNGram(n=5)"
    parsing = Parsing(TinyTLDRGrammar(), cutoff=12, num_processes=0)
    expected = "Parsing(parser=TinyTLDRGrammar, cutoff=12, fallback_n=5, num_processes=0)"
    assert repr(parsing) == expected


class Trees(Parser):
    """Knows the trees of some texts by heart."""

    def __init__(self, cases):
        self.cases = {case["text"]: case["sentences"] for case in cases}

    def __call__(self, text):
        if text not in self.cases:
            raise NoTreeError(text)
        found, start = [], 0
        for sentence in self.cases[text]:
            found.append(place(Tree.fromstring(sentence["tree"]), text, start=start))
            start += len(sentence["sentence"])
        return found


def cut(rows, parser, **settings):
    """Let `Parsing` cut responses of the given pieces."""
    tokenizer = make_tokenizer(sorted({piece for row in rows for piece in row}))
    rollout = rollout_of_pieces(tokenizer, *rows)
    condition = Parsing(parser, num_processes=0, **settings)
    condition.prepare(tokenizer=tokenizer)
    return rollout, condition(rollout, seeds=torch.arange(len(rows)))


def starts(actions):
    return [
        [n for n, index in enumerate(row) if index >= 0 and (n == 0 or index != row[n - 1])]
        for row in actions.index.tolist()
    ]


@pytest.mark.parametrize("cutoff", [3, 5])
def test_parsing_cuts_a_batch_as_the_released_code_cuts_each_row(cutoff):
    path = Path(__file__).parents[1] / "reference/released_parsing.json"
    cases = [c for c in json.loads(path.read_text(encoding="utf-8")) if c["cutoff"] == cutoff]
    rollout, actions = cut([case["tokens"] for case in cases], Trees(cases), cutoff=cutoff)
    isolated = segmentation.isolate_last_token(rollout.response_mask, actions)
    assert starts(isolated) == [case["starts"] for case in cases]
    assert not isolated.fell_back.any()


def test_without_isolation_eos_ends_the_last_macro_action_and_does_not_count_for_the_cutoff():
    tree = "(S (A (X a) (X b)) (B (X c) (X d)))"
    trees = Trees([{"text": "a b c d", "sentences": [{"sentence": "a b c d", "tree": tree}]}])
    _, actions = cut([["a", " b", " c", " d"]], trees, cutoff=3)
    assert actions.index.tolist() == [[0, 0, 1, 1, 1]]


def test_a_response_that_cannot_be_parsed_is_cut_into_n_grams_alone():
    good, bad = list("my boss. lost the keys."), list("my boss. lst the keys.")
    _, alone = cut([good], TinyTLDRGrammar(), cutoff=12, fallback_n=10)
    _, both = cut([bad, good], TinyTLDRGrammar(), cutoff=12, fallback_n=10)
    assert starts(both) == [[0, 10, 20], [0, 8, 13]]
    assert starts(alone) == [[0, 8, 13]]
    assert both.fell_back.tolist() == [True, False]
    assert both.rows([1]).fell_back.tolist() == [False]
