"""What SFT learns from: responses, prompts by weight, and padding where the released code is to be reproduced."""

import math

import pytest
import torch

from lightning_marlhf.callbacks.eta import finite_metrics
from lightning_marlhf.callbacks.guards import NaNGuard
from lightning_marlhf.data.collate import Padder
from lightning_marlhf.data.examples import TokenizedDemonstration
from lightning_marlhf.loggers.metrics_csv import MetricsCSV
from tests.modules.tiny_runs import data, fit


@pytest.fixture
def loss(make_sft, tmp_path, monkeypatch):
    """Take the loss of a fixed batch as it is trained on, and the mean over masked tokens as Hugging Face has it."""

    def run(mask, **settings):
        rows = [TokenizedDemonstration(ids, 2) for ids in ([2, 5, 6, 7, 1], [2, 8, 1])]
        batch = Padder(0, width=8).demonstrations(rows)
        module = make_sft(micro_batch_size=1, **settings)
        losses = []
        fit(module, data("sft"), tmp_path, steps=1)
        monkeypatch.setattr(module, "manual_backward", lambda term: losses.append(term.item()))
        monkeypatch.setattr(module, "update", lambda means: None)
        module.training_step(batch, 0)
        with torch.no_grad():
            logits = module.policy.lm(batch.input_ids, attention_mask=batch.attention_mask).logits
        terms = torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), batch.input_ids[:, 1:].flatten(), reduction="none"
        ).unflatten(0, (2, 7))
        wanted = mask(batch)[:, 1:]
        return sum(losses), (terms * wanted).sum().item() / wanted.sum().item()

    return run


def test_responses_alone_are_learnt_by_default(loss):
    ours, expected = loss(lambda batch: batch.response_mask)
    assert ours == pytest.approx(expected, rel=1e-5)


def test_prompts_are_learnt_as_the_paper_did(loss):
    ours, expected = loss(lambda batch: batch.attention_mask, prompt_weight=1.0)
    assert ours == pytest.approx(expected, rel=1e-5)


def test_padding_is_learnt_where_the_released_code_is_reproduced(loss, monkeypatch):
    # Real position numbers go on through right padding in transformers, where ours repeat the last one.
    monkeypatch.setattr(
        "lightning_marlhf.models.backbone.position_ids", lambda mask: torch.arange(mask.shape[1]).expand_as(mask)
    )
    ours, expected = loss(lambda batch: torch.ones_like(batch.attention_mask), prompt_weight=1.0, padding_weight=1.0)
    assert ours == pytest.approx(expected, rel=1e-5)


def test_a_loss_whose_exponential_is_no_float_is_an_infinite_perplexity_and_the_run_goes_on(make_sft, tmp_path):
    module, logger = make_sft(), MetricsCSV(tmp_path)
    module._terms = lambda part, weights: 710.0 * weights + 0 * next(module.parameters()).sum()
    settings = {"limit_val_batches": 1, "val_check_interval": 1, "callbacks": [NaNGuard()]}
    trainer = fit(module, data("sft"), tmp_path, steps=2, logger=logger, **settings)
    assert trainer.global_step == 2
    assert trainer.callback_metrics["eval/loss"] == 710
    assert trainer.callback_metrics["eval/perplexity"] == math.inf
    assert finite_metrics(trainer)["eval/loss"] == 710  # what `done.json` gets: JSON has no infinity
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert sum(line.split(",")[1:3] == ["eval/perplexity", "inf"] for line in lines) == 2
