"""Sanity checks of a loaded network on a short row: padding invariance, and log-probabilities equal to its own logits.

Families differ in what stands between body and head, in what follows the head, in what they make of left padding, and
in what their caches keep. No setting states this, so the network's own outputs are compared.
Neither check draws a random number.

The hidden states of a fresh model are too small to show a soft-cap, and those of any model so small that a wrong scale
looks like noise: before the head they are stretched, so that logits spread as widely as a trained model's.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from lightning_marlhf.hub.sources import SourceError, first_line
from lightning_marlhf.models.backbone import body, generation_mode
from lightning_marlhf.models.kv_cache import preallocated_cache
from lightning_marlhf.types import TokenLogprobs

_ROW, _NEW, _PADDING = 9, 3, 4  # tokens
_SPREAD = 10.0  # standard deviation of the stretched logits
# What rounding and another order of sums may change, in float32 or better and in half precision:
_STATES = (0.001, 0.1)  # fraction of the states' norm
_LOGPROBS = (0.2, 1.0)  # nats
_SCORES = (0.001, 0.1)  # plus the same fraction of the score


class _WithStates(Protocol):
    def states(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor: ...


class _Policy(_WithStates, Protocol):
    def generate(self, input_ids: Tensor, attention_mask: Tensor, **kwargs: Any) -> Any: ...

    def __call__(
        self, input_ids: Tensor, attention_mask: Tensor, *, num_targets: int, temperature: float
    ) -> TokenLogprobs: ...


@torch.no_grad()
def check_states(network: _WithStates, model: PreTrainedModel) -> None:
    """Refuse a model whose states change with padding to their left, or with the tokens that follow them.

    Args:
        network: full, or sharded (collective then: every rank must call it).
        model: the one in it.

    Raises:
        SourceError: names the model and the difference.
    """
    ids, mask = _rows(model)
    with _evaluating(model):
        padded = network.states(ids, mask)[1, _PADDING:-1]
        (alone,) = network.states(ids[1:, _PADDING:-1], mask[1:, _PADDING:-1])
    off = ((padded.double() - alone.double()).norm() / alone.double().norm()).item()
    if not off <= _tolerance(_STATES, alone.dtype):  # NaN is no agreement
        raise SourceError(
            f"{_name(model)} cannot be used here: padding to the left of a row, or the token after it, changes its "
            f"hidden states by {off:.1%} (expected no change); use a model of another family"
        )


@torch.no_grad()
def check_scores(network: Callable[[Tensor, Tensor], Tensor], classifier: PreTrainedModel) -> None:
    """Refuse an encoder whose scores change with padding.

    Args:
        network: maps ids and mask [batch, seq] to scores [batch]; full, or sharded (collective
            then: every rank must call it).
        classifier: the one in it.

    Raises:
        SourceError: names the model and the difference.
    """
    ids, mask = _rows(classifier)
    end = classifier.config.eos_token_id
    if isinstance(end, int):  # BART and T5 score at the end of a row, and want one
        ids = ids.masked_fill(ids == end, int(ids[ids != end][0]))
        ids[:, -1] = end
    with _evaluating(classifier):
        padded = network(ids, mask)[1].item()
        alone = network(ids[1:, _PADDING:], mask[1:, _PADDING:])[0].item()
    off = abs(padded - alone)
    if not off <= _tolerance(_SCORES, classifier.dtype) * (1 + abs(alone)):
        raise SourceError(
            f"{_name(classifier)} cannot be used here: padding changes the score of a row by {off:.2g} (it is "
            f"{alone:.2g}; expected no change); use a model of another family"
        )


@torch.no_grad()
def check_logprobs(policy: _Policy, lm: PreTrainedModel) -> None:
    """Refuse a model whose logits, as it samples, are not those that the policy's ``forward`` learns from.

    Args:
        policy: full, or sharded (collective then: every rank must call it).
        lm: the language model in it.

    Raises:
        SourceError: names the model and the difference.
    """
    ids, mask = _rows(lm)
    prompt = slice(0, ids.shape[1] - _NEW)
    with _evaluating(lm), generation_mode(lm), _stretched(lm) as dtypes:
        got = policy(ids, mask, num_targets=_NEW, temperature=1.0).logprobs
        output = policy.generate(
            ids[:, prompt],
            mask[:, prompt],
            max_new_tokens=_NEW,
            do_sample=False,
            pad_token_id=0,
            prefix_allowed_tokens_fn=lambda row, before: [int(ids[row, len(before)])],
            past_key_values=preallocated_cache(lm, capacity=ids.shape[1]),
            return_dict_in_generate=True,
            output_logits=True,
        )
    logits = torch.stack(output.logits, dim=1).cpu().double()
    own = logits.log_softmax(dim=-1).gather(-1, ids[:, -_NEW:, None].cpu()).squeeze(-1)
    off = (got.cpu() - own).abs().max().item()
    if not off <= _tolerance(_LOGPROBS, *dtypes):
        raise SourceError(
            f"{_name(lm)} cannot be used here: log-probabilities from its hidden states and head differ by {off:.2g} "
            "nats from those of its own logits in generation (expected the same); use a model of another family"
        )


def _rows(model: PreTrainedModel) -> tuple[Tensor, Tensor]:
    """Make two rows of tokens, the second with padding to its left, and their mask.

    What stands there is no pad token, whose embedding is zero in a fresh model: the mask alone says that it is padding.
    """
    tables = (model.get_input_embeddings(), model.get_output_embeddings())
    size = min(table.weight.shape[0] for table in tables if table is not None)
    pad = getattr(model.config.get_text_config(), "pad_token_id", None)
    tokens = [index for index in range(min(size, 5 * _ROW)) if index != pad]
    places = torch.arange(2 * _ROW).view(2, _ROW) * 7 % len(tokens)
    mask = torch.ones(2, _ROW, dtype=torch.bool)
    mask[1, :_PADDING] = False
    return torch.tensor(tokens)[places].to(model.device), mask.to(model.device)


@contextmanager
def _evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Switch to eval mode without autocast; turn exceptions into one-line SourceErrors."""
    was_training = model.training
    try:
        model.eval()
        with torch.autocast(model.device.type, enabled=False):
            yield
    except (SourceError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise SourceError(
            f"{_name(model)} cannot be used here: {first_line(error)}; use a model of another family"
        ) from error
    finally:
        model.train(was_training)


@contextmanager
def _stretched(lm: PreTrainedModel) -> Iterator[set[torch.dtype]]:
    """Scale up the backbone's hidden states.

    Yields:
        The dtypes of the states that passed by.
    """
    factors: list[Tensor] = []
    dtypes: set[torch.dtype] = set()

    def stretch(_module: Any, _args: Any, output: Any) -> Any:
        hidden = output.last_hidden_state
        dtypes.add(hidden.dtype)
        if not factors:
            factors.append(_SPREAD / lm.get_output_embeddings()(hidden).float().std())
        output.last_hidden_state = (hidden * factors[0]).to(hidden.dtype)
        return output

    below = body(lm)
    hook = getattr(below, "decoder", below).register_forward_hook(stretch)  # OPT's head passes over its body
    try:
        yield dtypes
    finally:
        hook.remove()


def _tolerance(of: tuple[float, float], *dtypes: torch.dtype) -> float:
    return of[bool({torch.bfloat16, torch.float16} & set(dtypes))]


def _name(model: PreTrainedModel) -> str:
    source = model.name_or_path
    return f"{source} ({type(model).__name__})" if source else type(model).__name__
