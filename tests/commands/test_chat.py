"""Dialogues with a model, and what appears while it answers."""

import io

import pytest
import torch

from lightning_marlhf.commands import chat
from lightning_marlhf.hub.sources import SourceError
from lightning_marlhf.hub.tokenizer import encode_pairs
from lightning_marlhf.inference.answering import Answerer
from lightning_marlhf.inference.dialogue import Conversation, TextStream
from lightning_marlhf.rollout.generation import SamplingSettings
from tests.published import GEMMA_TEMPLATE, byte_tokenizer, publish, spaced_tokenizer


def talk(monkeypatch, capsys, model, lines, *options):
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    assert chat.main(["chat", str(model), "--max-new-tokens", "6", *options]) == 0
    return capsys.readouterr()


@pytest.mark.parametrize("template", [None, GEMMA_TEMPLATE])
def test_lines_of_standard_input_are_answered_until_quit(tmp_path, monkeypatch, capsys, template):
    model = publish(tmp_path / "model", template=template)
    asked = talk(monkeypatch, capsys, model, ["what is it?", "", "/quit", "and now?"])
    assert asked.out.strip()
    twice = talk(monkeypatch, capsys, model, ["what is it?", "and now?"])
    assert twice.out.startswith(asked.out)
    assert len(twice.out) > len(asked.out)
    assert twice.err == ""


def test_a_line_that_is_no_command_names_the_commands(tmp_path, monkeypatch, capsys):
    model = publish(tmp_path / "model")
    said = talk(monkeypatch, capsys, model, ["/rest"])
    assert "no command /rest: /reset forgets the dialogue" in said.err
    assert said.out == ""


def test_a_dialogue_that_has_grown_too_long_can_be_shortened(tmp_path, monkeypatch, capsys):
    model = publish(tmp_path / "model")
    said = talk(monkeypatch, capsys, model, ["x" * 130, "it"])
    assert "prompt and response may take" in said.err
    assert "/undo and /reset shorten the dialogue" in said.err
    assert len(said.out.splitlines()) >= 1


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--format", "chat"], "has no chat template"), (["--temperature", "-1"], "temperature")],
)
def test_mistakes_are_one_line(tmp_path, capsys, options, said):
    model = publish(tmp_path / "model")
    assert chat.main(["chat", str(model), *options]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


# --- the dialogue


class Parrot:
    """Answers with the words it is given, as tokens through the streamer; keeps what it was asked."""

    def __init__(self, *answers, chat_template=False):
        self.tokenizer = byte_tokenizer(template=GEMMA_TEMPLATE)
        self.chat_template = chat_template
        self.answers = iter(answers)
        self.asked = []

    tokenize = Answerer.tokenize
    tokenize_turns = Answerer.tokenize_turns

    def answer(self, rows, *, settings, seeds, streamer):
        self.asked.append(self.tokenizer.decode(rows[0].prompt_ids))
        streamer.put(rows[0].prompt_ids)
        for token in self.tokenizer(next(self.answers), add_special_tokens=False).input_ids:
            streamer.put(torch.tensor([token]))
        streamer.end()


def conversation(parrot, system=""):
    return Conversation(parrot, SamplingSettings(max_new_tokens=9), system=system, seed=1)


def test_the_dialogue_so_far_is_asked_in_hh_rlhf_s_format():
    parrot = Parrot(" a cat.", " no.", " yes.", " hm.")
    talk = conversation(parrot, system="Be nice.")
    said = []
    talk.ask("what?", said.append)
    talk.ask("sure?", said.append)
    assert "".join(said) == "a cat.no."
    first = "<bos>Be nice.\n\nHuman: what?\n\nAssistant:"
    assert parrot.asked == [first, f"{first} a cat.\n\nHuman: sure?\n\nAssistant:"]
    talk.undo()
    talk.ask("so?", said.append)
    assert parrot.asked[-1] == f"{first} a cat.\n\nHuman: so?\n\nAssistant:"
    talk.reset()
    talk.undo()
    talk.ask("what?", said.append)
    assert parrot.asked[-1] == first


def test_the_dialogue_so_far_is_asked_in_the_chat_template():
    parrot = Parrot("a cat.", "no.", chat_template=True)
    talk = conversation(parrot)
    talk.ask("what?", str)
    talk.ask("sure?", str)
    assert parrot.asked[-1] == (
        "<bos><start_of_turn>user\nwhat?<end_of_turn>\n<start_of_turn>model\na cat.<end_of_turn>\n"
        "<start_of_turn>user\nsure?<end_of_turn>\n<start_of_turn>model\n"
    )
    with pytest.raises(SourceError, match="System role not supported"):
        conversation(Parrot(chat_template=True), system="Be nice.")


def test_an_answer_ends_where_the_model_would_speak_for_the_user():
    parrot, said = Parrot(" a cat.\n\nHum.\n\nHuman: zzz", " yes."), []
    talk = conversation(parrot)
    talk.ask("what?", said.append)
    assert "".join(said) == "a cat.\n\nHum."
    talk.ask("so?", said.append)
    assert "zzz" not in parrot.asked[-1]


def test_ctrl_c_ends_the_answer_and_what_was_said_counts():
    parrot, said = Parrot(" a cat and a dog", " no."), []

    def interrupt(piece):
        said.append(piece)
        if "cat" in "".join(said):
            raise KeyboardInterrupt

    talk = conversation(parrot)
    talk.ask("what?", interrupt)
    assert talk.turns[-1] == {"role": "assistant", "content": "a cat"}
    talk.ask("so?", str)
    assert parrot.asked[-1].endswith("Assistant: a cat\n\nHuman: so?\n\nAssistant:")


def test_a_character_of_several_tokens_appears_whole():
    tokenizer, said = byte_tokenizer(), []
    stream = TextStream(tokenizer, said.append, stop=None)
    ids = tokenizer("\N{GRINNING FACE}!", add_special_tokens=False).input_ids
    assert len(ids) > 2
    stream.put(torch.tensor([[2, 7]]))
    for token in ids:
        stream.put(torch.tensor([token]))
    stream.end()
    assert [piece for piece in said if piece] == ["\N{GRINNING FACE}", "!"]


def test_what_is_streamed_is_what_was_sampled():
    tokenizer, said = spaced_tokenizer(), []
    (pair,) = encode_pairs(tokenizer, ["Assistant:"], ["it  is\n    a \N{GRINNING FACE} cat"])
    stream = TextStream(tokenizer, said.append, stop=None)
    stream.put(torch.tensor([pair.prompt]))
    for token in pair.response:
        stream.put(torch.tensor([token]))
    stream.end()
    assert "".join(said) == stream.text == "it  is\n    a \N{GRINNING FACE} cat"


def test_an_unfinished_stop_is_written_in_the_end():
    tokenizer, said = byte_tokenizer(), []
    stream = TextStream(tokenizer, said.append, stop=("\n\nHuman:",))
    stream.put(torch.tensor([[2]]))
    for token in tokenizer("a\n\nHu", add_special_tokens=False).input_ids:
        stream.put(torch.tensor([token]))
    assert "".join(said) == "a"
    stream.end()
    assert "".join(said) == "a\n\nHu"
