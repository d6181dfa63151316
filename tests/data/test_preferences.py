"""Any data set, by the names of its columns, as texts or as chat messages; and several mixed."""

import json
import re
from pathlib import Path

import pytest

from lightning_marlhf.data import Mixture, Preferences
from lightning_marlhf.data.tokenizers import character_tokenizer
from lightning_marlhf.tasks.rows import MalformedRow
from tests.data.conftest import ALPHABET

pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
TEMPLATE = (
    "{% for m in messages %}[{{ m.role[0] }}]{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}[a]{% endif %}"
)


@pytest.fixture
def chat_tokenizer(tmp_path):
    tokenizer = character_tokenizer(ALPHABET)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(tmp_path / "chat")
    return str(tmp_path / "chat")


@pytest.fixture
def make(write, tokenizer_folder):
    def make(rows, stage="reward_model", **settings):
        source = write("train.jsonl", rows)
        return Preferences(stage=stage, source=source, **{"tokenizer": tokenizer_folder, **settings})

    return make


def first(data):
    row = data.texts("train")[0]
    return row["prompt"], *row["responses"], row["rejected"]


def test_columns_are_found_by_their_names(make):
    row = {"question": {"text": "q"}, "good": "a", "bad": "b"}
    names = {"prompt_column": "question.text", "chosen_column": "good", "rejected_column": "bad"}
    assert first(make([row], **names)) == ("q", "a", "b")
    with pytest.raises(MalformedRow, match="row 1: column prompt is missing: found question, good"):
        make([row]).texts("train")


def test_prompts_alone_are_enough_for_ppo_and_demonstrations_for_sft(make):
    assert len(make([{"prompt": "q"}], "ppo").examples("train")) == 1
    assert len(make([{"prompt": "q", "chosen": "a"}], "sft").examples("train")) == 1


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {
            "prompt": [{"role": "user", "content": "q"}],
            "chosen": [{"role": "assistant", "content": "a"}],
            "rejected": [{"role": "assistant", "content": "b"}],
        },
        {
            "prompt": "q",
            "chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
            "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}],
        },
    ],
)
def test_a_chat_template_writes_messages(make, chat_tokenizer, row):
    data = make([row], chat_template=True, tokenizer=chat_tokenizer)
    assert first(data) == ("[u]q\n[a]", "a", "b")
    ids = data.encoded("train")["chosen_ids"][0]
    assert data.tokenizer.bos_token_id not in ids  # the template brings what it needs
    assert ids[-1] == data.tokenizer.eos_token_id


def test_a_tokenizer_without_a_template_is_refused(make):
    with pytest.raises(ValueError, match="has no chat template"):
        make([{"prompt": "q", "chosen": "a", "rejected": "b"}], chat_template=True).texts("train")


CHOOSY = (  # as many published templates: no system turn, and turns take turns
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
    "{% for m in messages %}{% if (loop.index0 % 2 == 1) != (m.role == 'assistant') %}"
    "{{ raise_exception('turns take turns') }}{% endif %}{% endfor %}"
) + TEMPLATE


@pytest.fixture
def choosy_tokenizer(tmp_path):
    tokenizer = character_tokenizer(ALPHABET)
    tokenizer.chat_template = CHOOSY
    tokenizer.save_pretrained(tmp_path / "choosy")
    return str(tmp_path / "choosy")


def asking(*turns, response="a"):
    messages = [dict(zip(("role", "content"), turn, strict=True)) for turn in turns]
    return {"prompt": messages, "chosen": response, "rejected": "b"}


USER = ("user", "q")
ODD = {
    "no system turn": asking(("system", "s"), USER),
    "turns take turns": asking(USER, USER),
    r"content of a message is null \(user\)": asking(("user", None)),
    r"a message is blank \(user\)": asking(("user", " ")),
    "role critic is unknown": asking(("critic", "q")),
    "column chosen is null": asking(USER, response=None),
    "column chosen is missing": {"prompt": "q"},
    "a message calls a tool": {**asking(USER), "prompt": [{"role": "assistant", "content": None, "tool_calls": [{}]}]},
    "a part of type image_url": {**asking(USER), "prompt": [{"role": "user", "content": [{"type": "image_url"}]}]},
}


@pytest.mark.parametrize("why", ODD)
@pytest.mark.parametrize("stage", ["sft", "reward_model"])
def test_a_row_that_is_no_dialogue_for_the_template_is_dropped_and_counted(make, choosy_tokenizer, stage, why):
    rows = [asking(USER), asking(USER, ("assistant", "a"), USER), ODD[why]] * 2
    data = make(rows, stage, chat_template=True, tokenizer=choosy_tokenizer)
    assert len(data.examples("train")) == 4
    (line,) = data.row_counts("train").lines()
    assert re.match(rf"2 of 6 rows dropped: .*{why}.* \(rows 3, 6\)", line)


def test_data_of_which_no_row_is_left_is_one_line(make, choosy_tokenizer):
    settings = {"chat_template": True, "tokenizer": choosy_tokenizer}
    with pytest.raises(ValueError, match=r"no rows left to train on: 1 of 1 rows dropped: .* system"):
        make([ODD["no system turn"]], "ppo", **settings).examples("train")
    folder = make([asking(USER)], "evaluation", **settings).source
    bad = json.dumps(ODD["no system turn"])
    (Path(folder) / "valid.jsonl").write_text(f"{bad}\n")
    with pytest.raises(ValueError, match="no rows left to evaluate on: 1 of 1 rows dropped"):
        make([asking(USER)], "evaluation", **settings).examples("test")


def test_the_policy_s_prompts_carry_their_messages_beside_the_text(make, chat_tokenizer):
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    rows = [{"messages": turns}, {"prompt": [{"from": "human", "value": "why"}]}]
    data = make(rows, "ppo", chat_template=True, tokenizer=chat_tokenizer)
    batch = data.batch([data.examples("train")[row] for row in (0, 1)])
    assert batch.texts == ("[u]q\n[a]", "[u]why\n[a]")
    asked = ([{"role": "user", "content": "q"}], [{"role": "user", "content": "why"}])
    assert batch.messages == asked
    assert batch.rows([1]).messages == asked[1:]
    plain = make([{"prompt": "q"}], "ppo")
    assert plain.batch([plain.examples("train")[0]]).messages == (None,)


TRANSCRIPT = "\n\nHuman: q\n\nAssistant:"


def test_transcripts_hold_their_prompt(make):
    row = {"chosen": f"{TRANSCRIPT} a", "rejected": f"{TRANSCRIPT} b"}
    assert first(make([row])) == (TRANSCRIPT, " a", " b")
    assert first(make([row], "ppo")) == (TRANSCRIPT, "", "")
    assert first(make([{"prompt": f"{TRANSCRIPT} a", "chosen": " a"}], "ppo"))[0] == TRANSCRIPT


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"prompt": None, "chosen": "a", "rejected": "b"}, "no prompt, and chosen is no dialogue"),
        ({"prompt": "q", "chosen": None, "rejected": "b"}, "column chosen is null"),
        ({"chosen": f"{TRANSCRIPT} a", "rejected": f"x{TRANSCRIPT} b"}, "different prompts"),
        ({"prompt": "q is it so", "chosen": "is it so", "rejected": "b"}, "ends with its response"),
    ],
)
def test_a_text_row_without_a_prompt_of_its_own_is_dropped_and_counted(make, row, why):
    data = make([{"prompt": "q", "chosen": "a", "rejected": "b"}, row])
    assert len(data.examples("train")) == 1
    (line,) = data.row_counts("train").lines()
    assert re.match(rf"1 of 2 rows dropped: .*{why}.* \(row 2\)", line)


def test_messages_without_a_template_are_refused_with_the_setting_that_reads_them(make):
    with pytest.raises(MalformedRow, match=r"row 1: column prompt.*chat_template: true"):
        make([asking(USER)]).texts("train")


@pytest.fixture
def make_part(tmp_path, tokenizer_folder):
    """Write a data set of some prompts."""

    def make(name, rows, **settings):
        folder = tmp_path / name
        folder.mkdir(parents=True, exist_ok=True)
        lines = "".join('{"prompt": "%s%d"}\n' % (name, i) for i in range(rows))  # noqa: UP031
        (folder / "train.jsonl").write_text(lines)
        settings = {"stage": "ppo", "tokenizer": tokenizer_folder, **settings}
        return Preferences(source=str(folder), **settings)

    return make


@pytest.fixture
def parts(make_part):
    """Two data sets of 12 and 4 prompts."""
    return [make_part("a", 12), make_part("b", 4)]


def prompts(data):
    return [text for batch in data.train_dataloader() for text in batch.texts]


def test_a_mixture_has_every_row_of_every_part(parts):
    texts = prompts(Mixture(parts=parts, batch_size=4))
    assert sorted(texts) == sorted([f"a{i}" for i in range(12)] + [f"b{i}" for i in range(4)])
    assert {text[0] for text in texts[:8]} == {"a", "b"}


def test_weights_are_shares_and_no_row_is_repeated(parts):
    texts = prompts(Mixture(parts=parts, weights=[1, 1], batch_size=4))
    assert len(set(texts)) == len(texts) == 8
    assert sum(text.startswith("a") for text in texts) == 4


def test_samples_of_a_mixture_have_ids_of_their_own_where_folders_have_one_name(make_part):
    parts = [make_part(name, 4) for name in ("a/data", "b/data")]
    mixture = Mixture(parts=[*parts, make_part("b/data", 4)], batch_size=4)
    ids = [name for batch in mixture.train_dataloader() for name in batch.sample_ids]
    assert len(set(ids)) == len(ids) == 12


def test_a_mixture_refuses_what_does_not_go_together(parts, chat_tokenizer):
    with pytest.raises(ValueError, match="expected 2 numbers above 0, one a part"):
        Mixture(parts=parts, weights=[1])
    other = Preferences(stage="sft", source=parts[0].source, tokenizer=chat_tokenizer)
    with pytest.raises(ValueError, match="expected data sets of one stage, got ppo, sft"):
        Mixture(parts=[parts[0], other])
    other = Preferences(stage="ppo", source=parts[0].source, tokenizer=chat_tokenizer)
    with pytest.raises(ValueError, match="expected one tokenizer"):
        Mixture(parts=[parts[0], other]).prepare_data()
