"""Numbers outside their ranges are refused by what is built with them, by name, range and value."""

import math
from dataclasses import dataclass, replace
from typing import Annotated

import pytest

from lightning_marlhf.callbacks.guards import KLGuard
from lightning_marlhf.callbacks.watchdog import Watchdog
from lightning_marlhf.data import TinyTLDR
from lightning_marlhf.models.lora import LoRA
from lightning_marlhf.modules.kl_controller import KLControl
from lightning_marlhf.modules.optimization import Optimization
from lightning_marlhf.modules.ppo import PPO
from lightning_marlhf.planning.flops import Machine
from lightning_marlhf.ranges import NonNegative, PositiveInt, Range, UnitInterval, checked, find_outside
from lightning_marlhf.rollout.generation import SamplingSettings
from lightning_marlhf.rollout.retries import RetryPolicy
from lightning_marlhf.rollout.settings import Credit, Shaping
from lightning_marlhf.rollout.termination import FixedNGram, RandomizedNGram
from lightning_marlhf.sandbox.verdicts import Limits

SAMPLING = SamplingSettings(max_new_tokens=4)


@pytest.mark.parametrize(
    ("allowed", "inside", "outside"),
    [
        (Range(at_least=0, at_most=1), (0, 0.5, 1), (-1e-9, 1.01)),
        (Range(above=0, below=1), (1e-9, 0.9), (0, 1)),
        (Range(), (-1e18, 0, 2**63 - 1), (1e30, -1e300, 2**63, 10**400)),
    ],
)
def test_a_range_holds_finite_numbers_between_its_bounds(allowed, inside, outside):
    assert all(number in allowed for number in inside)
    assert not any(number in allowed for number in (*outside, math.nan, math.inf, -math.inf))


def test_a_range_says_what_it_holds():
    assert repr(Range(above=0, at_most=4_000)) == "more than 0 and at most 4,000"
    assert repr(Range()) == "a finite number"


@pytest.mark.parametrize(
    ("value", "hint", "where"),
    [
        (0, PositiveInt | None, "x"),
        ("-1e-5", NonNegative, "x"),
        ([1, 2, 0], list[PositiveInt], "x"),
        ((0.9, 1.5), tuple[UnitInterval, UnitInterval] | None, "x"),
        ({"a": {"b": [math.nan]}}, dict[str, object], "x.a.b"),
        ({"a": -1.0}, dict[str, NonNegative], "x.a"),
        (math.inf, float, "x"),
        (math.nan, object, "x"),
        ("nan", float | None, "x"),
    ],
)
def test_numbers_are_found_at_any_depth(value, hint, where):
    assert find_outside(value, hint, "x").startswith(f"{where}: expected ")


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (None, PositiveInt | None),
        (True, PositiveInt),
        ("nan", str),
        ("nan", str | float),
        ("all-linear", str | list[str]),
        ("words", NonNegative),  # of another type, which others refuse
        ([3, 1], list[PositiveInt]),
        (object(), object),
    ],
)
def test_what_is_in_range_or_no_number_is_none_of_its_business(value, hint):
    assert find_outside(value, hint, "x") is None


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: Optimization(lr=-1e-5), r"^lr: expected at least 0 and at most 1, got -1e-05$"),
        (lambda: Optimization(lr=1e30), r"^lr: .* got 1e\+30$"),
        (lambda: Optimization(critic_lr=math.nan), "^critic_lr: .* got nan"),
        (lambda: Optimization(betas=(0.9, 1.0)), "^betas: .* less than 1, got 1.0"),
        (lambda: Optimization(max_grad_norm=-1), "^max_grad_norm: expected more than 0, got -1"),
        (lambda: Optimization(warmup_steps=-1), "^warmup_steps: expected at least 0, got -1"),
        (lambda: Optimization(weight_decay=math.inf), "^weight_decay: .* got inf"),
        (lambda: PPO(clip_range=math.nan), "^clip_range: expected more than 0, got nan"),
        (lambda: PPO(critic_warmup=-1), "^critic_warmup: expected at least 0, got -1"),
        (lambda: PPO(epochs=0), "^epochs: expected at least 1, got 0"),
        (lambda: Shaping(missing_eos_penalty=-3), "^missing_eos_penalty: .* 0, got -3"),
        (lambda: Shaping(clamp=0), "^clamp: expected more than 0, got 0"),
        (lambda: Credit(gamma=1.5), "^gamma: expected at least 0 and at most 1, got 1.5"),
        (lambda: Credit(lam=math.nan), "^lam: .* got nan"),
        (lambda: KLControl(coefficient=math.inf), "^coefficient: .* got inf"),
        (lambda: KLControl(horizon=0), "^horizon: expected at least 1, got 0"),
        (lambda: replace(SAMPLING, top_p=0.0), "^top_p: expected more than 0 and at most 1"),
        (lambda: replace(SAMPLING, temperature=math.nan), "^temperature: .* got nan"),
        (lambda: KLControl(horizon=10**400), "^horizon: expected at most 9,.* got 1000*[.]{3}0*$"),
        (lambda: Optimization(weight_decay=1e30), "^weight_decay: .* got 1e[+]30"),
        (lambda: Watchdog(timeout_s=1e12), "^timeout_s: .* and at most 1,000,000,000, got"),
        (lambda: Limits(cpu_s=0), "^cpu_s: expected at least 0.1 .* got 0"),
        (lambda: KLControl(coefficient=0.0, target=1.0), "^coefficient: .* with a target"),
        (lambda: replace(SAMPLING, temperature=1e-40), "^temperature: expected 0 or .*, got 1e-40"),
        (lambda: Shaping(logprob_temperature=1e-40), "^logprob_temperature: .* got 1e-40"),
        (lambda: Optimization(eps=1e-300), "^eps: .* got 1e-300"),
        (lambda: RandomizedNGram(repeat_times=10**9), "^repeat_times: .* 10,000, got 1000000000"),
        (lambda: RetryPolicy(wait_s=-1), "^wait_s: expected at least 0, got -1"),
        (lambda: LoRA(r=0), "^r: expected at least 1, got 0"),
        (lambda: LoRA(alpha=math.inf), "^alpha: .* got inf"),
        (lambda: Machine(mfu=math.nan), "^mfu: expected at least 0 and at most 1, got nan"),
        (lambda: FixedNGram(n=0), "^n: expected at least 1, got 0"),
        (lambda: RandomizedNGram(lengths=[5, 0]), "^lengths: expected at least 1, got 0"),
        (lambda: KLGuard(limit=math.nan), "^limit: expected more than 0, got nan"),
        (lambda: TinyTLDR(stage="sft", validate_rows=0), "^validate_rows: .* 1, got 0"),
        (lambda: TinyTLDR(stage="sft", preference_temperature=math.nan), "^preference_temp"),
    ],
)
def test_settings_refuse_numbers_that_cannot_work(build, said):
    with pytest.raises(ValueError, match=said):
        build()


def test_null_and_the_ends_of_ranges_are_taken():
    Optimization(lr=0.0, critic_lr=1.0, betas=(0.0, 0.999), warmup_steps=0, max_grad_norm=None)
    PPO(value_clip_range=None, critic_warmup=0)
    replace(SAMPLING, temperature=0.0, top_p=1.0, top_k=0)
    FixedNGram(n=None)


def test_a_class_of_users_is_checked_by_its_hints_alone():
    @checked
    @dataclass(frozen=True)
    class Mine:
        share: Annotated[float, Range(below=0.5)] = 0.1
        any: float = 0.0

    assert Mine(0.2).share == 0.2
    for wrong in ({"share": 0.5}, {"any": math.inf}):
        with pytest.raises(ValueError, match="expected"):
            Mine(**wrong)
    with pytest.raises(TypeError):
        Mine(nothing=1)
