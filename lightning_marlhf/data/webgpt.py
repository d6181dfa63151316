"""WebGPT: long answers to questions, compared by people (openai/webgpt_comparisons)."""

from functools import partial
from typing import Any, Literal

from lightning_marlhf.data.reading import PreferenceReader, Reader
from lightning_marlhf.data.source import HubData
from lightning_marlhf.data.text import TextData
from lightning_marlhf.tasks import webgpt


class WebGPT(TextData):
    """Questions with two answers each, found by browsing the web.

    The paper's runs: ``split_by: row``, ``tokenize: joined``, ``ties: keep``, ``brackets: all``, phases 2,4,4 with seed
    1234 over 95 % of the rows; the other 5 % are held out. A source with a validation split of its own keeps it.

    Args:
        source: a Hub id, or a folder or file with rows of the same columns (``question``, ``answer_0``, ...).
        ties: pairs of equal scores say nothing to a reward model: "drop" them there, or "keep" the first answer as the
            better one, as the paper's runs did.
        brackets: what is cut out of answers: "citations" such as [1], or "all" that stands in round or square brackets,
            as in the paper's runs.
        **settings: of `TextData`.
    """

    name = "webgpt"
    hub = HubData(webgpt.HUB_ID, webgpt.HUB_ROWS)
    holds_out = True
    shuffled_evaluation = False

    def __init__(
        self,
        *,
        source: str = webgpt.HUB_ID,
        ties: Literal["drop", "keep"] = "drop",
        brackets: webgpt.Brackets = "citations",
        **settings: Any,
    ) -> None:
        super().__init__(source=source, **settings)
        self.ties = ties
        self.brackets = brackets

    def reader(self) -> Reader:
        """Read comparisons."""
        read = partial(webgpt.preference, brackets=self.brackets)
        return PreferenceReader(read, self.stage, drop_ties=self.ties == "drop")
