"""The grammar covers what the generator writes, without ambiguity."""

from random import Random

import pytest

from lightning_marlhf.tasks import tiny_tldr
from lightning_marlhf.tasks.tiny_tldr_grammar import parse, trees


def generated_clauses():
    """Every kind of sentence with every value, and the distractors, without their marks."""
    forms = [
        *tiny_tldr._EVENTS,
        *tiny_tldr._FEELINGS,
        *tiny_tldr._QUESTIONS,
        "my {who}.",
        "{did}.",
        "on {when}.",
        "i feel {feel}.",
        "should i {ask}?",
    ]
    longest = max(map(len, tiny_tldr.FACTS.values()))
    values = [{fact: values[turn % len(values)] for fact, values in tiny_tldr.FACTS.items()} for turn in range(longest)]
    sentences = {form.format(**facts)[:-1] for form in forms for facts in values}
    return sorted(sentences | set(tiny_tldr.DISTRACTORS))


def test_each_sentence_of_the_generator_has_exactly_one_tree():
    counts = {clause: len(trees(clause.split())) for clause in generated_clauses()}
    assert {clause: count for clause, count in counts.items() if count != 1} == {}


def test_posts_and_summaries_parse_sentence_by_sentence():
    random = Random(0)
    for _ in range(20):
        post = tiny_tldr.make_post(random)
        summary = tiny_tldr.summarise(post.facts, noise=tiny_tldr.DEMONSTRATION, random=random)
        for text in (post.text, summary):
            found = parse(text)
            assert len(found) == sum(text.count(mark) for mark in ".?")
            spaced = text.replace(".", " .").replace("?", " ?")
            assert [leaf for _, tree in found for leaf in tree.leaves()] == spaced.split()


def test_a_tree_has_the_phrases_that_one_would_draw():
    ((_, tree),) = parse("on monday night my boss lost the keys.")
    assert " ".join(str(tree).split()) == (
        "(S (PP (IN on) (NP (NNP monday) (NN night))) (NP (PRPS my) (NN boss)) "
        "(VP (VBD lost) (NP (DT the) (NNS keys))) (. .))"
    )


def test_sentences_stand_where_the_text_has_them_and_the_last_may_lack_its_mark():
    found = parse("my boss.  leave?on easter")
    assert [(start, tree.leaves()) for start, tree in found] == [
        (0, ["my", "boss", "."]),
        (8, ["leave", "?"]),
        (16, ["on", "easter"]),
    ]
    assert parse(" ") == []


@pytest.mark.parametrize("text", ["my bos.", "boss my.", "my boss: leave.", ".", "my boss.."])
def test_what_the_grammar_does_not_know_is_refused(text):
    with pytest.raises(ValueError, match=r"not a sentence|does not cover"):
        parse(text)
