"""TL;DR: Reddit posts (and news articles) to summarise, with people's comparisons of two summaries.

Source of the format: class OpenAISummarizeDataset of ernie-research/MA-RLHF @ 807551d,
applications/DeepSpeed-Chat/dschat/utils/data/raw_datasets.py.
"""

from collections.abc import Mapping, Sequence

from lightning_marlhf.tasks.rows import (
    PreferenceText,
    Row,
    UnusableRow,
    fingerprint,
    optional_text,
    require_prompt,
    text,
    value,
    wrong,
)

HUB_ID = "openai/summarize_from_feedback"
HUB_CONFIG = "comparisons"
HUB_ROWS: Mapping[str, int] = {"train": 92_858, "validation": 86_086}
PROMPT_END = "\nTL;DR: "


def preference(row: Row) -> PreferenceText:
    r"""Read a comparison.

    The title is not used, and the prompt ends with a space. Summaries are unstripped; those of the Hub begin with a
    space, so that two spaces follow ``TL;DR:`` in the joined text.

    >>> info = {"post": "My cat left.", "subreddit": "cats", "article": None}
    >>> row = {"info": info, "summaries": [{"text": " Cat left."}, {"text": " Help."}], "choice": 1}
    >>> preference(row).prompt
    'POST\nSubreddit: r/cats\nMy cat left.\nTL;DR: '
    >>> preference(row).chosen
    ' Help.'
    """
    kind, content = _content(row)
    subreddit = optional_text(row, "info.subreddit")
    community = "" if subreddit is None else f"Subreddit: r/{subreddit}\n"
    summaries = _summaries(row)
    choice = value(row, "choice")
    if type(choice) is not int or choice not in (0, 1):
        raise wrong("choice", "0 or 1", choice)
    return PreferenceText(
        prompt=f"{kind}\n{community}{content}{PROMPT_END}",
        chosen=summaries[choice],
        rejected=summaries[1 - choice],
        group=fingerprint(content),
    )


def row_of(text: str) -> Row:
    """Make a stored row that holds nothing but ``text``, so that it is framed as the data's own rows are."""
    return {
        "info": {"post": text, "article": None, "subreddit": None},
        "summaries": [{"text": ""}, {"text": ""}],
        "choice": 0,
    }


def _content(row: Row) -> tuple[str, str]:
    """Find the post and its kind."""
    for kind, column in (("POST", "info.post"), ("ARTICLE", "info.article")):
        content = optional_text(row, column)
        if content is not None:
            require_prompt(content)
            return kind, content
    raise UnusableRow("neither post nor article")


def _summaries(row: Row) -> Sequence[str]:
    summaries = value(row, "summaries")
    if not isinstance(summaries, list) or len(summaries) != 2:
        raise wrong("summaries", "two summaries", summaries)
    return [text({"summaries": summary}, "summaries.text") for summary in summaries]
