"""The arithmetic of memory and FLOPs, held to what small models really keep and compute."""

import functools

import pytest
import torch
from torch.distributed._tools.mem_tracker import MemTracker
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lightning_marlhf.models.configs import ModelConfig
from lightning_marlhf.models.kv_cache import preallocated_cache
from lightning_marlhf.models.loading import load_causal_lm
from lightning_marlhf.models.policy import Policy
from lightning_marlhf.planning import flops, memory
from lightning_marlhf.planning.planned_run import Pass, Precision, Shape
from lightning_marlhf.planning.read_run import shape_of
from tests.saved_tensors import SavedTensors

ROWS, WIDTH, TARGETS = 4, 48, 20
PRECISIONS = {
    "float32": Precision(weight=4, compute=4, autocast=False),
    "bfloat16": Precision(weight=2, compute=2, autocast=False),
    "mixed": Precision(weight=4, compute=2, autocast=True),
}
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}


@pytest.fixture(params=["gemma", "gemma2", "llama"])
def family(request):
    return request.param


@pytest.fixture(params=PRECISIONS)
def precision(request):
    return request.param


@pytest.fixture
def make(tokenizer):
    """Build a policy that trains: make("gemma", precision="mixed", layers=3, checkpoint=True)."""

    def make(family, *, precision="float32", layers=3, checkpoint=False, chunk=1024):
        config = {"model_type": family, "num_hidden_layers": layers, **SIZES}
        dtype = "bfloat16" if precision == "bfloat16" else "float32"
        policy = Policy(load_causal_lm(ModelConfig(config), tokenizer, dtype=dtype), chunk=chunk)
        if checkpoint:
            policy.lm.activation_checkpointing_enable({"use_reentrant": False})
        return policy.train()

    return make


def autocast(precision):
    enabled = precision == "mixed"
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled, cache_enabled=False)


def loss(policy, precision="float32", targets=TARGETS):
    ids = torch.randint(4, 30, (ROWS, WIDTH), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[0, :3] = False  # a mask of ones would be left out
    with autocast(precision):
        output = policy(ids, mask, num_targets=targets, temperature=0.8)
    return output.logprobs.sum() + output.entropy.sum()


def saved(policy, precision):
    with SavedTensors(policy.parameters()) as tensors:
        kept = loss(policy, precision)
    assert kept.requires_grad
    return tensors.bytes


def test_the_activations_kept_are_those_counted(family, precision, make):
    policy = make(family, precision=precision)
    shape, run = shape_of(policy.lm, scalar=False), Pass(ROWS, WIDTH, TARGETS, chunk=1024)
    planned = memory.activations(shape, run, PRECISIONS[precision]) + memory.scores(shape, run)
    assert planned == pytest.approx(saved(policy, precision), rel=0.1)


def test_checkpointing_keeps_inputs_and_runs_one_layer_again(family, precision, make):
    shape = shape_of(make(family).lm, scalar=False)
    run = Pass(ROWS, WIDTH, TARGETS, chunk=1024, checkpoint=True)
    kept = memory.activations(shape, run, PRECISIONS[precision]) + memory.scores(shape, run)
    measured = saved(make(family, precision=precision, checkpoint=True), precision)
    assert kept == pytest.approx(measured, rel=0.2)
    three, two = (saved(make(family, precision=precision, layers=n), precision) for n in (3, 2))
    assert memory.rerun(shape, run, PRECISIONS[precision]) == pytest.approx(three - two, rel=0.1)


@pytest.mark.parametrize("chunk", [16, 1024])
@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize("family", ["gemma", "gemma2"], indirect=True)
def test_the_peak_of_a_second_pass_is_what_was_planned(family, checkpoint, chunk, make):
    policy = make(family, checkpoint=checkpoint, chunk=chunk)
    shape, run = shape_of(policy.lm, scalar=False), Pass(ROWS, WIDTH, TARGETS, chunk, checkpoint)
    loss(policy).backward()  # gradients are there from now on
    with MemTracker() as tracker:
        loss(policy).backward()
    (measured,) = tracker.get_tracker_snapshot("peak").values()
    precision = PRECISIONS["float32"]
    there = memory.static_memory(shape, precision, shards=1)
    planned = (
        there["weights"]
        + there["gradients"]
        + memory.activations(shape, run, precision)
        + max(memory.head(shape, run, training=True), memory.rerun(shape, run, precision))
    )
    assert planned == pytest.approx(measured["Total"], rel=0.2)


def count_flops(work):
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        work()
    return counter.get_total_flops()


@pytest.mark.parametrize("chunk", [16, 1024])
@pytest.mark.parametrize("checkpoint", [False, True])
def test_the_flops_of_a_training_pass_are_those_counted(family, checkpoint, chunk, make):
    policy = make(family, checkpoint=checkpoint, chunk=chunk)
    run = Pass(ROWS, WIDTH, TARGETS, chunk, checkpoint)
    planned = flops.training_flops(shape_of(policy.lm, scalar=False), run)
    assert planned == pytest.approx(count_flops(lambda: loss(policy).backward()), rel=0.1)


def test_the_flops_of_a_forward_pass_are_those_counted(family, make):
    policy = make(family)
    planned = flops.forward_flops(shape_of(policy.lm, scalar=False), Pass(ROWS, WIDTH, TARGETS, chunk=1024))
    assert planned == pytest.approx(count_flops(functools.partial(loss, policy)), rel=0.01)


def generate(policy, cache, prompt, response):
    ids = torch.full((ROWS, prompt), 5)
    with torch.no_grad():
        policy.eval().generate(
            ids,
            torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=response,
            min_new_tokens=response,
            past_key_values=cache,
        )


@pytest.mark.parametrize("family", ["gemma", "llama"], indirect=True)
def test_the_flops_of_generation_are_those_counted(family, make):
    policy, (prompt, response) = make(family), (12, 9)
    planned = flops.generation_flops(shape_of(policy.lm, scalar=False), ROWS, prompt, response)
    cache = preallocated_cache(policy.lm, capacity=prompt + response)
    measured = count_flops(lambda: generate(policy, cache, prompt, response))
    assert planned == pytest.approx(measured, rel=0.05)


def test_the_cache_has_the_bytes_counted(precision, make):
    policy, (prompt, response) = make("gemma", precision=precision), (12, 9)
    cache = preallocated_cache(policy.lm, capacity=prompt + response)
    with autocast(precision):
        generate(policy, cache, prompt, response)
    measured = sum(x.untyped_storage().nbytes() for y in cache.layers for x in (y.keys, y.values))
    shape = shape_of(policy.lm, scalar=False)
    assert memory.cache(shape, ROWS, prompt + response, PRECISIONS[precision]) == measured


def test_shards_divide_what_a_network_takes():
    shape = Shape(1000, 800, 10, 2, 4, 8, 1, 1, 4, 2, soft_capped=False)
    # 1000 weights of 4 bytes on 8 processes, as many gradients, two moments each
    assert memory.static_memory(shape, PRECISIONS["float32"], shards=8) == {
        "weights": 500,
        "gradients": 500,
        "optimizer": 1000,
    }
    half = Precision(weight=2, compute=2, autocast=False)  # with moments and a copy in fp32
    assert list(memory.static_memory(shape, half, shards=8).values()) == [250, 250, 1500]
    precision = Precision(weight=4, compute=2, autocast=False)
    assert memory.gathered(shape, precision, full=True) == 2000
    assert memory.gathered(shape, precision, full=False) == 2 * (200 + 800)  # two of two layers


def test_a_family_without_gated_mlps_is_refused(make_lm):
    with pytest.raises(ValueError, match="gpt2 models cannot be planned"):
        shape_of(make_lm("gpt2"), scalar=False)
