"""Policy.forward against the plain full-logits computation, on four families."""

import pytest
import torch

from lightning_marlhf.models.backbone import position_ids
from lightning_marlhf.models.policy import Policy

RESPONSE = 4  # tokens; columns [-RESPONSE:] of make_rows()


def plain_logprobs(lm, ids, mask, *, temperature):
    """Full logits from the model's own forward, as a reader would write it."""
    output = lm(input_ids=ids, attention_mask=mask.long(), position_ids=position_ids(mask))
    logprobs = torch.log_softmax(output.logits[:, :-1].float() / temperature, dim=-1)
    entropy = -(logprobs.exp() * logprobs).sum(-1)
    chosen = logprobs.gather(-1, ids[:, 1:, None]).squeeze(-1)
    return chosen[:, -RESPONSE:], entropy[:, -RESPONSE:]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_and_entropy_equal_the_full_logits_computation(family, make_lm, make_rows, temperature):
    lm = make_lm(family)
    ids, mask = make_rows()

    got = Policy(lm, chunk=5)(ids, mask, num_targets=RESPONSE, temperature=temperature)

    logprobs, entropy = plain_logprobs(lm, ids, mask, temperature=temperature)
    assert got.logprobs.shape == (3, RESPONSE)
    real = mask[:, -RESPONSE:]
    torch.testing.assert_close(got.logprobs[real], logprobs[real], atol=1e-5, rtol=0)
    torch.testing.assert_close(got.entropy[real], entropy[real], atol=1e-5, rtol=0)


def test_the_bias_of_a_head_counts(make_lm, make_rows):
    lm = make_lm("llama")
    lm.lm_head = torch.nn.Linear(32, 32)
    ids, mask = make_rows()
    got = Policy(lm)(ids, mask, num_targets=RESPONSE, temperature=1.0)
    logprobs, _ = plain_logprobs(lm, ids, mask, temperature=1.0)
    real = mask[:, -RESPONSE:]
    torch.testing.assert_close(got.logprobs[real], logprobs[real], atol=1e-5, rtol=0)


def test_gradients_equal_those_of_the_full_logits_computation(family, make_lm, make_rows):
    lm = make_lm(family)
    ids, mask = make_rows()
    real = mask[:, -RESPONSE:]

    def gradients(loss):
        lm.zero_grad()
        loss.backward()
        return {name: p.grad.clone() for name, p in lm.named_parameters() if p.grad is not None}

    got = Policy(lm, chunk=5)(ids, mask, num_targets=RESPONSE, temperature=0.7)
    got_gradients = gradients((got.logprobs - 0.1 * got.entropy)[real].sum())
    logprobs, entropy = plain_logprobs(lm, ids, mask, temperature=0.7)
    expected = gradients((logprobs - 0.1 * entropy)[real].sum())

    assert got_gradients.keys() == expected.keys()
    for name, gradient in expected.items():
        assert gradient.isfinite().all()
        scale = max(1.0, gradient.abs().max().item())
        torch.testing.assert_close(got_gradients[name], gradient, atol=1e-5 * scale, rtol=0, msg=name)


@pytest.mark.parametrize(("left", "right"), [(5, 0), (0, 4), (3, 2)])
def test_padding_on_either_side_changes_nothing(family, make_lm, make_rows, left, right):
    policy = Policy(make_lm(family))
    ids, mask = make_rows()
    expected = policy(ids, mask, num_targets=RESPONSE, temperature=1.0)

    ids_padded, mask_padded = make_rows(left=left, right=right)
    got = policy(ids_padded, mask_padded, num_targets=RESPONSE + right, temperature=1.0)

    real = mask[:, -RESPONSE:]
    torch.testing.assert_close(got.logprobs[:, :RESPONSE][real], expected.logprobs[real], atol=1e-5, rtol=0)
    torch.testing.assert_close(got.entropy[:, :RESPONSE][real], expected.entropy[real], atol=1e-5, rtol=0)


def test_dropout_is_off_even_in_training_mode(family, make_lm, make_rows):
    policy = Policy(make_lm(family)).train()
    ids, mask = make_rows()
    first, second = (policy(ids, mask, num_targets=RESPONSE, temperature=1.0).logprobs for _ in range(2))
    assert torch.equal(first, second)


def test_logprobs_are_fp32_under_bf16_weights_and_autocast(family, make_lm, make_rows):
    ids, mask = make_rows()
    exact = Policy(make_lm(family))(ids, mask, num_targets=RESPONSE, temperature=1.0).logprobs
    bf16 = Policy(make_lm(family, dtype="bfloat16"))(ids, mask, num_targets=RESPONSE, temperature=1.0).logprobs
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = Policy(make_lm(family))(ids, mask, num_targets=RESPONSE, temperature=1.0).logprobs
    assert bf16.dtype == mixed.dtype == torch.float32
    real = mask[:, -RESPONSE:]
    assert (mixed - exact)[real].abs().max() < 0.5
    assert (bf16 - exact)[real].abs().max() < 0.5


def test_float64_weights_give_float64_logprobs(make_lm, make_rows):
    ids, mask = make_rows()
    got = Policy(make_lm(dtype="float64"))(ids, mask, num_targets=RESPONSE, temperature=1.0)
    assert got.logprobs.dtype == torch.float64


@pytest.mark.parametrize("num_targets", [0, 10])
def test_a_number_of_targets_without_a_state_before_the_first_is_refused(make_lm, make_rows, num_targets):
    ids, mask = make_rows()
    with pytest.raises(ValueError, match=f"expected 1 to 9 for rows of 10, got {num_targets}"):
        Policy(make_lm())(ids, mask, num_targets=num_targets, temperature=1.0)


def test_generate_calls_the_model(make_lm, make_rows):
    lm = make_lm()
    ids, mask = make_rows()
    got = Policy(lm).generate(ids[:2], mask[:2], max_new_tokens=3, do_sample=False)
    assert torch.equal(got, lm.generate(ids[:2], attention_mask=mask[:2], max_new_tokens=3, do_sample=False))
