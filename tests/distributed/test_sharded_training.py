"""Many processes do what one does."""

import pytest
import torch

from lightning_marlhf.models.loading import load_causal_lm
from lightning_marlhf.models.policy import Policy
from tests.distributed.checks import STAGES, answer, prompts
from tests.distributed.runs import assert_alike, losses, make, unscored


@pytest.fixture(scope="module")
def expected(folder):
    """The logs of one process without a strategy."""
    return {stage: losses(make(stage, folder), stage, folder / stage) for stage in STAGES}


@pytest.mark.parametrize(
    ("stage", "processes"), [("sft", "two"), ("reward_model", "two"), ("ppo", "two"), ("ppo", "four")]
)
def test_many_processes_log_what_one_logs(stage, processes, expected, request):
    """Losses, gradient norms, scores, evaluations: everything, after every batch."""
    assert_alike(request.getfixturevalue(processes)[f"{stage}_losses"], expected[stage])


@pytest.mark.parametrize("processes", ["two", "four"])
@pytest.mark.parametrize("gathering", ["rollout", "block"])
def test_responses_are_the_same_on_any_number_of_processes(processes, gathering, folder, request):
    found = request.getfixturevalue(processes)["responses"]
    lm = load_causal_lm(str(folder / "policy"), prompts()[1])
    wanted = answer(Policy(lm), range(6))
    assert len({len(row) for row in wanted}) > 2  # some processes have less to do than others
    assert found[gathering] == wanted


def test_a_policy_gathered_once_is_given_back_and_lets_processes_go_at_their_own_pace(two):
    """Block by block, all processes make as many passes as the longest response needs."""
    found = two["responses"]
    assert found["given_back"]
    assert len(set(found["passes_block"])) == 1
    assert len(set(found["passes_rollout"])) == 2
    assert max(found["passes_rollout"]) == found["passes_block"][0]


def test_passes_are_in_bf16_and_all_that_is_kept_in_fp32(two):
    found = two["precision"]
    assert found["computed"] == ["torch.bfloat16"]
    assert found["weights"] == found["moments"] == ["torch.float32"]
    assert found["share"] == pytest.approx(0.5, abs=0.05)
    assert found["loss"] == pytest.approx(two["sft_losses"][1]["loss/sft"], rel=0.05)


def test_each_process_reads_its_share_of_the_weights_and_no_more(two):
    found = two["reading"]
    assert sum(found["read"]) == found["numbers"]
    assert max(found["read"]) < 0.55 * found["numbers"]


def test_a_sharded_policy_is_asked_whether_its_numbers_are_its_own(two):
    logits, states = two["refused"]
    assert "nats from those of its own logits" in logits
    assert "padding to the left" in states


def test_a_reference_on_the_host_says_the_same(two):
    torch.testing.assert_close(*map(torch.tensor, two["offloaded"].values()))


def test_sharded_weights_in_bf16_learn_through_fp32_copies_that_checkpoints_hold(two):
    found = two["half_precision"]
    assert found["dtypes"] == ["torch.float32"]
    assert found["unrounded"] > 0
    assert found["equal"]  # resumed or not


def test_answers_without_a_score_are_left_out_alike_on_any_number_of_processes(two, folder):
    """Whichever process has them: losses, means, the scale of scores and the price of KL are the same."""
    expected = unscored(folder, folder / "unscored")
    assert 0 < expected[0]["objective/scores_invalid"] < 1
    assert_alike(two["unscored_losses"], expected)


def test_a_scorer_that_raises_in_one_process_is_given_up_by_all(two):
    assert two["one_scorer_fails"] == {"skipped": 1, "said": "the scorer of another process failed"}
