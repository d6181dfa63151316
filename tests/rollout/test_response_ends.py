"""Where a response ends, what its text is, and who watches."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tokenizers import decoders

from lightning_marlhf.hub.tokenizer import decode_responses, encode_pairs, load_tokenizer
from lightning_marlhf.models.loading import load_causal_lm
from lightning_marlhf.models.policy import Policy
from lightning_marlhf.rollout.generation import _to_rollout, generate, row_seeds
from lightning_marlhf.rollout.termination import token_ends
from lightning_marlhf.types import Prompts
from tests.published import END, EOS, GEMMA_TEMPLATE, publish, spaced_tokenizer
from tests.rollout.pieces import make_tokenizer
from tests.rollout.responding import SAMPLE, as_prompts, respond


class Script(torch.nn.Module):
    """A policy whose responses are written down; padded as ``generate()`` pads."""

    def __init__(self, lm, rows, *, pad, columns):
        super().__init__()
        self.lm = lm
        self.rows = torch.tensor([row + [pad] * (columns - len(row)) for row in rows])

    def generate(self, input_ids, attention_mask, **kwargs):
        return torch.cat([input_ids, self.rows], dim=1)


@pytest.fixture
def scripted(make_lm, tokenizer):
    """Roll out given responses (texts; "$" is EOS, "_" the pad token), as if generated."""
    special = {"$": tokenizer.eos_token_id, "_": tokenizer.pad_token_id}

    def roll_out(texts, *, columns):
        ids = [[special.get(c, tokenizer.convert_tokens_to_ids(c)) for c in text] for text in texts]
        policy = Script(make_lm(), ids, pad=tokenizer.pad_token_id, columns=columns)
        prompts = as_prompts(tokenizer, ["a"] * len(texts))
        seeds = torch.arange(len(texts))
        return generate(policy, prompts, tokenizer=tokenizer, settings=SAMPLE, seeds=seeds)

    return roll_out


def test_the_mask_ends_with_eos_and_columns_after_the_longest_response_are_trimmed(scripted, tokenizer):
    rollout = scripted(["ab$", "$", "abc d$"], columns=9)
    assert rollout.response_ids.shape == (3, 6)
    assert rollout.response_mask.sum(dim=1).tolist() == [3, 1, 6]
    assert rollout.response_mask[0].tolist() == [True, True, True, False, False, False]
    assert rollout.ended.tolist() == [True, True, True]
    assert rollout.texts == ("ab", "", "abc d")
    assert (rollout.response_ids[~rollout.response_mask] == tokenizer.pad_token_id).all()
    assert rollout.input_ids.shape == rollout.attention_mask.shape


def test_a_response_without_eos_has_not_ended(scripted):
    rollout = scripted(["ab$", "abcd"], columns=4)
    assert rollout.ended.tolist() == [True, False]
    assert rollout.response_mask[1].all()
    assert rollout.texts == ("ab", "abcd")


def test_a_sampled_pad_token_is_a_token_of_the_response(scripted):
    rollout = scripted(["a_b$", "ab"], columns=4)
    assert rollout.response_mask[0].tolist() == [True] * 4
    assert rollout.texts[0] == "ab"


def test_what_follows_eos_is_dropped(scripted, tokenizer):
    rollout = scripted(["a$b$", "abcd"], columns=4)
    assert rollout.response_mask[0].tolist() == [True, True, False, False]
    assert rollout.response_ids[0, 2:].tolist() == [tokenizer.pad_token_id] * 2
    assert rollout.texts[0] == "a"


def test_an_end_of_turn_ends_a_response_as_eos_does(make_lm, tokenizer, prompts):
    policy = Policy(make_lm())
    seeds = row_seeds(7, prompts.sample_ids, 0)
    free = respond(policy, prompts, tokenizer)
    end = free[0][3]
    assert end != tokenizer.eos_token_id
    policy.lm.generation_config.eos_token_id = [tokenizer.eos_token_id, end]
    rollout = generate(policy, prompts, tokenizer=tokenizer, settings=SAMPLE, seeds=seeds)
    expected = [row[: row.index(end) + 1] if end in row else row for row in free]
    assert expected != free
    masks = rollout.response_mask
    assert [row[mask].tolist() for row, mask in zip(rollout.response_ids, masks, strict=True)] == expected
    last = [row[-1] in (end, tokenizer.eos_token_id) for row in expected]
    assert rollout.ended.tolist() == last


def test_a_published_model_ends_with_its_end_of_turn_and_what_its_settings_name(tmp_path):
    folder = publish(tmp_path, template=GEMMA_TEMPLATE)
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": [EOS, 100]}))
    published = load_tokenizer(str(folder))
    policy = Policy(load_causal_lm(str(folder), published))
    prompts = as_prompts(published, [f"it is {n}" for n in range(150)])
    ends = [EOS, END, 100]
    seen = [set(row) & set(ends) for row in respond(policy, prompts, published)]
    last = [row[-1] for row in respond(policy, prompts, published) if set(row) & set(ends)]
    assert set(last) == set(ends)  # each of them was sampled
    assert all(len(row) <= 1 for row in seen)


def test_a_response_ends_with_the_token_that_completes_a_stop_string(make_lm, tokenizer, prompts):
    policy = Policy(make_lm())
    seeds = row_seeds(7, prompts.sample_ids, 0)
    free = respond(policy, prompts, tokenizer)
    whole = tokenizer.decode(free[0])
    stop = whole[3:5]  # one token a character
    settings = replace(SAMPLE, stop=(stop, "never said"))
    rollout = generate(policy, prompts, tokenizer=tokenizer, settings=settings, seeds=seeds)
    texts = [tokenizer.decode(row, skip_special_tokens=True) for row in free]
    cut = [text[: text.index(stop) + len(stop)] if stop in text else text for text in texts]
    assert rollout.texts == tuple(cut)
    assert cut[0] == whole[: whole.index(stop) + 2]
    assert rollout.ended.tolist() == [
        stop in text or row[-1] == tokenizer.eos_token_id for text, row in zip(texts, free, strict=True)
    ]
    assert [row[mask].tolist() for row, mask in zip(rollout.response_ids, rollout.response_mask, strict=True)] == [
        row[: len(text)] if stop in text else row for text, row in zip(cut, free, strict=True)
    ]
    alone = generate(policy, prompts.rows(slice(0, 1)), tokenizer=tokenizer, settings=settings, seeds=seeds[:1])
    assert alone.texts == rollout.texts[:1]


def test_a_stop_string_that_the_prompt_began_ends_nothing(make_lm, tokenizer):
    policy = Policy(make_lm())
    prompts = as_prompts(tokenizer, ("ab",))
    (free,) = respond(policy, prompts, tokenizer)
    over_the_border = "b" + tokenizer.decode(free[:1])
    settings = replace(SAMPLE, stop=(over_the_border,))
    assert over_the_border not in tokenizer.decode(free)
    assert respond(policy, prompts, tokenizer, settings) == [free]


@pytest.mark.parametrize(
    ("prompt", "response"),
    [
        ("Assistant:", " it is"),
        ("Assistant:", "it is"),
        ("it\n", "    return it"),
        ("it ", " cat"),
        ("\u00fc", "\u00fc it"),
        ("", "it is"),
    ],
)
def test_the_text_of_a_response_is_what_was_sampled_with_its_first_space(prompt, response):
    tokenizer = spaced_tokenizer()
    (pair,) = encode_pairs(tokenizer, [prompt], [response])
    prompts = Prompts(
        input_ids=torch.tensor([[0, *pair.prompt]]),
        attention_mask=torch.tensor([[False] + [True] * len(pair.prompt)]),
        sample_ids=("x",),
        texts=(prompt,),
        references=(None,),
    )
    rollout = _to_rollout(prompts, torch.tensor([pair.response]), tokenizer, [1], {})
    assert rollout.texts == (response,)
    assert token_ends(rollout, tokenizer)[0][-1] == len(response)


def test_a_decoder_that_puts_spaces_between_words_adds_none_before_a_response():
    words = make_tokenizer(["my", "boss", "##es"], decoders.WordPiece(cleanup=False))
    ids = words.convert_tokens_to_ids(["my", "boss", "##es"])
    assert decode_responses(words, [ids], [ids]) == ["my bosses"]
    assert decode_responses(words, [[]], [ids]) == ["my bosses"]


def test_a_streamer_is_handed_the_prompt_and_then_every_token_until_the_end_of_turn(make_lm, tokenizer, prompts):
    row = prompts.rows(slice(0, 1))
    (free,) = respond(Policy(make_lm()), row, tokenizer)
    end = free[1]
    expected = free[: free.index(end) + 1]
    policy = Policy(make_lm())
    policy.lm.generation_config.eos_token_id = end
    seen = []
    streamer = SimpleNamespace(put=lambda ids: seen.append(ids.flatten().tolist()), end=list)
    rollout = generate(
        policy, row, tokenizer=tokenizer, settings=SAMPLE, seeds=row_seeds(7, row.sample_ids, 0), streamer=streamer
    )
    assert seen[0] == row.input_ids[0].tolist()
    assert [token for ids in seen[1:] for token in ids] == expected
    assert rollout.response_ids[0].tolist() == expected
