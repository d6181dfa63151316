"""Values of every response state and scores of whole responses, on four families."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from lightning_marlhf.models.backbone import hidden_states, position_ids
from lightning_marlhf.models.heads import Critic, RewardNetwork

RESPONSE = 4


def plain_scores(classifier, ids, mask):
    """The head on every position, with the body called by hand: [batch, seq]."""
    body = classifier.transformer if hasattr(classifier, "transformer") else classifier.model
    hidden = body(ids, attention_mask=mask.long(), position_ids=position_ids(mask))[0]
    return (hidden @ classifier.score.weight.T).squeeze(-1)


def test_the_critic_values_the_state_before_each_token(family, make_classifier, make_rows):
    classifier = make_classifier(family)
    ids, mask = make_rows()
    values = Critic(classifier)(ids, mask, num_targets=RESPONSE)
    expected = plain_scores(classifier, ids, mask)[:, -RESPONSE - 1 : -1]
    real = mask[:, -RESPONSE:]
    torch.testing.assert_close(values[real], expected[real], atol=1e-5, rtol=0)


def test_the_score_is_read_at_the_last_real_token(family, make_classifier, make_rows):
    classifier = make_classifier(family)
    ids, mask = make_rows()
    scores = RewardNetwork(classifier)(ids, mask)
    everywhere = plain_scores(classifier, ids, mask)
    expected = torch.stack([everywhere[0, 9], everywhere[1, 9], everywhere[2, 7]])
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("left", "right"), [(5, 0), (0, 4), (3, 2)])
def test_padding_changes_neither_scores_nor_values(family, make_classifier, make_rows, left, right):
    classifier = make_classifier(family)
    ids, mask = make_rows()
    ids_padded, mask_padded = make_rows(left=left, right=right)

    reward = RewardNetwork(classifier)
    torch.testing.assert_close(reward(ids_padded, mask_padded), reward(ids, mask), atol=1e-5, rtol=0)

    critic = Critic(classifier)
    real = mask[:, -RESPONSE:]
    padded = critic(ids_padded, mask_padded, num_targets=RESPONSE + right)[:, :RESPONSE]
    expected = critic(ids, mask, num_targets=RESPONSE)
    torch.testing.assert_close(padded[real], expected[real], atol=1e-5, rtol=0)


def test_a_last_token_that_equals_the_pad_token_is_still_the_last(make_classifier, tokenizer, make_rows):
    network = RewardNetwork(make_classifier())
    ids, mask = make_rows()
    ids[0, -1] = tokenizer.pad_token_id
    last = network.token_rewards(ids, mask)[0, -1]
    torch.testing.assert_close(network(ids, mask)[0], last)
    by_pad_id = network.classifier(ids, attention_mask=mask).logits[0, 0]
    assert not torch.isclose(by_pad_id, last)  # what transformers' own pooling would say


def test_the_scores_equal_transformers_own_where_pad_is_only_padding(family, make_classifier, make_rows):
    classifier = make_classifier(family)
    ids, mask = make_rows()
    own = classifier(ids, attention_mask=mask.long(), position_ids=position_ids(mask)).logits.squeeze(-1)
    torch.testing.assert_close(RewardNetwork(classifier)(ids, mask), own, atol=1e-5, rtol=0)


def test_token_rewards_end_with_the_score(make_classifier, make_rows):
    network = RewardNetwork(make_classifier())
    ids, mask = make_rows()
    rewards = network.token_rewards(ids, mask)
    assert rewards.shape == ids.shape
    torch.testing.assert_close(rewards[[0, 1, 2], [9, 9, 7]], network(ids, mask))


def test_the_reward_offset_is_subtracted_and_saved(make_classifier, make_rows, tmp_path):
    network = RewardNetwork(make_classifier())
    ids, mask = make_rows()
    before = network(ids, mask)
    network.reward_offset = 1.5
    torch.testing.assert_close(network(ids, mask), before - 1.5)

    network.classifier.save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).reward_offset == 1.5
    again = RewardNetwork(AutoModelForSequenceClassification.from_pretrained(tmp_path))
    torch.testing.assert_close(again(ids, mask), before - 1.5)


def test_a_critic_from_a_language_model_has_its_body_and_values_everything_at_zero(family, make_lm, make_rows):
    lm = make_lm(family)
    ids, mask = make_rows()
    critic = Critic.from_causal_lm(lm)
    assert torch.equal(critic(ids, mask, num_targets=RESPONSE), torch.zeros(3, RESPONSE))
    assert torch.equal(hidden_states(critic.classifier, ids, mask), hidden_states(lm, ids, mask))

    parameters = {p.data_ptr() for p in lm.parameters()}
    assert not parameters & {p.data_ptr() for p in critic.parameters()}


def test_a_critic_from_a_language_model_keeps_its_dtype(make_lm):
    assert Critic.from_causal_lm(make_lm(dtype="bfloat16")).classifier.dtype == torch.bfloat16


@pytest.mark.parametrize("network", [Critic, RewardNetwork])
def test_heads_answer_in_fp32_under_bf16_weights_and_autocast(make_classifier, make_rows, network):
    ids, mask = make_rows()
    options = {"num_targets": RESPONSE} if network is Critic else {}
    bf16 = network(make_classifier(dtype="bfloat16"))(ids, mask, **options)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = network(make_classifier())(ids, mask, **options)
    assert bf16.dtype == mixed.dtype == torch.float32


def test_gradients_reach_head_and_body(family, make_classifier, make_rows):
    critic = Critic(make_classifier(family))
    ids, mask = make_rows()
    critic(ids, mask, num_targets=RESPONSE)[mask[:, -RESPONSE:]].sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in critic.parameters())


def test_a_classifier_with_two_labels_is_refused(make_classifier):
    classifier = make_classifier()
    classifier.score = torch.nn.Linear(32, 2)
    with pytest.raises(ValueError, match="expected one label, got 2"):
        RewardNetwork(classifier)
