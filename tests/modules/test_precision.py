"""What precision changes, and what it does not: chunks, passes, heads; which ones are refused."""

import pytest
import torch
from lightning.pytorch import Callback

from lightning_marlhf.models.policy import Policy
from lightning_marlhf.modules.ppo import PPO
from lightning_marlhf.modules.precision import check_precision
from tests.modules.tiny_runs import data, fit

STAGES = ("sft", "reward_model", "ppo")


@pytest.fixture
def make(make_sft, make_reward_model, make_ppo):
    def make(stage, **settings):
        if stage == "ppo":
            return make_ppo(**{"ppo": PPO()} | settings)
        return (make_sft if stage == "sft" else make_reward_model)(**settings)

    return make


class Gradients(Callback):
    """Keeps the gradients of the first update, and sets how many tokens' logits exist at once."""

    def __init__(self, chunk=1024):
        self.chunk = chunk
        self.found = {}

    def on_train_start(self, trainer, module):
        for part in module.modules():
            if isinstance(part, Policy):
                part.chunk = self.chunk

    def on_before_optimizer_step(self, trainer, module, optimizer):
        if not self.found:
            named = module.named_parameters()
            self.found = {name: x.grad.clone() for name, x in named if x.grad is not None}


def gradients(module, stage, folder, *, precision, chunk=1024):
    seen = Gradients(chunk)
    fit(module, data(stage), folder, steps=1, precision=precision, callbacks=[seen])
    return seen.found


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("stage", ["sft", "ppo"])
def test_gradients_do_not_depend_on_how_many_logits_exist_at_once(make, stage, precision, tmp_path):
    at_once, in_chunks = (
        gradients(make(stage), stage, tmp_path, precision=precision, chunk=chunk) for chunk in (10_000, 5)
    )
    for name, expected in at_once.items():
        torch.testing.assert_close(in_chunks[name], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("stage", STAGES)
def test_under_mixed_precision_rows_per_pass_changes_no_more_than_the_rounding_of_layers(make, stage, tmp_path):
    """Layers round the gradients of their matrices to bf16 in each pass; heads, embeddings and norms do not."""
    together, one_by_one = (
        gradients(make(stage, micro_batch_size=rows), stage, tmp_path, precision="bf16-mixed") for rows in (8, 1)
    )
    for name, expected in together.items():
        difference = (one_by_one[name] - expected).norm() / expected.norm()
        assert difference < (2**-7 if "_proj" in name else 1e-3), name


@pytest.mark.parametrize("stage", ["reward_model", "ppo"])
def test_heads_get_gradients_in_fp32_under_mixed_precision(make, stage, tmp_path):
    found = gradients(make(stage), stage, tmp_path, precision="bf16-mixed")
    (head,) = (gradient for name, gradient in found.items() if name.endswith("score.weight"))
    assert head.dtype == torch.float32
    assert (head != head.bfloat16()).any()


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true", "16-mixed", 16, 64, "transformer-engine"])
def test_other_precisions_are_refused_beside_those_that_are_supported(precision):
    with pytest.raises(ValueError, match=f"expected 32-true or bf16-mixed, got {precision}"):
        check_precision(precision)


@pytest.mark.parametrize("stage", STAGES)
def test_a_module_refuses_them_too(make, stage, tmp_path):
    with pytest.raises(ValueError, match="got bf16-true"):
        fit(make(stage), data(stage), tmp_path, steps=1, precision="bf16-true")


@pytest.mark.parametrize("precision", [None, 32, "32", "32-true", "bf16", "bf16-mixed"])
def test_all_names_of_a_supported_precision_are_taken(precision):
    check_precision(precision)


@pytest.mark.parametrize("stage", STAGES)
def test_float64_is_a_dtype_of_weights(make, stage, tmp_path):
    module = make(stage, dtype="float64")
    fit(module, data(stage), tmp_path, steps=1)
    weights = [x for net in module.networks().values() for x in net.parameters()]
    assert {weight.dtype for weight in weights} == {torch.float64}
