"""Converts experience into completion records, and gathers them over ranks."""

import math
from dataclasses import asdict, is_dataclass
from itertools import zip_longest
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from transformers import PreTrainedTokenizerBase

from lightning_marlhf.callbacks.ranks import gather_objects
from lightning_marlhf.modules.data_protocol import data_of
from lightning_marlhf.records import Completion, TokenTrace
from lightning_marlhf.types import Experience

_DIGITS = 5
_SPACES = ("▁", "Ġ", " ")  # how sentencepiece and byte-level BPE mark a leading space


def records_of(
    trainer: Trainer,
    pl_module: LightningModule,
    experience: Experience,
    *,
    step: int,
    num_rows: int | None = None,
    num_traces: int = 0,
) -> list[Completion]:
    """Turn the first ``num_rows`` rows (None: all) of an experience into records, in order.

    Args:
        trainer: trainer of the run; its data has the tokenizer and the seed.
        pl_module: module that sampled, for the sampling settings.
        experience: result of a rollout.
        step: optimizer updates of the policy when it sampled.
        num_rows: number of rows taken.
        num_traces: number of them that keep a trace, token by token.
    """
    data, settings = data_of(trainer), sampling_of(pl_module)
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
            model=str(trainer.default_root_dir),
            seed=data.seed,
            step=step,
            num_tokens=lengths[row],
            ended=bool(rollout.ended[row]),
            scores=scores_of(rows, row),
            kl=round(kl[row], _DIGITS),
            reference=prompts.references[row],
            settings=dict(settings),
            trace=vars(trace_of(rows, row, data.tokenizer)) if row < num_traces else None,
            prompt_ids=prompts.input_ids[row][prompts.attention_mask[row]].tolist(),
            response_ids=rollout.response_ids[row][rollout.response_mask[row]].tolist(),
            messages=turns and [dict(turn) for turn in turns],
        )
        for row, turns in enumerate(prompts.messages)
    ]


def scores_of(experience: Experience, row: int) -> dict[str, float]:
    """Return a row's score by each scorer; just "score" if the scorer has no details, none if it has no score."""
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
        **{name: [round(x, _DIGITS) for x in values[row][mask].tolist()] for name, values in numbers.items()},
    )


def token_pieces(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[str]:
    """Return each token as readable text: special tokens by name, a leading space kept.

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


def sampling_of(pl_module: LightningModule) -> dict[str, Any]:
    """Return the settings by which a module samples; none if it does not sample."""
    sampling = getattr(pl_module, "sampling", None)
    known = is_dataclass(sampling) and not isinstance(sampling, type)
    settings = asdict(sampling) if known else {}  # type: ignore[arg-type]
    return {name: value for name, value in settings.items() if value != ()}


def gather_rows(rows: list[Completion], trainer: Trainer) -> list[Completion]:
    """Return the rows of all ranks in the order of the data, each sample once.

    Samplers deal rows out in turn, and repeat some to fill the last batch. Collective: every rank must call it.
    """
    if trainer.world_size == 1:
        return rows
    parts = gather_objects(trainer, rows)
    by_id: dict[str, Completion] = {}
    for row in (row for turn in zip_longest(*parts) for row in turn if row is not None):
        by_id.setdefault(row.sample_id, row)
    return list(by_id.values())
