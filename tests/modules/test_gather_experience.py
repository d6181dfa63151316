"""The rows of all ranks, in the order of one process."""

import torch

from lightning_marlhf.modules.gather_experience import all_gather_rows, interleave
from tests.callbacks.tiny import build_experience


def test_rows_are_joined_in_turn_and_padded_to_one_width():
    """Ranks have rows 0, 2 and 1, 3 of a batch; what one process would have padded, it would have padded alike."""
    texts = ("ab", "abcd abcd", "a", "abc")
    whole = build_experience(texts)
    parts = [build_experience(texts[rank::2]) for rank in (0, 1)]
    joined = interleave(parts)
    assert joined.rollout.texts == texts
    for name in ("response_ids", "response_mask"):
        assert torch.equal(getattr(joined.rollout, name), getattr(whole.rollout, name))
    assert torch.equal(joined.macro_actions.index, whole.macro_actions.index)
    assert torch.equal(joined.macro_actions.count, whole.macro_actions.count)
    assert joined.macro_actions.width == whole.macro_actions.width
    assert joined.rollout.prompts.sample_ids == ("s0", "s0", "s1", "s1")


def test_prompts_are_padded_to_the_left():
    short, long = build_experience(("a",)), build_experience(("b",))
    prompts = long.rollout.prompts
    wide = torch.arange(5).unsqueeze(0)
    object.__setattr__(prompts, "input_ids", wide)
    object.__setattr__(prompts, "attention_mask", wide > 0)
    joined = interleave([short, long]).rollout.prompts
    assert joined.input_ids.tolist() == [[0, 0, 0, 1, 1], [0, 1, 2, 3, 4]]
    assert joined.attention_mask.tolist()[0] == [False, False, False, True, True]


def test_one_process_keeps_its_rollout():
    experience = build_experience()
    assert all_gather_rows(experience, 1) is experience
