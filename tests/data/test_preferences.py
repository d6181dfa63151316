"""Any data set, by the names of its columns, as texts or as chat messages; and several mixed."""

import pytest

from lightning_marlhf.data import Mixture, Preferences
from lightning_marlhf.data.tokenizers import character_tokenizer
from lightning_marlhf.tasks.rows import MalformedRow
from tests.data.conftest import ALPHABET

pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
TEMPLATE = (
    "{% for m in messages %}[{{ m.role[0] }}]{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[a]{% endif %}"
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
        return Preferences(
            stage=stage, source=source, **{"tokenizer": tokenizer_folder, **settings}
        )

    return make


def first(data):
    row = data.texts("train")[0]
    return row["prompt"], *row["answers"], row["rejected"]


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
