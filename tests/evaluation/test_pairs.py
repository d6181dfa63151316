"""Answers to the same prompt find each other; what finds no partner is named."""

from dataclasses import replace

from lightning_marlhf.evaluation.pairs import Pair, digest, pair_completions
from lightning_marlhf.records import Completion


def answer(prompt, response, sample_id="0"):
    return Completion(
        sample_id=sample_id,
        prompt=prompt,
        response=response,
        model="m",
        seed=1,
        step=None,
        num_tokens=1,
        ended=True,
    )


def test_answers_are_paired_by_prompt_whatever_their_order_and_sample_ids():
    a = [answer("p", "a1", "17"), answer("q", "a2", "18")]
    b = [answer("q", "b2", "x"), answer("p", "b1", "y")]
    pairs = pair_completions(a, b).pairs
    assert [(pair.prompt, pair.a, pair.b) for pair in pairs] == [
        ("p", "a1", "b1"),
        ("q", "a2", "b2"),
    ]


def test_several_answers_to_a_prompt_are_paired_in_their_order_and_have_ids_of_their_own():
    pairing = pair_completions(
        [answer("p", "a1"), answer("p", "a2"), answer("q", "a3")],
        [answer("p", "b1"), answer("r", "b2")],
    )
    assert [(pair.a, pair.b) for pair in pairing.pairs] == [("a1", "b1")]
    assert pairing.only_a == (f"{digest('p')}-1", f"{digest('q')}-0")
    assert pairing.only_b == (f"{digest('r')}-0",)


def test_a_pair_of_other_texts_has_another_fingerprint_even_where_the_texts_run_together():
    prints = {
        Pair("1", *texts).fingerprint
        for texts in [("ab", "c", "d"), ("a", "bc", "d"), ("a", "b", "cd")]
    }
    assert len(prints) == 3


def test_a_pair_tells_which_answer_was_cut_off():
    cut_off = replace(answer("p", "b"), ended=False)
    assert pair_completions([answer("p", "a")], [cut_off]).pairs[0].ended == (True, False)


def test_dialogues_are_paired_by_their_messages_whatever_template_wrote_them():
    asked = [{"role": "user", "content": "q"}]
    a = replace(answer("<user>q", "a1"), messages=asked, prompt_ids=[1, 2], response_ids=[3])
    b = replace(answer("[u]q", "b1"), messages=asked)
    (pair,) = pair_completions([a], [b]).pairs
    assert (pair.prompt, pair.asked, pair.messages) == ("<user>q", "q", asked)
    assert pair.ids == (([1, 2], [3]), None)
    more = [*asked, {"role": "assistant", "content": "no"}, {"role": "user", "content": "so"}]
    asked_on = Pair("1", "<user>q", "a", "b", messages=more).asked
    assert asked_on == "Human: q\n\nAssistant: no\n\nHuman: so\n\nAssistant:"


def test_half_a_character_has_a_digest():
    assert digest("\ud83d") != digest("?")
