import io
import re
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from lightning_marlhf.callbacks import banner, eta, progress
from lightning_marlhf.callbacks.checkpoint import Checkpoint
from lightning_marlhf.callbacks.eta import Pace
from tests.callbacks.tiny import TinyData, TinyModule, build_trainer


@pytest.fixture
def screen(monkeypatch):
    """Catches what is printed; a call makes it a terminal or not."""

    def use(*, terminal):
        caught = Console(file=io.StringIO(), force_terminal=terminal, width=160)
        for module in (banner, progress):
            monkeypatch.setattr(module, "console", lambda: caught)
        return caught.file

    return use


def fit(tmp_path, *callbacks, **options):
    trainer = build_trainer(tmp_path, *callbacks, **options)
    trainer.fit(TinyModule(), datamodule=TinyData())
    return trainer


def test_the_time_left_counts_neither_the_start_up_nor_the_first_batch(monkeypatch):
    now = 0.0
    monkeypatch.setattr(eta.time, "monotonic", lambda: now)
    session = Pace(step=40, total=100)
    now = 100.0
    session.begin_batch(40)
    assert session.eta_s(40) is None
    now = 150.0
    assert session.eta_s(50) == pytest.approx(250.0)  # 10 updates in 50 s, 50 to go
    now = 155.0
    session.begin_batch(50)
    now = 165.0
    assert session.eta_s(60) == pytest.approx(40.0)  # 10 updates in 10 s, 40 to go
    now = 175.0
    session.begin_batch(60)
    assert session.eta_s(70) == pytest.approx(30.0)  # 20 updates in 20 s
    assert session.seconds == 175.0


def test_where_a_run_has_no_end_there_is_a_pace_and_no_time_left(monkeypatch):
    now = 0.0
    monkeypatch.setattr(eta.time, "monotonic", lambda: now)
    session = Pace(step=0, total=None)
    session.begin_batch(0)
    now = 10.0
    assert (session.seconds_per_update(5), session.eta_s(5)) == (2.0, None)


def test_without_a_terminal_there_are_few_lines(tmp_path, screen):
    text = screen(terminal=False)
    fit(tmp_path, progress.UpdateProgress(), enable_progress_bar=True)
    (line,) = text.getvalue().splitlines()
    assert re.fullmatch(r"update 24/24  objective/scores 24  objective/kl 12  .+ so far", line)


def test_lines_come_at_the_pace_asked_for(tmp_path, screen):
    text = screen(terminal=False)
    bar = progress.UpdateProgress(line_every_s=0.0)
    fit(tmp_path, bar, enable_progress_bar=True)
    lines = text.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["4/24", "8/24", "12/24", "16/24", "20/24", "24/24", "24/24"]
    assert "left" in lines[0]


def test_on_a_terminal_a_bar_counts_updates(tmp_path, screen):
    text = screen(terminal=True)
    fit(tmp_path, progress.UpdateProgress(), enable_progress_bar=True)
    assert "24/24" in text.getvalue()
    assert "objective/scores 24" in text.getvalue()


def test_the_banner_says_what_will_happen_and_how_long_it_takes(tmp_path, screen):
    text = screen(terminal=False)
    saver = Checkpoint(every_n_train_steps=6, monitor="eval/gold")
    fit(tmp_path, banner.StartBanner(), saver, enable_checkpointing=True)
    shown = text.getvalue()
    for expected in ("12 rows", "6 of 2 prompts", "every 6 updates, best 1 by eval/gold", "1 x cpu"):
        assert expected in shown
    assert re.search(r"^updates +24 *$", shown, flags=re.MULTILINE)
    assert "resumed" not in shown
    first, then = shown.splitlines()[-2:]
    assert re.fullmatch(r"first step: .+ s \(4 updates\)", first)
    expected = r"then .+ s \(4 updates\) a step: at this pace .+ s to go, until .+; a checkpoint every .+ s"
    assert re.fullmatch(expected, then)


def test_memory_counts_each_weight_once_and_frozen_networks_too():
    module = torch.nn.Sequential(
        torch.nn.Linear(999, 1)
    )  # 1,000 weights of 4 bytes: weights, gradients and two moments are 16 kB
    module.hidden = {"reference": [torch.nn.Linear(999, 1), module[0]]}  # and 4 kB that do not learn
    assert banner.memory_estimate(module).startswith(
        "20 kB for weights, gradients and AdamW (0.001 M trainable, 0.001 M "
    )


def test_memory_of_half_precision_has_fp32_moments_and_an_fp32_copy():
    # 1,000 weights: 2 bytes each and their gradients, two moments and a copy of 4 bytes
    module = torch.nn.Linear(999, 1, dtype=torch.bfloat16)
    assert banner.memory_estimate(module).startswith("16 kB")


def test_the_banner_names_the_models_and_scorers():
    rm = SimpleNamespace(name="rm", model="runs/rm/export")
    gold = SimpleNamespace(name="gold")
    module = SimpleNamespace(
        networks=lambda: {"policy": None, "critic": None},
        starts_from="runs/sft/export",
        critic_source="runs/critic/export",
        reference_source="runs/sft/export",
        scorer=rm,
        auxiliary_scorers=(gold,),
    )
    named = banner.models(module)
    assert named["policy"] == "runs/sft/export"
    assert named["critic"] == "runs/critic/export"
    assert "runs/rm/export" in named["scorer"]
    assert "gold" in named["auxiliary scorers"]
    assert "reference" not in named  # the policy before training
    inline = SimpleNamespace(config={"model_type": "gemma"})
    assert "gemma" in banner.models(SimpleNamespace(**vars(module) | {"starts_from": inline}))["policy"]
