"""Scorers: what they read, and when they have to tokenise again."""

import warnings
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from lightning_marlhf.data.tokenizers import character_tokenizer
from lightning_marlhf.hub.sources import SourceError
from lightning_marlhf.models.configs import ModelConfig
from lightning_marlhf.models.hf_export import export
from lightning_marlhf.models.loading import load_sequence_classifier
from lightning_marlhf.models.network_factory import NetworkFactory
from lightning_marlhf.rollout.scoring import RewardModelScorer, TinyTLDRGold
from lightning_marlhf.types import Prompts, Rollout
from tests.published import GEMMA_TEMPLATE, byte_tokenizer, publish

CPU = NetworkFactory(torch.device("cpu"))

CONFIG = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "initializer_range": 0.5,
}


def reward_model(folder, alphabet):
    tokenizer = character_tokenizer(alphabet)
    export(load_sequence_classifier(ModelConfig(CONFIG), tokenizer), tokenizer, folder, card={})
    return str(folder)


def rollout(tokenizer, *, response="ab", ended=True, left_padding=0):
    prompt = [tokenizer.pad_token_id] * left_padding + tokenizer("ba").input_ids
    tokens = tokenizer(response, add_special_tokens=False).input_ids
    tokens += [tokenizer.eos_token_id] if ended else []
    prompt_ids, ids = torch.tensor([prompt]), torch.tensor([tokens])
    prompts = Prompts(prompt_ids, prompt_ids != tokenizer.pad_token_id, ("x",), ("ba",), ({"who": "boss"},))
    return Rollout(prompts, ids, torch.ones_like(ids).bool(), (response,), torch.tensor([ended]))


def score(folder, tokenizer, **settings):
    scorer = RewardModelScorer(folder)
    scorer.prepare(tokenizer=tokenizer, network_factory=CPU)
    return scorer.submit(rollout(tokenizer, **settings), evaluating=False).result(), scorer


@pytest.mark.parametrize("ended", [True, False])
def test_the_same_text_scores_the_same_through_ids_and_through_another_tokenizer(tmp_path, ended):
    """The policy's ids are permuted against the reward model's: only texts can be passed on."""
    own, other = character_tokenizer("ab"), character_tokenizer("ba")
    folder = reward_model(tmp_path / "rm", "ab")
    by_ids, same = score(folder, own, ended=ended)
    by_text, different = score(folder, other, ended=ended)
    assert same.same_tokenizer
    assert not different.same_tokenizer
    torch.testing.assert_close(by_ids.values, by_text.values)
    assert by_ids.details == ({"rm": by_ids.values.item()},)


def test_left_padding_changes_no_score(tmp_path):
    folder, tokenizer = reward_model(tmp_path / "rm", "ab"), character_tokenizer("ab")
    plain, padded = (score(folder, tokenizer, left_padding=n)[0].values for n in (0, 3))
    torch.testing.assert_close(plain, padded)


def test_gold_reads_texts_and_references():
    tokenizer = character_tokenizer("mybos. ")
    responses = rollout(tokenizer, response="my boss.")
    assert TinyTLDRGold().submit(responses, evaluating=False).result().values.tolist() == [1.0]


def published_scorer(folder, **settings):
    scorer = RewardModelScorer(str(folder), **settings)
    scorer.load(CPU)
    return scorer


def score_alone(folder, text, *, special):
    """Score one text as its model card would: no padding, transformers' own head."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    ids = tokenizer(text, add_special_tokens=special, return_tensors="pt").input_ids
    with torch.no_grad():
        hidden = model.model(ids).last_hidden_state[0, -1]
    return (hidden @ model.score.weight[0]).item()


PROMPTS = ("\n\nHuman: what is it?\n\nAssistant:", "it is a cat.")
RESPONSES = (" it is a cat.", " what?")


@pytest.mark.parametrize("pad", ["<pad>", "<eos>", None])
def test_a_published_reward_model_scores_texts_as_it_does_alone(tmp_path, pad):
    """Whatever its pad token: padding is known by the mask, so that its EOS may be it."""
    folder = publish(tmp_path, "reward_model", pad=pad)
    scores = published_scorer(folder).score_texts(PROMPTS, RESPONSES, [True, False])
    texts = (f"{PROMPTS[0]}{RESPONSES[0]}<eos>", f"{PROMPTS[1]}{RESPONSES[1]}")
    alone = torch.tensor([score_alone(folder, text, special=True) for text in texts])
    torch.testing.assert_close(scores, alone)


def test_a_chat_template_shows_turns_with_one_bos(tmp_path):
    folder = publish(tmp_path, "reward_model", pad="<eos>", template=GEMMA_TEMPLATE)
    scores = published_scorer(folder, chat_template=True).score_texts(PROMPTS, RESPONSES, [True, False])
    texts = [
        f"<bos><start_of_turn>user\n{question}<end_of_turn>\n<start_of_turn>model\n{response}<end_of_turn>\n"
        for question, response in (("what is it?", "it is a cat."), ("it is a cat.", "what?"))
    ]
    alone = torch.tensor([score_alone(folder, text, special=False) for text in texts])
    torch.testing.assert_close(scores, alone)


def test_a_prompt_that_brings_its_bos_does_not_get_another(tmp_path):
    scorer = published_scorer(publish(tmp_path, "reward_model"))
    twice = scorer.score_texts(["it is", "<bos>it is"], [" a cat."] * 2, [True] * 2)
    torch.testing.assert_close(twice[0], twice[1])


def test_with_a_chat_template_even_a_policy_of_the_same_tokenizer_is_read_as_text(tmp_path):
    folder = publish(tmp_path, "reward_model", template=GEMMA_TEMPLATE)
    tokenizer = byte_tokenizer()
    scorer = RewardModelScorer(str(folder), chat_template=True)
    scorer.prepare(tokenizer=tokenizer, network_factory=CPU)
    scores = scorer.submit(rollout(tokenizer, response="it"), evaluating=False).result()
    assert scorer.same_tokenizer
    torch.testing.assert_close(scores.values, scorer.score_texts(["ba"], ["it"], [True]))


def chat_rollout(tokenizer, *, messages):
    """A response whose tokens are the characters one by one, to a prompt that the policy's template wrote."""
    plain = rollout(tokenizer, response="it is")
    ids = [i for c in "it is" for i in tokenizer(c, add_special_tokens=False).input_ids]
    ids = torch.tensor([[*ids, tokenizer.eos_token_id]])
    prompts = replace(plain.prompts, messages=(messages,))
    return replace(plain, prompts=prompts, response_ids=ids, response_mask=torch.ones_like(ids) > 0)


def test_a_policy_that_ends_otherwise_is_scored_by_what_it_sampled(tmp_path):
    scorer = RewardModelScorer(str(publish(tmp_path, "reward_model")))
    tokenizer = byte_tokenizer()
    tokenizer.eos_token = "<end_of_turn>"  # an instruct model, and a reward model of its base
    scorer.prepare(tokenizer=tokenizer, network_factory=CPU)
    asked = chat_rollout(tokenizer, messages=None)
    scores = scorer.submit(asked, evaluating=False).result().values
    assert not scorer.same_tokenizer
    torch.testing.assert_close(scores, scorer._forward(asked.input_ids, asked.attention_mask))


USER = {"role": "user", "content": "what is it?"}


@pytest.mark.parametrize("chat_template", [False, True])
def test_a_chat_model_takes_ids_from_its_own_template_and_messages_from_another(tmp_path, chat_template):
    folder = publish(tmp_path, "reward_model", template=GEMMA_TEMPLATE)
    scorer = RewardModelScorer(str(folder), chat_template=chat_template)
    same, other = byte_tokenizer(template=GEMMA_TEMPLATE), byte_tokenizer(template="x")
    asked = chat_rollout(same, messages=[USER])
    scores = []
    for tokenizer in (same, other):
        scorer.prepare(tokenizer=tokenizer, network_factory=CPU)
        scores.append(scorer.submit(asked, evaluating=False).result().values.item())
    ids, mask = asked.input_ids, asked.attention_mask
    dialogue = "<bos><start_of_turn>user\nwhat is it?<end_of_turn>\n<start_of_turn>model\nit is<end_of_turn>\n"
    assert scores == pytest.approx(
        [scorer._forward(ids, mask).item(), score_alone(folder, dialogue, special=False)], abs=1e-5
    )


def test_a_dialogue_that_the_reward_model_s_template_refuses_has_no_score_and_costs_no_other(tmp_path):
    scorer = RewardModelScorer(str(publish(tmp_path, "reward_model", template=GEMMA_TEMPLATE)))
    tokenizer = byte_tokenizer(template="x")
    scorer.prepare(tokenizer=tokenizer, network_factory=CPU)
    system = {"role": "system", "content": "it is"}
    fine, refused = ([USER], [system, USER])
    one = chat_rollout(tokenizer, messages=fine).rows([0, 0, 0])
    mixed = replace(one, prompts=replace(one.prompts, messages=(fine, refused, None)))
    with pytest.warns(UserWarning, match="1 of 3 dialogues have no score"):
        scores = scorer.submit(mixed, evaluating=False).result().values
    assert scores.isnan().tolist() == [False, True, False]
    alone = [
        scorer.submit(chat_rollout(tokenizer, messages=each), evaluating=False).result().values.item()
        for each in (fine, None)
    ]
    assert scores[[0, 2]].tolist() == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        ("gemma", {}, r"is no reward model \(GemmaForCausalLM\): expected a sequence classifier"),
        ("reward_model", {"chat_template": True}, "has no chat template"),
    ],
)
def test_what_cannot_score_is_refused_when_it_is_loaded(tmp_path, kind, settings, said):
    with pytest.raises(SourceError, match=said):
        published_scorer(publish(tmp_path, kind), **settings)


def test_a_text_beyond_the_model_s_context_is_refused(tmp_path):
    scorer = published_scorer(publish(tmp_path, "reward_model"))
    with pytest.raises(ValueError, match=r"has 203 tokens, and .* reads 128: shorten them"):
        scorer.score_texts(["x" * 200], ["y"], [True])


@pytest.mark.parametrize("other_tokenizer", [False, True])
@pytest.mark.parametrize("long", [[False, True], [True, True], [False, False]])
def test_a_response_beyond_the_context_has_no_score_and_costs_no_other_and_no_pass(tmp_path, long, other_tokenizer):
    scorer = RewardModelScorer(reward_model(tmp_path / "rm", "ab"))
    tokenizer = character_tokenizer("ba" if other_tokenizer else "ab")
    scorer.prepare(tokenizer=tokenizer, network_factory=CPU)
    alone = scorer.submit(rollout(tokenizer), evaluating=False).result().values.item()
    passes = []
    scorer.network.register_forward_hook(lambda *_: passes.append(1))
    scorer.network.classifier.config.max_position_embeddings = 8
    both = rollout(tokenizer, response="ab" * 9).rows([0, 0])
    mask = both.response_mask.clone()
    ids = both.response_ids.clone()
    texts = list(both.texts)
    for row in (row for row in (0, 1) if not long[row]):
        short = rollout(tokenizer)
        texts[row], mask[row, 3:], ids[row, :3] = "ab", False, short.response_ids[0]
    both = replace(both, response_mask=mask, response_ids=ids, texts=tuple(texts))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        scores = scorer.submit(both, evaluating=False).result().values
    assert scores.isnan().tolist() == long
    assert scores[~scores.isnan()].tolist() == pytest.approx([alone] * long.count(False), abs=1e-6)
    assert len(said) == any(long)
    assert len(passes) == 1  # in every process, whatever its rows: a sharded network's passes are taken together
