"""Prompts of several lengths."""

import pytest

from tests.rollout.responding import as_prompts


@pytest.fixture
def prompts(tokenizer):
    texts = ("the cat sat", "a dog", "who did what", "z", "one two three", "ab", "why", "no no no")
    return as_prompts(tokenizer, texts)
