"""Responses to the same prompt are paired, and those without a partner named; which pairs are drawn."""

import json
from collections import Counter
from dataclasses import replace

import pytest

from lightning_marlhf.evaluation.pairs import Pair, digest, draw, pair_completions, plain_prompt, read_pairs
from lightning_marlhf.records import Completion


def completion(prompt, response, sample_id="0"):
    return Completion(
        sample_id=sample_id, prompt=prompt, response=response, model="m", seed=1, step=None, num_tokens=1, ended=True
    )


def test_responses_are_paired_by_prompt_whatever_their_order_and_sample_ids():
    a = [completion("p", "a1", "17"), completion("q", "a2", "18")]
    b = [completion("q", "b2", "x"), completion("p", "b1", "y")]
    pairs = pair_completions(a, b).pairs
    assert [(pair.prompt, pair.a, pair.b) for pair in pairs] == [("p", "a1", "b1"), ("q", "a2", "b2")]


def test_several_responses_to_a_prompt_are_paired_in_their_order_and_have_ids_of_their_own():
    pairing = pair_completions(
        [completion("p", "a1"), completion("p", "a2"), completion("q", "a3")],
        [completion("p", "b1"), completion("r", "b2")],
    )
    assert [(pair.a, pair.b) for pair in pairing.pairs] == [("a1", "b1")]
    assert pairing.only_a == (f"{digest('p')}-1", f"{digest('q')}-0")
    assert pairing.only_b == (f"{digest('r')}-0",)


def test_a_pair_of_other_texts_has_another_fingerprint_even_where_the_texts_run_together():
    prints = {Pair("1", *texts).fingerprint for texts in [("ab", "c", "d"), ("a", "bc", "d"), ("a", "b", "cd")]}
    assert len(prints) == 3


def test_a_pair_tells_which_response_was_cut_off():
    cut_off = replace(completion("p", "b"), ended=False)
    assert pair_completions([completion("p", "a")], [cut_off]).pairs[0].ended == (True, False)


def test_dialogues_are_paired_by_their_messages_whatever_template_wrote_them():
    asked = [{"role": "user", "content": "q"}]
    a = replace(completion("<user>q", "a1"), messages=asked, prompt_ids=[1, 2], response_ids=[3])
    b = replace(completion("[u]q", "b1"), messages=asked)
    (pair,) = pair_completions([a], [b]).pairs
    assert (pair.prompt, plain_prompt(pair), pair.messages) == ("<user>q", "q", asked)
    assert pair.ids == (([1, 2], [3]), None)
    more = [*asked, {"role": "assistant", "content": "no"}, {"role": "user", "content": "so"}]
    asked_on = plain_prompt(Pair("1", "<user>q", "a", "b", messages=more))
    assert asked_on == "Human: q\n\nAssistant: no\n\nHuman: so\n\nAssistant:"


def test_half_a_character_has_a_digest():
    assert digest("\ud83d") != digest("?")


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_without_a_partner_are_counted_by_file(tmp_path, capsys):
    a = write(tmp_path / "a.jsonl", [{"prompt": p, "response": "1"} for p in "pq"])
    b = write(tmp_path / "b.jsonl", [{"prompt": p, "response": "2"} for p in "qrs"])
    assert [pair.prompt for pair in read_pairs(a, b).pairs] == ["q"]
    said = capsys.readouterr().err
    assert f"{a}: rows left out: 1" in said
    assert f"{b}: rows left out: 2" in said


def test_files_of_other_prompts_are_refused(tmp_path):
    a = write(tmp_path / "a.jsonl", [{"prompt": "p", "response": "1"}])
    b = write(tmp_path / "b.jsonl", [{"prompt": "q", "response": "1"}])
    with pytest.raises(ValueError, match="have no prompt in common"):
        read_pairs(a, b)


def pairs_of(subreddits):
    return [
        Pair(f"{n}-0", f"POST\nSubreddit: r/{name}\nText {n}.\nTL;DR: ", "a", "b") for n, name in enumerate(subreddits)
    ]


def names(pairs):
    return Counter(pair.prompt.split("r/")[1].split("\n")[0] for pair in pairs)


def test_a_larger_draw_holds_the_smaller_and_order_in_the_file_does_not_matter():
    pairs = pairs_of("a" * 40)
    small, large = (draw(pairs, n, seed=1, by_subreddit=False) for n in (10, 20))
    assert (len(small), len(large)) == (10, 20)
    assert set(small) < set(large)
    assert set(draw(pairs[::-1], 10, seed=1, by_subreddit=False)) == set(small)
    assert set(draw(pairs, 10, seed=2, by_subreddit=False)) != set(small)


def test_all_responses_to_a_prompt_are_drawn_together():
    pairs = [Pair(f"{n}-{k}", f"p{n}", "a", "b") for n in range(6) for k in range(3)]
    drawn = draw(pairs, 2, seed=0, by_subreddit=False)
    assert sorted(Counter(pair.prompt for pair in drawn).values()) == [3, 3]


def test_every_subreddit_gets_its_share():
    # of 10 from 50, 33 and 17 %: 5, 3.3 and 1.7, so 5, 3 and 1, and the last place to the largest remainder
    pairs = pairs_of(["x"] * 30 + ["y"] * 20 + ["z"] * 10)
    assert names(draw(pairs, 10, seed=42, by_subreddit=True)) == {"x": 5, "y": 3, "z": 2}


def test_articles_without_a_subreddit_are_a_stratum_of_their_own():
    articles = [Pair(f"n{n}-0", f"ARTICLE\n{n}\nTL;DR: ", "a", "b") for n in range(10)]
    drawn = draw([*pairs_of("x" * 10), *articles], 4, seed=0, by_subreddit=True)
    assert sum(pair in articles for pair in drawn) == 2
