"""HH-RLHF: dialogues of people with an assistant, with people's choice between two last replies.

Source of the format: class DahoasFullhhrlhfDataset of ernie-research/MA-RLHF @ 807551d,
applications/DeepSpeed-Chat/dschat/utils/data/raw_datasets.py. Full transcripts are
those of anthropics/hh-rlhf @ 354e5c3.
"""

from collections.abc import Mapping

from lightning_marlhf.tasks import dialogue
from lightning_marlhf.tasks.rows import PreferenceText, Row, UnusableRow, fingerprint, require_prompt, text

HUB_ID = "Dahoas/full-hh-rlhf"
HUB_ROWS: Mapping[str, int] = {"train": 112_052, "test": 12_451}

PROMPT_END = dialogue.ASSISTANT


def preference(row: Row) -> PreferenceText:
    r"""Read a comparison: prompt and two replies verbatim, or two full transcripts that differ in the last reply.

    >>> start = "\n\nHuman: Hi\n\nAssistant:"
    >>> preference({"chosen": start + " Hello!", "rejected": start + " What?"}).chosen
    ' Hello!'
    """
    if "prompt" in row:
        prompt, chosen, rejected = (text(row, name) for name in ("prompt", "chosen", "rejected"))
    else:
        prompt, chosen = split(text(row, "chosen"))
        other, rejected = split(text(row, "rejected"))
        if prompt != other:
            raise UnusableRow("chosen and rejected have different prompts")
    require_prompt(prompt)
    return PreferenceText(prompt, chosen, rejected, group=fingerprint(_first_turn(prompt)))


def row_of(text: str) -> Row:
    """Make a stored row that holds nothing but ``text``, so that it is framed as the data's own rows are."""
    return {"prompt": dialogue.to_text([{"role": "user", "content": text}]), "chosen": "", "rejected": ""}


def split(transcript: str) -> tuple[str, str]:
    """Cut a transcript before its last reply."""
    head, mark, reply = transcript.rpartition(dialogue.ASSISTANT)
    if not mark:
        raise UnusableRow("transcript without a reply of the assistant")
    return head + mark, reply


def _first_turn(prompt: str) -> str:
    """Return the dialogue's first turn, shared by rows cut from the same dialogue."""
    return prompt.removeprefix(dialogue.HUMAN).partition(dialogue.ASSISTANT)[0]
