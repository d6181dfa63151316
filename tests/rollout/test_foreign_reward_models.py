"""Reward models of any architecture: encoders, several labels, tokenizers without EOS."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerFast

from lightning_marlhf.data.tokenizers import character_tokenizer
from lightning_marlhf.hub.sources import SourceError
from lightning_marlhf.models.network_factory import NetworkFactory
from lightning_marlhf.rollout.scoring import RewardModelScorer
from lightning_marlhf.types import Prompts, Rollout

CPU = NetworkFactory(torch.device("cpu"))

SIZES = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
}
ENCODERS = {
    "bert": {**SIZES, "pad_token_id": 0},
    "roberta": {**SIZES, "pad_token_id": 1},  # counts positions from after its pad token
    "deberta-v2": {**SIZES, "pad_token_id": 0, "relative_attention": True, "pos_att_type": ["p2c"]},
    "modernbert": {
        **SIZES, "pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "local_attention": 4,
    },
}  # fmt: skip
LETTERS = "abcdefghijklmnop .?"
TEXTS = (("who is it? ", "a man."), ("oh ", "nobody can know. he had no name."), ("hm", ""))


def publish(folder, family, *, labels=1, **settings):
    """Write an encoder that judges texts, with a tokenizer that puts [CLS] before a text and [SEP] after it."""
    pads = 1 + settings.get("pad_token_id", ENCODERS.get(family, {}).get("pad_token_id", 0))
    special = ["[PAD]" if at + 1 == pads else f"[X{at}]" for at in range(2)] + ["[CLS]", "[SEP]", "[UNK]"]
    backend = Tokenizer(models.WordLevel({name: at for at, name in enumerate([*special, *LETTERS])}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **{**ENCODERS.get(family, {}), **settings, "num_labels": labels})
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    return str(folder)


def own_logits(folder, text):
    """What the model's own ``forward`` gives for one text, as its model card would ask."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    batch = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.no_grad():
        return model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits[0]


def scorer(folder, **settings):
    made = RewardModelScorer(folder, **settings)
    made.load(CPU)
    return made


@pytest.mark.parametrize("family", sorted(ENCODERS))
def test_an_encoder_scores_as_its_own_forward_does_alone_and_in_any_batch(family, tmp_path):
    folder = publish(tmp_path, family)
    prompts, responses = zip(*TEXTS, strict=True)
    scores = scorer(folder).score_texts(prompts, responses, [True, False, True])
    own = torch.stack([own_logits(folder, prompt + response)[0] for prompt, response in TEXTS])
    assert own.std() > 0.01
    torch.testing.assert_close(scores, own, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_an_encoder_scores_the_policys_answers_by_their_texts(family, tmp_path):
    folder = publish(tmp_path, family)
    tokenizer = character_tokenizer(LETTERS)
    made = RewardModelScorer(folder)
    made.prepare(tokenizer=tokenizer, network_factory=CPU)
    ids = torch.tensor([[*tokenizer("a man.", add_special_tokens=False).input_ids, tokenizer.eos_token_id]])
    prompt = torch.tensor([tokenizer("who? ").input_ids])
    prompts = Prompts(prompt, torch.ones_like(prompt).bool(), ("x",), ("who? ",), ({},))
    rollout = Rollout(prompts, ids, torch.ones_like(ids).bool(), ("a man.",), torch.tensor([True]))
    values = made.submit(rollout, evaluating=False).result().values
    torch.testing.assert_close(values, own_logits(folder, "who? a man.")[:1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("label", "column"), [(1, 1), ("1", 1), ("GOOD", 1), ("BAD", 0), (0, 0)])
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_the_score_is_the_logit_of_the_label_that_was_chosen(family, label, column, tmp_path):
    names = {"id2label": {0: "BAD", 1: "GOOD"}, "label2id": {"BAD": 0, "GOOD": 1}}
    sizes = {} if family == "bert" else {**SIZES, "pad_token_id": 0, "eos_token_id": 3}
    folder = publish(tmp_path, family, labels=2, **sizes, **names)
    scores = scorer(folder, label=label).score_texts(["who? "], ["a man."], [True])
    own = own_logits(folder, "who? a man.")
    assert abs(own[0] - own[1]) > 1e-3
    torch.testing.assert_close(scores, own[column : column + 1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("label", [None, 2, "UGLY"])
def test_a_label_that_is_missing_or_unknown_is_told_with_those_that_there_are(label, tmp_path):
    folder = publish(tmp_path, "bert", labels=2)
    with pytest.raises(SourceError, match=r"0 \(LABEL_0\), 1 \(LABEL_1\)") as caught:
        scorer(folder, label=label)
    assert folder in str(caught.value)


def test_padding_on_either_side_changes_no_score_of_an_encoder(tmp_path):
    network = scorer(publish(tmp_path, "roberta")).network
    ids = torch.randint(5, 24, (2, 6), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids).bool()
    plain = network(ids, mask)
    for padding in ((3, 0), (0, 3), (2, 1)):
        padded = (torch.nn.functional.pad(each, padding) for each in (ids, mask))
        torch.testing.assert_close(network(*padded), plain)


def test_a_text_that_is_longer_than_the_positions_of_an_encoder_is_refused(tmp_path):
    folder = publish(tmp_path, "roberta")
    with pytest.raises(ValueError, match="reads 62"):  # 64 rows, counted from after pad
        scorer(folder).score_texts(["a" * 70], [""], [True])


@pytest.mark.parametrize(
    ("family", "said"),
    [
        ("fnet", "padding changes the score of a row by"),  # mixes all positions, padding too
        ("canine", "has no table of embeddings"),
        ("xmod", "Input language unknown"),
    ],
)
def test_an_encoder_that_cannot_score_padded_rows_is_refused_by_name(family, said, tmp_path):
    sizes = {**SIZES, "pad_token_id": 0}
    with pytest.raises(SourceError, match=f"(?i){family}ForSequenceClassification.*{said}"):
        scorer(publish(tmp_path, family, **sizes))


def test_an_encoder_whose_embeddings_are_no_plain_table_scores(tmp_path):
    folder = publish(tmp_path, "ibert", **SIZES, pad_token_id=1)
    scores = scorer(folder).score_texts(["who? "], ["a man."], [True])
    torch.testing.assert_close(scores, own_logits(folder, "who? a man."), atol=1e-5, rtol=1e-4)


def test_an_encoder_decoder_scores_at_its_end_though_a_response_was_cut_off(tmp_path):
    character_tokenizer(LETTERS).save_pretrained(tmp_path)
    sizes = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "num_labels": 1}
    ids = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2, "decoder_start_token_id": 1}
    config = AutoConfig.for_model("bart", vocab_size=40, **sizes, **ids, init_std=0.3)
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    made = scorer(str(tmp_path))
    texts = (["who? ", "who? ", "hm "], ["a man.", "a man.", "no"])
    scores = made.score_texts(*texts, [True, False, True])
    assert scores[1] == pytest.approx(scores[0])
    assert scores[2] != pytest.approx(scores[0])
