import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.plugins.text.text_plugin import text_array_to_html

from lightning_marlhf.callbacks.tensorboard_samples import (
    TensorBoardSamples,
    draw_rollout,
    macro_lengths_and_advantages,
    macro_text,
    sample_text,
)
from lightning_marlhf.display.rollout_text import facts
from lightning_marlhf.loggers.tensorboard import TensorBoard, describe
from lightning_marlhf.records import Completion
from lightning_marlhf.types import MacroActions
from tests.callbacks.events import events, texts
from tests.callbacks.tiny import TinyData, TinyModule, build_experience, build_trainer


def fit(folder, samples, module=None, **settings):
    trainer = build_trainer(folder, samples, logger=TensorBoard(folder), **settings)
    trainer.fit(module or TinyModule(), datamodule=TinyData())
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of a run of 24 updates with a validation after every 12."""
    samples = TensorBoardSamples(every_n_steps=12, num_rows=2, num_pictures=1)
    return fit(tmp_path_factory.mktemp("run"), samples, limit_val_batches=2, val_check_interval=3)


def cut(experience, index, advantages):
    """Put other macro actions and advantages into an experience."""
    index = torch.tensor(index)
    count = index.max(dim=1).values + 1
    actions = MacroActions(index=index, count=count, width=int(count.max()))
    nothing = torch.zeros(len(index), actions.width)
    return replace(
        experience,
        macro_actions=actions,
        macro_rewards=nothing,
        macro_returns=torch.tensor(advantages) + 5.0,
        macro_values=nothing + 5.0,
        macro_advantages=nothing,
    )


def test_everything_is_written_when_a_multiple_is_reached(written):
    found = events(written)
    histograms = found.Tags()["histograms"]
    assert set(histograms) == {"scores/rollout", "advantages/rollout", "macro/lengths", "scores/held_out"}
    assert found.Tags()["images"] == ["samples/response_1", "macro/advantage_var_by_length"]
    for tag in histograms:
        assert [event.step for event in found.Histograms(tag)][-3:] == [4, 12, 24][tag == "scores/held_out" :]
    for tag in found.Tags()["images"]:
        assert [event.step for event in found.Images(tag)] == [4, 12, 24]
    shown = texts(written, "samples")
    assert list(shown) == [4, 12, 24]
    assert "ab│ c│d<eos>" in shown[4]
    assert "gold 0 · KL 3 nats · 6 tokens · 3 macro actions" in shown[4]


def test_whatever_a_run_writes_has_a_description(written):
    found = events(written)
    tags = [tag for kind in ("scalars", "histograms", "images") for tag in found.Tags()[kind]]
    assert {"objective/kl", "eval/gold"} <= set(tags)
    for tag in [*tags, "samples/text_summary"]:
        assert found.summary_metadata[tag].summary_description == describe(tag) != ""


@pytest.mark.parametrize(("updates", "every"), [(4, 1), (24, 2), (4_000, 40)])
def test_a_run_shows_about_ten_steps_and_a_long_one_every_40_updates(tmp_path, updates, every):
    samples = TensorBoardSamples()
    samples.on_train_start(build_trainer(tmp_path, max_steps=updates), TinyModule())
    assert samples.every == every


def test_a_picture_can_be_looked_at(written):
    image = events(written).Images("samples/response_1")[0]
    picture = Image.open(io.BytesIO(image.encoded_image_string))
    assert picture.size == (image.width, image.height)
    assert len(picture.convert("RGB").getcolors(maxcolors=100_000)) > 10  # not blank


def test_the_histogram_of_macro_lengths_is_that_of_the_record(written):
    # "ab cd" and "abc" with their EOS in pairs: lengths 2, 2, 2 and 2, 2
    value = events(written).Histograms("macro/lengths")[0].histogram_value
    assert (value.min, value.max, value.num, value.sum) == (2.0, 2.0, 5.0, 10.0)
    filled = [n for n, count in enumerate(value.bucket) if count]
    assert [(value.bucket_limit[n], value.bucket[n]) for n in filled] == [(2.5, 5.0)]


def test_the_scores_of_held_out_prompts_have_a_histogram(written):
    value = events(written).Histograms("scores/held_out")[0].histogram_value
    assert (value.num, value.sum) == (4, 2)  # two batches of two rows, with scores 0 and 1


def test_lengths_and_advantages_of_macro_actions_stand_in_the_same_order():
    # rows of 6 and 4 tokens, cut into 1, 3, 2 and 4 tokens; -1 is padding
    experience = cut(
        build_experience(), [[0, 1, 1, 1, 2, 2], [0, 0, 0, 0, -1, -1]], [[10.0, 20.0, 30.0], [40.0, 99.0, 99.0]]
    )
    lengths, advantages = macro_lengths_and_advantages(experience)
    assert lengths.tolist() == [1, 3, 2, 4]
    assert advantages.tolist() == [10.0, 20.0, 30.0, 40.0]


def test_rows_of_one_macro_action_each_are_not_taken_for_one():
    experience = cut(build_experience(), [[0] * 6, [0] * 4 + [-1] * 2], [[1.0], [2.0]])
    lengths, advantages = macro_lengths_and_advantages(experience)
    assert (lengths.tolist(), advantages.tolist()) == ([6, 4], [1.0, 2.0])


def test_the_points_of_the_picture_are_the_variances():
    experience = cut(build_experience(), [[0, 0, 0, 1, 1, 1], [0, 0, 0, 1, -1, -1]], [[10.0, 20.0], [30.0, 40.0]])
    axes = draw_rollout(experience, [])["macro/advantage_var_by_length"].axes[0]
    # 3 tokens: 10, 20 and 30, mean 20, so (100 + 0 + 100) / 2; 1 token: 40 alone has no variance
    assert axes.collections[0].get_offsets().tolist() == [[3.0, 100.0]]


def test_responses_that_teach_nothing_are_written_without_a_picture(tmp_path):
    class Empty(TinyModule):
        def training_step(self, batch, batch_idx):
            super().training_step(batch, batch_idx)
            rows = build_experience()
            mask = torch.zeros_like(rows.rollout.response_mask)
            rows = cut(rows, [[-1] * 6, [-1] * 6], torch.zeros(2, 0).tolist())
            return {"experience": replace(rows, rollout=replace(rows.rollout, response_mask=mask))}

    folder = fit(tmp_path, TensorBoardSamples(), Empty(), max_steps=4)
    assert events(folder).Tags()["images"] == ["macro/advantage_var_by_length"]
    assert texts(folder, "samples")[4].count("    (empty)") == 2


def test_a_response_of_one_token_is_drawn():
    numbers = {"values": [0.5], "rewards": [1.0], "advantages": [2.0], "kl": [0.1]}
    row = record(trace={**traced("<eos>", index=[0]), **numbers}, num_tokens=1)
    figure = draw_rollout(build_experience(), [row])["samples/response_1"]
    assert figure.texts[0].get_text() == "One response in macro actions"
    _, advantages, values, kl = figure.axes
    assert advantages.patches[0].get_height() == 2.0
    assert values.lines[-1].get_ydata().tolist() == [0.5]
    assert kl.patches[0].get_height() == 0.1


def test_an_interval_of_no_updates_is_refused():
    with pytest.raises(ValueError, match="every_n_steps: expected at least 1, got 0"):
        TensorBoardSamples(every_n_steps=0)


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
    html = str(text_array_to_html(np.array(sample_text(record(prompt=nasty, response=nasty))), True))
    assert html.count("<pre><code>") == 2
    for _, block in zip(range(2), html.split("<pre><code>")[1:], strict=True):
        assert "<" not in block.split("</code></pre>")[0]
    outside = "".join(part.split("</code></pre>")[-1] for part in html.split("<pre><code>"))
    assert not {"alert", "onerror", "bold", "fence"} & set(outside.replace("(", " ").split())


@pytest.mark.parametrize(
    ("index", "expected"), [([0, 0, 1], "ab│c"), ([0, 1, 1], "a│bc"), ([0, 1, 2], "abc"), ([0, 0, 0], "abc"), ([], "")]
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
