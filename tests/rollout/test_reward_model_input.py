"""The input of a reward model is that of its training, in its own format, for any policy and record."""

import json

import pytest
from tokenizers import Tokenizer, processors
from transformers import PreTrainedTokenizerFast

from lightning_marlhf.data import Preferences
from lightning_marlhf.data.tokenizers import character_tokenizer
from lightning_marlhf.hub.chat_template import RefusedDialogueError
from lightning_marlhf.hub.reward_format import RewardInput
from lightning_marlhf.rollout.reward_model_input import Answered, RewardReader, same_vocabulary
from tests.published import EOS, GEMMA_TEMPLATE, byte_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
OTHER_TEMPLATE = (
    "{% for m in messages %}[{{ m['role'][0] }}]{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}[a]{% endif %}"
)
ASKED = [{"role": "user", "content": "what is it?"}]
SYSTEM = {"role": "system", "content": "it is"}
BY_OTHER = "[u]what is it?\n[a]"  # what a policy of the other template saw
UNKNOWN = RewardInput()


def reader(*, template=None, input_format=UNKNOWN, **settings):
    return RewardReader(byte_tokenizer(template=template), input_format, **settings)


def shown(read, *rows):
    """What the reward model sees of each row, as text, special tokens by their names."""
    return [read.tokenizer.decode(tokens) for tokens in read.read(rows)]


@pytest.mark.parametrize("tokenize", ["apart", "joined"])
@pytest.mark.parametrize("chat", [False, True])
def test_scoring_shows_the_tokens_that_training_showed(tmp_path, monkeypatch, tokenize, chat):
    """Their border lies in the middle of a token: "what i" and "s it?"."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    byte_tokenizer(template=GEMMA_TEMPLATE).save_pretrained(tmp_path / "rm")
    asked = [{"prompt": p, "chosen": "s it?", "rejected": "it"} for p in ("what i", "it is a c")]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    data = Preferences(
        stage="reward_model",
        tokenizer=str(tmp_path / "rm"),
        source=str(tmp_path / "train.jsonl"),
        tokenize=tokenize,
        chat_template=chat,
    )
    trained_on = [data.examples("train")[row].chosen_ids for row in (0, 1)]
    turns = [[{"role": "user", "content": row["prompt"]}] if chat else None for row in asked]
    rows = [
        Answered(text, row["chosen"], True, messages)
        for text, row, messages in zip(data.texts("train")["prompt"], asked, turns, strict=True)
    ]
    assert RewardReader(data.tokenizer, data.reward_input).read(rows) == trained_on
    apart = RewardReader(data.tokenizer, RewardInput(False, chat)).read(rows)
    assert (apart == trained_on) == (tokenize == "apart" or chat)


def test_what_a_model_learnt_from_is_kept_in_its_config():
    from transformers import LlamaConfig

    config = LlamaConfig()
    assert RewardInput.of(config) == RewardInput(joined=False, chat_template=None)
    RewardInput(joined=True, chat_template=False).write(config)
    read = LlamaConfig.from_dict(json.loads(config.to_json_string()))
    assert RewardInput.of(read) == RewardInput(joined=True, chat_template=False)


def test_the_policy_s_template_is_not_nested_in_the_reward_model_s():
    row = Answered(BY_OTHER, " a cat.", True, ASKED)
    whole = "<bos><start_of_turn>user\nwhat is it?<end_of_turn>\n<start_of_turn>model\na cat.<end_of_turn>"
    assert shown(reader(template=GEMMA_TEMPLATE), row) == [whole + "\n"]  # as its card would
    trained_here = RewardInput(chat_template=True)
    assert shown(reader(template=GEMMA_TEMPLATE, input_format=trained_here), row) == [whole]


@pytest.mark.parametrize(
    ("template", "input_format"), [(None, UNKNOWN), (GEMMA_TEMPLATE, RewardInput(chat_template=False))]
)
def test_a_model_of_plain_text_reads_what_the_policy_read(template, input_format):
    read = reader(template=template, input_format=input_format)
    assert shown(read, Answered(BY_OTHER, "a cat.", True, ASKED)) == [f"<bos>{BY_OTHER}a cat.<eos>"]


def test_nothing_follows_a_response_that_was_cut_off():
    assert shown(reader(), Answered("it", " is", False)) == ["<bos>it is"]
    read = reader(template=GEMMA_TEMPLATE, input_format=RewardInput(chat_template=True))
    (text,) = shown(read, Answered(BY_OTHER, "a c", False, ASKED))
    assert text.endswith("<start_of_turn>model\na c")


def test_a_dialogue_that_the_template_refuses_is_told():
    read = reader(template=GEMMA_TEMPLATE)
    refused, fine = (Answered("x", "it", True, [*more, *ASKED]) for more in ([SYSTEM], []))
    assert read.refuses(refused)
    assert not read.refuses(fine)
    with pytest.raises(RefusedDialogueError, match="System role not supported"):
        read.read([fine, refused])


def sampled(tokenizer, prompt, response):
    """Ids that no tokenizer gives: the response's bytes one by one, as a policy may sample them."""
    one_by_one = [i for c in response for i in tokenizer(c, add_special_tokens=False).input_ids]
    return tokenizer(prompt).input_ids, [*one_by_one, EOS]


def test_kept_ids_are_shown_as_they_were_sampled():
    read = reader()
    prompt, response = sampled(read.tokenizer, "what", " it is")
    rows = [Answered("what", " it is", True, ids=ids) for ids in ((prompt, response), None)]
    by_ids, by_text = read.read(rows)
    assert by_ids == [*prompt, *response]
    assert by_ids != by_text
    assert read.tokenizer.decode(by_ids) == read.tokenizer.decode(by_text)


def test_a_token_that_ended_the_response_without_being_special_is_none_of_its_text():
    read = reader()
    prompt, response = sampled(read.tokenizer, "what", " it?")
    row = Answered("what", " it", True, ids=(prompt, response[:-1]))
    assert read.read([row]) == [[*prompt, *response[:-1]]]


def test_kept_ids_of_a_dialogue_are_shown_where_its_template_is_the_same():
    text = byte_tokenizer(template=GEMMA_TEMPLATE).apply_chat_template(
        ASKED, tokenize=False, add_generation_prompt=True
    )
    prompt, response = sampled(byte_tokenizer(), text.removeprefix("<bos>"), "it is")
    row = Answered("what is it?", "it is", True, ASKED, (prompt, response))
    assert reader(template=GEMMA_TEMPLATE).read([row]) == [[*prompt, *response]]
    (text,) = shown(reader(template=OTHER_TEMPLATE), row)
    assert text == "[u]what is it?\n[a]it is\n"


def test_kept_ids_are_known_beyond_a_gap_in_the_vocabulary():
    rules = json.loads(byte_tokenizer().backend_tokenizer.to_str())
    vocabulary = rules["model"]["vocab"]
    vocabulary["i"] = max(vocabulary.values()) + 100
    gapped = Tokenizer.from_str(json.dumps(rules))
    read = RewardReader(PreTrainedTokenizerFast(tokenizer_object=gapped, eos_token="<eos>"), UNKNOWN)
    prompt, response = sampled(read.tokenizer, "what", " it")
    assert vocabulary["i"] in response
    assert read.read([Answered("what", " it", True, ids=(prompt, response))]) == [[*prompt, *response]]


@pytest.mark.parametrize("shift", [1, 1000, -1000])
def test_ids_of_another_tokenizer_are_set_aside(shift):
    read = reader()
    prompt, response = sampled(read.tokenizer, "what", " it is")
    plain = Answered("what", " it is", True)
    for ids in (([i + shift for i in prompt], response), (prompt, [i + shift for i in response])):
        assert read.read([plain._replace(ids=ids)]) == read.read([plain])


def test_tokenizers_have_the_same_vocabulary_whose_tokens_ends_and_bos_are_the_same_whatever_their_templates():
    own = byte_tokenizer()
    assert same_vocabulary(own, byte_tokenizer(pad="<eos>", template=GEMMA_TEMPLATE))
    without_bos, ends_turns, grown = byte_tokenizer(), byte_tokenizer(), byte_tokenizer()
    without_bos.backend_tokenizer.post_processor = processors.ByteLevel()
    ends_turns.eos_token = "<end_of_turn>"
    grown.add_tokens(["<more>"])
    others = [without_bos, ends_turns, grown, character_tokenizer("ab")]
    assert [same_vocabulary(own, other) for other in others] == [False] * 4
