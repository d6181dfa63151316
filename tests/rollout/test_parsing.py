"""Trees to macro actions: the released code's boundaries, and what its cases leave open."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from nltk.tree import Tree

from lightning_marlhf.rollout import parsing
from lightning_marlhf.rollout.parsing import NoTreeError, Parser, Sentence, Stanza, phrase_starts
from lightning_marlhf.rollout.termination import ends_of_pieces

CASES = json.loads((Path(__file__).parents[1] / "reference/released_parsing.json").read_text(encoding="utf-8"))


def sentences(text, *trees):
    """Place bracketed trees in a text, one after the other."""
    found, start = [], 0
    for tree in trees:
        found.append(parsing.place(Tree.fromstring(tree), text, start=start))
        start = found[-1].leaf_ends[-1]
    return found


def starts(tokens, *trees, cutoff):
    return phrase_starts(sentences("".join(tokens), *trees), ends_of_pieces(tokens), cutoff=cutoff)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['seed']}-{case['cutoff']}")
def test_boundaries_are_those_of_the_released_code(case):
    trees = [sentence["tree"] for sentence in case["sentences"]]
    *expected, eos = case["starts"]
    assert starts(case["tokens"], *trees, cutoff=case["cutoff"]) == expected
    assert eos == len(case["tokens"])


def test_a_phrase_of_fewer_tokens_than_the_cutoff_is_one_macro_action():
    tokens, tree = ["a", " b", " c", " d", " e"], "(S (A (X a) (X b)) (B (X c) (X d) (X e)))"
    assert starts(tokens, tree, cutoff=6) == [0]
    assert starts(tokens, tree, cutoff=5) == [0, 2]
    assert starts(tokens, tree, cutoff=3) == [0]  # c, d, e join: each is a single word


def test_a_single_word_joins_what_is_before_it_however_many_tokens_and_nodes_it_has():
    tokens = ["a", " b", " un", "heard", " d", " e"]
    tree = "(S (A (X a) (X b)) (NP (NP (X unheard))) (B (X d) (X e)))"
    assert starts(tokens, tree, cutoff=3) == [0, 4]


def test_a_phrase_that_is_a_single_token_joins_too():
    tree = "(S (A (X a) (X b)) (B (X c) (X .)) (C (X d) (X e)))"
    assert starts(["a", " b", " c.", " d", " e"], tree, cutoff=3) == [0, 3]


def test_every_sentence_starts_a_macro_action_even_one_of_a_single_word():
    trees = ("(S (A (X a) (X b)))", "(S (X c))", "(S (X d) (X e))")
    assert starts(["a", " b", " c", " d", " e"], *trees, cutoff=5) == [0, 2, 3]


def test_a_token_that_straddles_two_leaves_belongs_to_the_later_one():
    tree = "(S (A (X a) (X b)) (B (X c) (X d)))"
    assert starts(["a", " b", " c", " d"], tree, cutoff=3) == [0, 2]
    assert starts(["a", " ", "b c", " d"], tree, cutoff=3) == [0, 2]
    assert starts(["a", " b c", " d"], tree, cutoff=3) == [0, 1]


def test_white_space_after_a_word_stays_with_it_unless_it_is_a_token_of_its_own():
    trees = ("(S (X a) (X .))", "(S (X b) (X .))")
    assert starts(["a", ". ", "b", "."], *trees, cutoff=5) == [0, 2]
    assert starts(["a", ".", " ", "b", "."], *trees, cutoff=5) == [0, 2]


def test_tokens_after_the_last_leaf_start_nothing():
    assert starts(["a", " b", "\n", "\n"], "(S (X a) (X b))", cutoff=5) == [0]


def test_a_sentence_that_ends_inside_a_token_leaves_it_to_the_next():
    trees = ("(S (X a) (X !))", "(S (X b) (X c))")
    assert starts(["a", "!b", " c"], *trees, cutoff=5) == [0, 1]
    assert starts(["a!b", " c"], *trees, cutoff=5) == [0]


def test_leaves_have_to_be_what_the_text_says():
    tree = Tree.fromstring("(S (X a) (X b))")
    assert parsing.place(tree, "a. a \n b", start=2) == Sentence(tree, (4, 8))
    with pytest.raises(NoTreeError, match="expected the word 'b' at character 2 of 'a c b'"):
        parsing.place(tree, "a c b", start=0)


def test_the_parser_of_tiny_tldr_says_where_its_sentences_stand():
    parser = parsing.TinyTLDRGrammar()
    parser.prepare()
    first, second = parser("  my boss. told a lie")
    assert first.tree.leaves() == ["my", "boss", "."]
    assert second.leaf_ends == (15, 17, 21)
    with pytest.raises(NoTreeError, match="xyz"):
        parser("my boss. xyz.")


@pytest.fixture
def stanza(monkeypatch):
    """A package stanza whose pipeline finds two sentences in "I do. (No)"."""

    def tree(label, *children):
        return SimpleNamespace(label=label, children=children)

    def sentence(start, *words):
        children = [tree("X", tree(word)) for word in words]
        return SimpleNamespace(constituency=tree("ROOT", *children), tokens=[SimpleNamespace(start_char=start)])

    asked = {}

    def pipeline(language, **settings):
        asked.update(settings, language=language)
        if settings.get("dir") == "empty":
            raise FileNotFoundError("Resources file not found at: empty/resources.json")
        return lambda text: SimpleNamespace(sentences=[sentence(0, "I", "do", "."), sentence(6, "(", "No", ")")])

    monkeypatch.setitem(sys.modules, "stanza", SimpleNamespace(Pipeline=pipeline))
    return asked


def test_stanza_s_sentences_become_trees_with_their_places(stanza):
    parser = Stanza()
    parser.prepare()
    first, second = parser("I do. (No)")
    assert first.tree == Tree.fromstring("(ROOT (X I) (X do) (X .))")
    assert (first.leaf_ends, second.leaf_ends) == ((1, 4, 5), (7, 9, 10))
    assert stanza["download_method"] == "reuse_resources"
    assert stanza["use_gpu"] is False


def test_stanza_s_models_from_a_folder_need_no_network(stanza):
    Stanza(model_dir="models", language="de").prepare()
    assert stanza["dir"] == "models"
    assert stanza["language"] == "de"
    assert stanza["download_method"] is None


def test_absent_models_are_told_with_the_command_that_gets_them(stanza):
    with pytest.raises(ValueError, match=r"no models for 'en' \(FileNotFoundError\).*download"):
        Stanza(model_dir="empty").prepare()


@pytest.mark.parametrize(
    ("parser", "package", "module"),
    [(Stanza(), "stanza", "stanza"), (parsing.TinyTLDRGrammar(), "nltk", "lightning_marlhf.tasks.tiny_tldr_grammar")],
    ids=["stanza", "tiny"],
)
def test_an_absent_package_is_told_with_the_command_that_installs_it(monkeypatch, parser: Parser, package, module):
    for name in [name for name in sys.modules if name.startswith(("nltk", module))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("lightning_marlhf.tasks.tiny_tldr_grammar", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Absent(package), *sys.meta_path])
    message = rf"no package '{package}' here; run: pip install 'lightning_marlhf\[parsing\]'"
    with pytest.raises(ValueError, match=message):
        parser.prepare()


class Absent:
    """Finds that a package is not installed."""

    def __init__(self, package):
        self.package = package

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
