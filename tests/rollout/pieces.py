"""Responses whose tokens are given pieces of text."""

import torch
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from lightning_marlhf.types import Prompts, Rollout


def make_tokenizer(pieces, decoder=decoders.Fuse()):  # noqa: B008
    """One token per piece."""
    vocabulary = {piece: index for index, piece in enumerate(["<pad>", "<eos>", *pieces])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    backend.decoder = decoder
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>")


def rollout(tokenizer, *rows, ended=True):
    """Responses of the given pieces, each with its EOS, as the policy would have sampled them."""
    rows = [tokenizer.convert_tokens_to_ids([*row, *(["<eos>"] if ended else [])]) for row in rows]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[n < len(row) for n in range(width)] for row in rows])
    texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
    ones = torch.ones(len(rows), 1, dtype=torch.long)
    names = tuple(map(str, range(len(rows))))
    prompts = Prompts(ones, ones.bool(), names, names, (None,) * len(rows))
    return Rollout(prompts, ids, mask, tuple(texts), torch.full((len(rows),), ended))
