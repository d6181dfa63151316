"""TL;DR: posts to summarise, with people's comparisons of summaries (openai/summarize_from_feedback)."""

from typing import Any

from lightning_marlhf.data.reading import PreferenceReader, Reader
from lightning_marlhf.data.source import HubData
from lightning_marlhf.data.text import TextData
from lightning_marlhf.tasks import tldr


class TLDR(TextData):
    """Reddit posts (and a few news articles) with comparisons of two summaries.

    The paper's runs: ``split_by: row``, ``tokenize: joined``, phases 2,4,4 with seed 1234.

    Args:
        source: a Hub id, or a folder or file with rows of the same columns (``info``, ``summaries``, ``choice``).
        **settings: of `TextData`.
    """

    name = "tldr"
    hub = HubData(tldr.HUB_ID, tldr.HUB_ROWS, tldr.HUB_CONFIG)

    def __init__(self, *, source: str = tldr.HUB_ID, **settings: Any) -> None:
        super().__init__(source=source, **settings)

    def reader(self) -> Reader:
        """Read comparisons."""
        return PreferenceReader(tldr.preference, self.stage)
