"""Dialogues with a model, and what appears while it responds."""

import pytest
import torch

from lightning_marlhf.hub.sources import SourceError
from lightning_marlhf.hub.tokenizer import encode_pairs
from lightning_marlhf.inference.chat import Conversation, TextStream
from lightning_marlhf.inference.loading import LanguageModel
from lightning_marlhf.rollout.generation import SamplingSettings
from tests.published import GEMMA_TEMPLATE, byte_tokenizer, spaced_tokenizer


class Parrot:
    """Responds with the words it is given, as tokens through the streamer; keeps its prompts."""

    def __init__(self, *responses, template=None):
        self.tokenizer = byte_tokenizer(template=template)
        self.responses = iter(responses)
        self.prompts = []

    tokenize = LanguageModel.tokenize

    def generate(self, rows, *, settings, seeds, streamer):
        self.prompts.append(self.tokenizer.decode(rows[0].prompt_ids))
        streamer.put(rows[0].prompt_ids)
        for token in self.tokenizer(next(self.responses), add_special_tokens=False).input_ids:
            streamer.put(torch.tensor([token]))
        streamer.end()


def conversation(parrot, system=""):
    return Conversation(parrot, SamplingSettings(max_new_tokens=9), system=system, seed=1)


def test_the_dialogue_so_far_is_the_prompt_in_hh_rlhf_s_format():
    parrot = Parrot(" a cat.", " no.", " yes.", " hm.")
    talk = conversation(parrot, system="Be nice.")
    said = []
    talk.respond("what?", said.append)
    talk.respond("sure?", said.append)
    assert "".join(said) == "a cat.no."
    first = "<bos>Be nice.\n\nHuman: what?\n\nAssistant:"
    assert parrot.prompts == [first, f"{first} a cat.\n\nHuman: sure?\n\nAssistant:"]
    talk.undo()
    talk.respond("so?", said.append)
    assert parrot.prompts[-1] == f"{first} a cat.\n\nHuman: so?\n\nAssistant:"
    talk.reset()
    talk.undo()
    talk.respond("what?", said.append)
    assert parrot.prompts[-1] == first


def test_the_dialogue_so_far_is_the_prompt_in_the_chat_template():
    parrot = Parrot("a cat.", "no.", template=GEMMA_TEMPLATE)
    talk = conversation(parrot)
    talk.respond("what?", str)
    talk.respond("sure?", str)
    assert parrot.prompts[-1] == (
        "<bos><start_of_turn>user\nwhat?<end_of_turn>\n<start_of_turn>model\na cat.<end_of_turn>\n"
        "<start_of_turn>user\nsure?<end_of_turn>\n<start_of_turn>model\n"
    )
    with pytest.raises(SourceError, match="System role not supported"):
        conversation(Parrot(template=GEMMA_TEMPLATE), system="Be nice.")


def test_a_response_ends_where_the_model_would_speak_for_the_user():
    parrot, said = Parrot(" a cat.\n\nHum.\n\nHuman: zzz", " yes."), []
    talk = conversation(parrot)
    talk.respond("what?", said.append)
    assert "".join(said) == "a cat.\n\nHum."
    talk.respond("so?", said.append)
    assert "zzz" not in parrot.prompts[-1]


def test_ctrl_c_ends_the_response_and_what_was_said_counts():
    parrot, said = Parrot(" a cat and a dog", " no."), []

    def interrupt(piece):
        said.append(piece)
        if "cat" in "".join(said):
            raise KeyboardInterrupt

    talk = conversation(parrot)
    talk.respond("what?", interrupt)
    assert talk.turns[-1] == {"role": "assistant", "content": "a cat"}
    talk.respond("so?", str)
    assert parrot.prompts[-1].endswith("Assistant: a cat\n\nHuman: so?\n\nAssistant:")


def test_a_character_of_several_tokens_appears_whole():
    tokenizer, said = byte_tokenizer(), []
    stream = TextStream(tokenizer, said.append)
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
    stream = TextStream(tokenizer, said.append)
    stream.put(torch.tensor([pair.prompt]))
    for token in pair.response:
        stream.put(torch.tensor([token]))
    stream.end()
    assert "".join(said) == stream.text == "it  is\n    a \N{GRINNING FACE} cat"


def test_an_unfinished_stop_string_is_written_in_the_end():
    tokenizer, said = byte_tokenizer(), []
    stream = TextStream(tokenizer, said.append, stop=("\n\nHuman:",))
    stream.put(torch.tensor([[2]]))
    for token in tokenizer("a\n\nHu", add_special_tokens=False).input_ids:
        stream.put(torch.tensor([token]))
    assert "".join(said) == "a"
    stream.end()
    assert "".join(said) == "a\n\nHu"
