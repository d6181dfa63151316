import numpy as np
import pytest
from tensorboard.plugins.text.text_plugin import text_array_to_html

from lightning_marlhf.callbacks.sample_text import facts, macro_text, sample_text
from lightning_marlhf.records import Completion

NASTY = [
    "<script>alert(1)</script>\n# heading\u2028![x](http://x)\n\n**bold**",
    "\n\n</code></pre><img src=x onerror=alert(1)>",
    "```\n<b>fence</b>\n```\n\n---\n\n- item\n\n[a](javascript:alert(1))",
    "| a | b |\n|---|---|\n| <i>1</i> | 2 |",
    "\t\x00\x1b[31m\u202egnp.exe\r\n\n&lt;b&gt;",
]


def record(prompt="p", response="r", trace=None, **changes):
    fields = {
        "sample_id": "s", "model": "m", "seed": 1, "step": 0, "num_tokens": 2, "ended": False,
        "scores": {"gold": 1.5}, "kl": 0.25,
    }  # fmt: skip
    return Completion(prompt=prompt, response=response, trace=trace, **fields | changes)


def traced(*tokens, index):
    return {"tokens": list(tokens), "macro_index": index}


def test_the_numbers_stand_above_prompt_and_response():
    shown = sample_text(record(prompt="a post", trace=traced("a", "b", "c", index=[0, 0, 1])))
    assert shown.split("\n\n") == [
        "**gold 1.5 · KL 0.25 nats · 2 tokens · 2 macro actions · cut off at the limit**",
        "Prompt",
        "    a post",
        "Response (`│` between macro actions)",
        "    ab│c",
    ]


@pytest.mark.parametrize("nasty", NASTY)
def test_text_from_a_model_stays_text_in_markdown(nasty):
    shown = sample_text(record(prompt=nasty, response=nasty))
    prompt, response = shown.partition("\n\nPrompt\n\n")[2].split("\n\nResponse\n\n")
    assert all(line.startswith("    ") for line in f"{prompt}\n{response}".splitlines())


@pytest.mark.parametrize("nasty", NASTY)
def test_in_tensorboard_only_our_own_elements_are_html(nasty):
    """TensorBoard's renderer gives two code blocks that hold what the model said, and no element of the model's."""
    html = str(
        text_array_to_html(np.array(sample_text(record(prompt=nasty, response=nasty))), True)
    )
    assert html.count("<pre><code>") == 2
    for _, block in zip(range(2), html.split("<pre><code>")[1:], strict=True):
        assert "<" not in block.split("</code></pre>")[0]
    outside = "".join(part.split("</code></pre>")[-1] for part in html.split("<pre><code>"))
    assert not {"alert", "onerror", "bold", "fence"} & set(outside.replace("(", " ").split())


@pytest.mark.parametrize(
    ("index", "expected"),
    [([0, 0, 1], "ab│c"), ([0, 1, 1], "a│bc"), ([0, 1, 2], "abc"), ([0, 0, 0], "abc"), ([], "")],
)
def test_bars_stand_between_macro_actions(index, expected):
    assert macro_text(record(trace=traced(*"abc"[: len(index)], index=index))) == expected


def test_an_empty_response_is_called_empty():
    shown = sample_text(record(response="", trace=traced(index=[]), num_tokens=0))
    assert shown.endswith("    (empty)")


def test_a_long_response_is_shown_whole():
    tokens = [f"word{n} " for n in range(512)]
    shown = sample_text(record(trace=traced(*tokens, index=[n // 5 for n in range(512)])))
    lines = shown.partition("macro actions)\n\n")[2].splitlines()
    assert max(map(len, lines)) <= 4 + 110
    joined = " ".join(line.strip() for line in lines)
    assert joined.replace("│", "").split() == "".join(tokens).split()
    assert joined.count("│") == 102  # 103 macro actions of 5 tokens


def test_a_score_name_cannot_be_markup_and_a_missing_kl_is_left_out():
    assert facts(record(scores={"<b>rm": 1.0}, kl=None, ended=True)) == [" b rm 1", "2 tokens"]


def test_one_is_singular():
    row = record(num_tokens=1, trace=traced("a", index=[0]), scores={}, kl=None, ended=True)
    assert facts(row) == ["1 token", "1 macro action"]
