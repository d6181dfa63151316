"""The package, configured as the released code, against numbers that the released code gave."""

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_marlhf.ops import gae, kl, losses, macro, masking, segmentation
from lightning_marlhf.types import MacroActions
from tests.reference import released_loops

CASES = json.loads((Path(__file__).parents[1] / "reference/released_ma_ppo.json").read_text())
SOUND = [case for case in CASES if not case["outputs"]["has_empty_macro_action"]]
WEIGHTS = {"equal": "equal", "position": "position_early"}
NAN = float("nan")


@dataclass(frozen=True)
class Outputs:
    macro_actions: MacroActions
    token_rewards: Tensor
    macro_values: Tensor
    macro_rewards: Tensor
    advantages: Tensor
    returns: Tensor
    policy_terms: Tensor
    value_terms: Tensor
    mask: Tensor


def stack(cases: list[dict[str, Any]], name: str, left: list[int], width: int, fill: float) -> Tensor:
    """Lay the rows of several cases into one padded batch."""
    batch = torch.full((len(cases), width), fill, dtype=torch.float64)
    for row, case in enumerate(cases):
        start, tokens = left[row], case["inputs"][name]
        batch[row, start : start + len(tokens)] = torch.tensor(tokens, dtype=torch.float64)
    return batch


def run_package(
    cases: list[dict[str, Any]], *, left: list[int] | None = None, right: int = 0, fill: float = 0.0
) -> Outputs:
    """Steps 4 to 10 of one PPO step, in the released configuration; all cases have the same one."""
    left = left or [0] * len(cases)
    lengths = torch.tensor([case["response_tokens"] for case in cases])
    width = max(start + case["response_tokens"] for start, case in zip(left, cases, strict=True))
    width += right
    place = torch.arange(width) - torch.tensor(left)[:, None]
    mask = (place >= 0) & (place < lengths[:, None])
    names = ("old_logprobs", "ref_logprobs", "new_logprobs", "old_values", "new_values")
    old, ref, new, old_values, new_values = (stack(cases, name, left, width, fill) for name in names)
    settings, weights = cases[0]["settings"], WEIGHTS[value_function(cases[0])]

    scores = torch.tensor([case["inputs"]["score"] for case in cases], dtype=torch.float64)
    scores = scores.clamp(-settings["reward_clip"], settings["reward_clip"])
    divergence = kl.estimate(old, ref, estimator="k1")
    rewards = kl.token_rewards(divergence, scores, mask, coefficient=settings["kl_coef"])
    macro_actions = segment(cases, mask, left)
    macro_rewards = macro.pool_tokens(rewards, macro_actions, weights=weights)
    macro_values = macro.pool_tokens(old_values, macro_actions, weights=weights)
    estimated = gae.advantages_and_returns(
        macro_rewards, macro_values, macro_actions, gamma=settings["gamma"], lam=settings["lam"]
    )
    advantages = macro.spread(estimated.advantages, macro_actions)
    returns = macro.spread(estimated.returns, macro_actions)
    return Outputs(
        macro_actions,
        rewards,
        macro_values,
        macro_rewards,
        estimated.advantages,
        estimated.returns,
        losses.policy_terms(new, old, advantages, clip_range=settings["clip"]),
        losses.value_terms(new_values, old_values, returns, clip_range=settings["value_clip"]),
        mask,
    )


def segment(cases: list[dict[str, Any]], mask: Tensor, left: list[int]) -> MacroActions:
    kind, params = cases[0]["kind"], cases[0]["params"]
    if kind == "fixed":
        macro_actions = segmentation.fixed_ngram(mask, n=params["ngram"])
    elif kind == "randomized":
        draws = [torch.tensor(case["params"]["lengths"]) for case in cases]
        lengths = torch.nn.utils.rnn.pad_sequence(draws, batch_first=True)
        macro_actions = segmentation.ngrams(mask, lengths=lengths)
    else:
        logprobs = -stack(cases, "perplexity", left, mask.shape[1], NAN).log()
        macro_actions = segmentation.perplexity(mask, logprobs=logprobs, boundary="released")
    return segmentation.isolate_last_token(mask, macro_actions)


def assert_row_matches(outputs: Outputs, row: int, expected: dict[str, Any], start: int = 0) -> None:
    tokens, actions = len(expected["token_rewards"]), len(expected["starts"])
    assert outputs.macro_actions.count[row] == actions
    assert starts(outputs.macro_actions)[row] == [start + token for token in expected["starts"]]
    close(outputs.token_rewards[row, start : start + tokens], expected["token_rewards"])
    for name in ("macro_values", "macro_rewards", "advantages", "returns"):
        close(getattr(outputs, name)[row, :actions], expected[name])
        assert (getattr(outputs, name)[row, actions:] == 0).all()
    mask = outputs.mask[row : row + 1]
    for terms, name in ((outputs.policy_terms, "policy_loss"), (outputs.value_terms, "value_loss")):
        loss = masking.reduce_mean(terms[row : row + 1], mask, reduction="token")
        close(loss, expected[name])


def value_function(case: dict[str, Any]) -> str:
    return case["params"].get("value_function", "equal")


def starts(macro_actions: MacroActions) -> list[list[int]]:
    return [[row.index(action) for action in range(max(row) + 1)] for row in macro_actions.index.tolist()]


def close(actual: Tensor, expected: Any) -> None:
    expected = torch.as_tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


def configurations() -> dict[str, list[dict[str, Any]]]:
    """Group the sound cases by what is one setting for a whole batch; drawn lengths differ by row."""
    groups = defaultdict(list)
    for case in SOUND:
        params = {k: v for k, v in case["params"].items() if k not in ("lengths", "repeat_times")}
        groups[f"{case['kind']} {params}"].append(case)
    return groups


def test_the_golden_file_holds_what_we_think_it_does():
    assert len(CASES) == 100
    assert len(SOUND) == 70
    assert len(configurations()) == 13


@pytest.mark.parametrize("case", SOUND, ids=lambda case: f"{case['seed']}-{case['kind']}")
def test_a_released_case_is_matched_to_1e_9(case):
    assert_row_matches(run_package([case]), 0, case["outputs"])


@pytest.mark.parametrize("cases", configurations().values(), ids=configurations())
@pytest.mark.parametrize("padding", ["right", "left", "both, NaN"])
def test_released_cases_stacked_into_a_ragged_batch_are_matched_row_by_row(cases, padding):
    left = [0] * len(cases)
    if padding == "left":
        width = max(case["response_tokens"] for case in cases)
        left = [width - case["response_tokens"] for case in cases]
    if padding == "both, NaN":
        left = [(5 * row) % 7 for row in range(len(cases))]
    outputs = run_package(cases, left=left, right=3, fill=NAN if "NaN" in padding else 0.0)
    for row, case in enumerate(cases):
        assert_row_matches(outputs, row, case["outputs"], start=left[row])


@pytest.mark.parametrize("cases", configurations().values(), ids=configurations())
def test_the_sequence_mean_is_the_mean_of_the_released_losses(cases):
    outputs = run_package(cases, right=2, fill=NAN)
    for terms, name in ((outputs.policy_terms, "policy_loss"), (outputs.value_terms, "value_loss")):
        released = [case["outputs"][name] for case in cases]
        loss = masking.reduce_mean(terms, outputs.mask, reduction="sequence")
        close(loss, sum(released) / len(released))


def run_loops(case: dict[str, Any], row_starts: list[int]) -> dict[str, Any]:
    settings = released_loops.Settings(**case["settings"])
    inputs = {
        name: torch.tensor([value], dtype=torch.float64) for name, value in case["inputs"].items() if name != "score"
    }
    old, values = inputs["old_logprobs"], inputs["old_values"]
    rewards = released_loops.token_rewards(old, inputs["ref_logprobs"], case["inputs"]["score"], settings)
    function = value_function(case)
    macro_values = released_loops.pool(values, row_starts, function)
    macro_rewards = released_loops.pool(rewards, row_starts, function)
    advantages, returns = released_loops.advantages_and_returns(macro_values, macro_rewards, settings)
    policy = released_loops.policy_loss(inputs["new_logprobs"], old, advantages, row_starts, settings)
    value = released_loops.value_loss(inputs["new_values"], values, returns, row_starts, settings)
    return {
        "starts": row_starts,
        "token_rewards": rewards[0],
        "macro_values": macro_values[0],
        "macro_rewards": macro_rewards[0],
        "advantages": advantages[0],
        "returns": returns[0],
        "policy_loss": policy,
        "value_loss": value,
    }


def loop_starts(case: dict[str, Any]) -> list[int]:
    mask = torch.ones(1, case["response_tokens"], dtype=torch.int64)
    if case["kind"] == "fixed":
        return released_loops.fixed_starts(mask, case["params"]["ngram"])
    if case["kind"] == "randomized":
        return released_loops.randomized_starts(mask, case["params"]["lengths"])
    return released_loops.perplexity_starts(case["inputs"]["perplexity"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['seed']}-{case['kind']}")
def test_the_slow_loops_match_every_released_case_with_its_defects(case):
    outputs = run_loops(case, loop_starts(case))
    assert outputs["starts"] == case["outputs"]["starts"]
    for name, value in outputs.items():
        if name != "starts":
            close(value, case["outputs"][name])


@pytest.mark.parametrize(
    "case", [case for case in CASES if case not in SOUND], ids=lambda case: f"{case['seed']}-{case['kind']}"
)
def test_where_the_released_code_has_an_empty_macro_action_we_are_it_without(case):
    without_empty = sorted(set(loop_starts(case)))
    assert_row_matches(run_package([case]), 0, run_loops(case, without_empty))
