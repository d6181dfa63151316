"""HH-RLHF: dialogues with an assistant, with people's choice between two replies (Dahoas/full-hh-rlhf)."""

from typing import Any

from lightning_marlhf.data.reading import PreferenceReader, Reader
from lightning_marlhf.data.source import HubData
from lightning_marlhf.data.text import TextData
from lightning_marlhf.tasks import hh_rlhf


class HHRLHF(TextData):
    """Dialogues whose last reply is to be written, helpful and harmless ones together.

    The paper's runs: ``split_by: row``, ``tokenize: joined``, phases 2,4,4 with seed 1234.

    Args:
        source: a Hub id, or a folder or file with ``prompt``, ``chosen`` and ``rejected``, or with the transcripts of
            anthropics/hh-rlhf (``chosen`` and ``rejected``, each with the whole dialogue).
        **settings: of `TextData`.
    """

    name = "hh_rlhf"
    hub = HubData(hh_rlhf.HUB_ID, hh_rlhf.HUB_ROWS)

    def __init__(self, *, source: str = hh_rlhf.HUB_ID, **settings: Any) -> None:
        super().__init__(source=source, **settings)

    def reader(self) -> Reader:
        """Read comparisons."""
        return PreferenceReader(hh_rlhf.preference, self.stage)
