"""Experience into the records that people and reports read."""

import math
from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedTokenizerBase

from lightning_marlhf.records import Completion, TokenTrace
from lightning_marlhf.types import Experience, Messages

_DIGITS = 5
_SPACES = ("▁", "Ġ", " ")  # how sentencepiece and byte-level BPE mark a leading space


def experience_to_completions(
    experience: Experience,
    tokenizer: PreTrainedTokenizerBase,
    *,
    model: str,
    seed: int,
    step: int,
    settings: Mapping[str, Any] | None = None,
    num_rows: int | None = None,
    num_traces: int = 0,
) -> list[Completion]:
    """Turn the first ``num_rows`` rows (all for None) of an experience into records, in order.

    Args:
        experience: what a rollout gave.
        tokenizer: of the policy.
        model: path or Hub id of the policy.
        seed: of the run.
        step: optimizer updates of the policy when it answered.
        settings: of the sampling.
        num_rows: how many rows are taken.
        num_traces: how many of them keep a trace, token by token.
    """
    size = len(experience) if num_rows is None else min(num_rows, len(experience))
    rows = experience.rows(slice(0, size)).to("cpu")
    rollout, prompts = rows.rollout, rows.rollout.prompts
    lengths = rollout.response_mask.sum(dim=1).tolist()
    kl = (rows.kl * rollout.response_mask).sum(dim=1).tolist()
    return [
        Completion(
            sample_id=prompts.sample_ids[row],
            prompt=prompts.texts[row],
            response=rollout.texts[row],
            model=model,
            seed=seed,
            step=step,
            num_tokens=lengths[row],
            ended=bool(rollout.ended[row]),
            scores=scores_of(rows, row),
            kl=round(kl[row], _DIGITS),
            reference=prompts.references[row],
            settings=dict(settings or {}),
            trace=vars(trace_of(rows, row, tokenizer)) if row < num_traces else None,
            prompt_ids=prompts.input_ids[row][prompts.attention_mask[row]].tolist(),
            response_ids=rollout.response_ids[row][rollout.response_mask[row]].tolist(),
            messages=_to_json(prompts.messages[row]),
        )
        for row in range(size)
    ]


def _to_json(messages: Messages | None) -> list[dict[str, str]] | None:
    return None if messages is None else [dict(turn) for turn in messages]


def scores_of(experience: Experience, row: int) -> dict[str, float]:
    """Return a row's score by each scorer; just "score" where the scorer has no details, none where it has no score."""
    details = experience.details[row]
    if not details and experience.valid[row]:
        details = {"score": float(experience.raw_scores[row])}
    return {name: round(value, _DIGITS) for name, value in details.items() if not math.isnan(value)}


def trace_of(experience: Experience, row: int, tokenizer: PreTrainedTokenizerBase) -> TokenTrace:
    """Return a row token by token, without its padding."""
    mask = experience.rollout.response_mask[row]
    ids = experience.rollout.response_ids[row][mask].tolist()
    numbers = {
        "values": experience.old_values,
        "rewards": experience.token_rewards,
        "advantages": experience.advantages,
        "kl": experience.kl,
    }
    return TokenTrace(
        tokens=token_pieces(tokenizer, ids),
        macro_index=experience.macro_actions.index[row][mask].tolist(),
        **{
            name: [round(x, _DIGITS) for x in values[row][mask].tolist()]
            for name, values in numbers.items()
        },
    )


def token_pieces(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[str]:
    """Return each token as readable text, special tokens by name, a leading space kept.

    A character that is spread over several tokens shows as the replacement character in each, an id that is no token of
    the tokenizer as "<id 330>".
    """
    pieces = [tokenizer.decode([token], clean_up_tokenization_spaces=False) for token in ids]
    names = tokenizer.convert_ids_to_tokens(ids)
    return [
        f"<id {index}>"
        if name is None
        else f" {piece}"
        if name.startswith(_SPACES) and not piece.startswith(" ")
        else str(piece)
        for index, piece, name in zip(ids, pieces, names, strict=True)
    ]
