"""Tokenises the texts of one stage; drops or truncates long rows, and counts them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from datasets import Dataset, Features, Value
from datasets import List as ListOf
from torch.utils.data import Dataset as TorchDataset
from transformers import PreTrainedTokenizerBase

from lightning_marlhf.data.base import Stage
from lightning_marlhf.data.cache import cached_map
from lightning_marlhf.data.examples import (
    Example,
    PromptExample,
    TokenizedDemonstration,
    TokenizedPreference,
    TokenizedPrompt,
)
from lightning_marlhf.hub.tokenizer import Pair, Tokens, encode_pairs, encode_prompts
from lightning_marlhf.hub.vocabulary import fingerprint

Truncate = Literal["response", "prompt", "drop"]
_LONGEST_TEXT = 1_000_000  # characters: no context holds more, and a word of 50 million takes a tokenizer many minutes
_EXAMPLES = 5  # rows that are named for each reason
_IDS = ListOf(Value("int32"))
_COLUMNS = {
    "row": Value("int64"),
    "part": Value("int32"),  # which of the row's responses
    "prompt": Value("string"),
    "reference": Value("string"),
    "messages": Value("string"),  # "" or missing if the prompt is plain text
    "unusable": Value("string"),  # reason for dropping the row, or ""
    "remark": Value("string"),
    "truncated": Value("bool"),
    "length": Value("int32"),  # tokens of the longest sequence of the row
}
_IDS_OF_STAGE = {
    "sft": {"input_ids": _IDS, "response_start": Value("int32")},
    "reward_model": {"chosen_ids": _IDS, "rejected_ids": _IDS},
    "ppo": {"prompt_ids": _IDS},
}


@dataclass(frozen=True)
class Encoding:
    """Settings of tokenisation.

    Attributes:
        max_length: Tokens of prompt, response and EOS together, in rows with responses.
        max_prompt_length: Tokens of a prompt without a response; longer ones are dropped.
        truncate: End to truncate in rows that are too long; "drop" drops them.
        keep_eos: A cut response still ends with EOS.
        joined: Tokenise prompt and response as one text.
        special_tokens: Let the tokenizer add its own (BOS); chat templates bring theirs.
    """

    max_length: int
    max_prompt_length: int
    truncate: Truncate
    keep_eos: bool
    joined: bool
    special_tokens: bool = True


def encode(
    texts: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    encoding: Encoding,
    *,
    stage: str,
    where: str,
    processes: int | None,
) -> Dataset:
    """Tokenise the rows of a phase.

    Args:
        texts: Rows of `read_texts`.
        tokenizer: The model's tokenizer.
        encoding: Length limits and the policy for longer rows.
        stage: "sft" gives a row for every response, "reward_model" and "ppo" one for every text row.
        where: Names the split on the progress bar.
        processes: Number of processes; None decides by the number of rows.

    Returns:
        Rows with ``input_ids`` and ``response_start`` (sft), ``chosen_ids`` and ``rejected_ids`` (reward_model), all
        with EOS, or ``prompt_ids`` (ppo). Rows to be dropped are included, without ids and with the reason.
    """
    return cached_map(
        texts,
        _encode_batch,
        settings={"tokenizer": tokenizer, "encoding": encoding, "stage": stage},
        features=Features({**_COLUMNS, **_IDS_OF_STAGE[stage]}),
        key=("tokens of one BOS and one end", stage, repr(encoding), fingerprint(tokenizer), *_COLUMNS),
        processes=processes,
        title=f"tokenising {where}",
    )


def _encode_batch(
    columns: Mapping[str, Sequence[Any]],
    _: Sequence[int],
    *,
    tokenizer: PreTrainedTokenizerBase,
    encoding: Encoding,
    stage: str,
) -> dict[str, list[Any]]:
    plain = {"messages": ""}
    texts = (
        _without_endless_text(plain | dict(zip(columns, row, strict=True)))
        for row in zip(*columns.values(), strict=True)
    )
    rows, responses = zip(*(pair for text in texts for pair in _with_responses(text, stage)), strict=True)
    prompts = [row["prompt"] for row in rows]
    if stage == "ppo":
        ids = encode_prompts(tokenizer, prompts, special_tokens=encoding.special_tokens)
        encoded = [_fit_prompt(prompt, encoding) for prompt in ids]
    else:
        columns_of_pairs = [
            encode_pairs(
                tokenizer, prompts, texts_of_one, joined=encoding.joined, special_tokens=encoding.special_tokens
            )
            for texts_of_one in zip(*responses, strict=True)
        ]
        bos = tokenizer.bos_token_id
        encoded = [_fit(row, stage, encoding, bos=bos) for row in zip(*columns_of_pairs, strict=True)]
    done = [
        {**row, **ids, "unusable": row["unusable"] or ids["unusable"]} for row, ids in zip(rows, encoded, strict=True)
    ]
    return {name: [row[name] for row in done] for name in (*_COLUMNS, *_IDS_OF_STAGE[stage])}


def _without_endless_text(row: dict[str, Any]) -> dict[str, Any]:
    """Drop a row, before it is tokenised, one of whose texts is longer than any context."""
    texts = (row["prompt"], row["rejected"], *(row["responses"] or ()))
    if all(len(text or "") <= _LONGEST_TEXT for text in texts):
        return row
    problem = row["unusable"] or f"a text of more than {_LONGEST_TEXT:,} characters"
    return {**row, "prompt": "", "rejected": "", "responses": [""], "unusable": problem}


def _with_responses(text: Mapping[str, Any], stage: str) -> Iterator[tuple[dict[str, Any], tuple[str, ...]]]:
    """Yield each row that a text becomes, with its responses: one, chosen and rejected, or none."""
    first, *others = text["responses"] or [""]
    yield ({**text, "part": 0}, {"sft": (first,), "reward_model": (first, text["rejected"])}.get(stage, ()))
    if stage == "sft":
        yield from (({**text, "part": part}, (response,)) for part, response in enumerate(others, start=1))


def _fit_prompt(prompt: Tokens, encoding: Encoding) -> dict[str, Any]:
    too_long = len(prompt) > encoding.max_prompt_length
    problem = f"prompt longer than max_prompt_length ({encoding.max_prompt_length} tokens)"
    return {"prompt_ids": prompt, "length": len(prompt), "truncated": False, "unusable": problem if too_long else ""}


def _fit(pairs: Sequence[Pair], stage: str, encoding: Encoding, *, bos: int | None) -> dict[str, Any]:
    """Truncate the pairs of a row to the limit, or return the reason why not."""
    fitted = _cut(pairs, encoding, bos=bos)
    problem = fitted if isinstance(fitted, str) else ""
    kept = pairs if isinstance(fitted, str) else fitted
    rows = [[*pair.prompt, *pair.response] for pair in kept]
    common = {"length": max(map(len, rows)), "truncated": kept is not pairs, "unusable": problem}
    if stage == "sft":
        return {**common, "input_ids": rows[0], "response_start": len(kept[0].prompt)}
    if rows[0] == rows[1] and not problem:
        common["unusable"] = "chosen and rejected are the same tokens"
    return {**common, "chosen_ids": rows[0], "rejected_ids": rows[1]}


def _cut(pairs: Sequence[Pair], encoding: Encoding, *, bos: int | None) -> Sequence[Pair] | str:
    limit = encoding.max_length
    prompt = max(len(pair.prompt) for pair in pairs)
    response = max(len(pair.response) for pair in pairs)
    if all(len(pair.prompt) + len(pair.response) <= limit for pair in pairs):
        return pairs
    if encoding.truncate == "drop":
        return f"longer than max_length ({limit} tokens)"
    if encoding.truncate == "prompt":
        if response > limit - 2:
            return f"response fills max_length ({limit} tokens)"
        return [_cut_prompt(pair, limit - response, bos=bos) for pair in pairs]
    if prompt > limit - 2:
        return f"prompt fills max_length ({limit} tokens)"
    return [_cut_response(pair, limit - len(pair.prompt), encoding.keep_eos) for pair in pairs]


def _cut_prompt(pair: Pair, room: int, *, bos: int | None) -> Pair:
    """Cut the beginning of a prompt, but for its BOS."""
    excess = max(0, len(pair.prompt) - room)
    kept = 1 if pair.prompt[:1] == [bos] else 0
    return Pair([*pair.prompt[:kept], *pair.prompt[kept + excess :]], pair.response)


def _cut_response(pair: Pair, room: int, keep_eos: bool) -> Pair:
    if len(pair.response) <= room:
        return pair
    end = pair.response[-1:] if keep_eos else []
    return Pair(pair.prompt, [*pair.response[: room - len(end)], *end])


class TokenizedRows(TorchDataset[Example]):
    """Rows that `encode` made and that are used.

    Args:
        rows: The usable rows.
        stage: Kind of the rows.
        name: Data set and stored split; with the row number it is the stable sample id.
        times: Samples per prompt, adjacent, with ids of their own (``.../0``, ``.../1``).
    """

    def __init__(self, rows: Dataset, *, stage: Stage, name: str, times: int = 1) -> None:
        self.rows = rows
        self.stage = stage
        self.name = name
        self.times = times

    def __len__(self) -> int:
        return len(self.rows) * self.times

    def __getitem__(self, index: int) -> Example:
        position, time = divmod(index, self.times)
        row: dict[str, Any] = self.rows[position]
        if self.stage == "sft":
            return TokenizedDemonstration(row["input_ids"], row["response_start"])
        if self.stage == "reward_model":
            return TokenizedPreference(row["chosen_ids"], row["rejected_ids"])
        reference = json.loads(row["reference"]) if row["reference"] else None
        sample_id = f"{self.name}/{row['row']}" + (f"/{time}" if self.times > 1 else "")
        messages = json.loads(row["messages"]) if row["messages"] else None
        example = PromptExample(sample_id, row["prompt"], reference, messages)
        return TokenizedPrompt(example, row["prompt_ids"])


@dataclass(frozen=True)
class RowCounts:
    """Counts of a tokenised split: by reason, the numbers of the rows in the source, from 0."""

    rows: int
    dropped: Mapping[str, Sequence[int]]
    truncated: Mapping[str, Sequence[int]]  # used, but for one end
    remarks: Mapping[str, Sequence[int]]  # rows that are used all the same

    @property
    def kept(self) -> int:
        """Count the rows that are used."""
        return self.rows - sum(len(rows) for rows in self.dropped.values())

    def lines(self) -> list[str]:
        """Describe dropped, truncated and remarked rows, one reason per line, with the first row numbers (from 1)."""
        found = {"dropped": self.dropped, "cut": self.truncated, "kept with a remark": self.remarks}
        return [
            f"{len(rows):,} of {self.rows:,} rows {what}: {reason} ({_numbers(rows)})"
            for what, reasons in found.items()
            for reason, rows in reasons.items()
        ]


def count_rows(encoded: Dataset) -> RowCounts:
    """Count the rows that `encode` or `read_texts` marked."""
    uncut = {"truncated": [False] * len(encoded)}
    names = ("row", "unusable", "remark", "truncated")
    columns = (encoded[n][:] if n in encoded.column_names else uncut[n] for n in names)
    dropped: dict[str, list[int]] = {}
    truncated: dict[str, list[int]] = {}
    remarks: dict[str, list[int]] = {}
    for row, unusable, remark, cut in zip(*columns, strict=True):
        if unusable:
            dropped.setdefault(unusable, []).append(row)
        if remark and not unusable:
            remarks.setdefault(remark, []).append(row)
        if cut and not unusable:
            truncated.setdefault("longer than max_length", []).append(row)
    return RowCounts(len(encoded), dropped, truncated, remarks)


def _numbers(rows: Sequence[int]) -> str:
    different = list(dict.fromkeys(rows))
    shown = ", ".join(f"{row + 1}" for row in different[:_EXAMPLES])
    more = ", ..." if len(different) > _EXAMPLES else ""
    return f"{'row' if len(different) == 1 else 'rows'} {shown}{more}"
