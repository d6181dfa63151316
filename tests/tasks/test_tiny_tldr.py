"""The tiny task: its truth, its noise, its bounds."""

import re
from random import Random

import pytest

from lightning_marlhf.tasks import tiny_tldr
from lightning_marlhf.tasks.tiny_tldr import Noise, gold_score, make_post, summarise

FACTS = {"who": "boss", "did": "told a lie", "when": "friday", "feel": "sad", "ask": "call"}


def posts(number: int) -> list[tuple[tiny_tldr.Post, Random]]:
    randoms = [Random(f"test/{i}") for i in range(number)]
    return [(make_post(random), random) for random in randoms]


def test_a_perfect_summary_has_every_fact_and_the_best_score():
    for post, random in posts(50):
        summary = summarise(post.facts, noise=Noise(), random=random)
        assert gold_score(summary, post.facts) == 5.0


@pytest.mark.parametrize(
    ("noise", "score"),
    [
        (Noise(drop=1.0), 0.0),  # nothing said
        (Noise(replace=1.0), -2.5),  # five wrong facts at -1/2
        (Noise(repeat=1.0), 2.5),  # five right, five repeated
        (Noise(garble=1.0), -2.5),  # five sentences that mean nothing
        (Noise(distract=1.0), 4.5),  # one invented sentence
    ],
)
def test_each_kind_of_noise_costs_what_the_gold_score_says(noise, score):
    for post, random in posts(30):
        assert gold_score(summarise(post.facts, noise=noise, random=random), post.facts) == score


def test_responses_of_a_pair_reach_from_all_right_to_all_wrong():
    scores = [
        gold_score(summarise(post.facts, noise=tiny_tldr.draw_noise(random), random=random), post.facts)
        for post, random in posts(300)
    ]
    assert max(scores) == 5.0
    assert min(scores) <= -2.0


def test_every_word_of_posts_and_summaries_is_a_known_word():
    known = set(tiny_tldr.words())
    for post, random in posts(100):
        text = post.prompt + summarise(post.facts, noise=Noise(), random=random)
        assert set(re.findall(r"\w+|[^\w\s]", text)) <= known


@pytest.mark.parametrize(
    ("summary", "score"),
    [
        ("", 0.0),
        ("my boss.", 1.0),
        ("my boss", 1.0),
        ("my boss. i feel s", 0.5),  # cut off in the middle of a fact
        ("my wife. told a lie.", 0.5),
        ("told a lie. my boss. should i call? i feel sad. on friday.", 5.0),
        ("on friday?", 1.0),
        ("the boss told a lie on friday.", -0.5),
        (". . .", 0.0),
    ],
)
def test_gold_scores_by_hand(summary, score):
    assert gold_score(summary, FACTS) == score


def test_a_post_is_a_function_of_its_seed_and_tells_its_facts():
    first, second = (make_post(Random("one")) for _ in range(2))
    assert first == second != make_post(Random("two"))
    for post, _ in posts(50):
        assert all(value in post.text for value in post.facts.values())


def test_all_texts_stay_within_the_alphabet_and_the_stated_lengths():
    for post, random in posts(2000):
        summary = summarise(post.facts, noise=tiny_tldr.draw_noise(random), random=random)
        assert set(post.prompt + summary) <= set(tiny_tldr.ALPHABET)
        assert len(post.prompt) <= tiny_tldr.longest_prompt()
        assert len(summary) <= tiny_tldr.longest_summary()


def test_preferences_follow_bradley_terry():
    # 1 / (1 + exp(-(3 - 2) / 0.5)) = 1 / (1 + e^-2) = 0.8808
    assert tiny_tldr.preference_probability(3.0, 2.0, temperature=0.5) == pytest.approx(0.8808, abs=1e-4)
    assert tiny_tldr.preference_probability(2.0, 2.0, temperature=0.5) == 0.5
