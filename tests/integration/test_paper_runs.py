"""The paper's own files run from stored rows to a trained policy, at a tiny size and on made-up rows."""

import json
import string
from pathlib import Path

import pytest

from lightning_marlhf.__main__ import main
from lightning_marlhf.data.tokenizers import character_tokenizer
from lightning_marlhf.records import read_completions

ROOT = Path(__file__).parents[2]
TINY = {
    "model_type": "gemma",
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
}


def tldr_row(number):
    info = {"post": f"My cat {number} left.", "subreddit": "cats", "article": None}
    summaries = [{"text": f" Cat {number} left."}, {"text": " No idea."}]
    return {"info": info, "summaries": summaries, "choice": number % 2}


def hh_row(number):
    prompt = f"\n\nHuman: Where is cat {number}?\n\nAssistant:"
    return {"prompt": prompt, "chosen": " It left.", "rejected": f" Ask cat {number}."}


def apps_row(number):
    tests = {"inputs": [f"{number}\n", "7\n"], "outputs": [f"{number}\n", "7\n"]}
    return {
        "problem_id": number,
        "question": f"Print what you read {number} times or less.",
        "solutions": json.dumps(["print(input())", "x=input()\nprint(x)"]),
        "input_output": json.dumps(tests),
        "difficulty": "interview",
        "url": "",
        "starter_code": "",
    }


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    characters = string.ascii_letters + string.digits + " .:/?\n()=,-"
    character_tokenizer(characters).save_pretrained(tmp_path / "tokenizer")
    return tmp_path


@pytest.fixture
def fit(folder, capfd):
    """Run a file of the paper on the rows in ``folder``."""

    def run(name, **settings):
        settings = {
            "trainer.accelerator": "cpu",
            "trainer.default_root_dir": folder / name.rpartition("/")[2],
            "data.init_args.tokenizer": folder / "tokenizer",
            "data.init_args.source": folder,
            "data.init_args.batch_size": 4,
            **settings,
        }
        options = [f"--{key}={value}" for key, value in settings.items()]
        config = ROOT / f"experiments/{name}.yaml"
        assert main(["fit", "--config", str(config), *options]) == 0, capfd.readouterr().err

    return run


def write_rows(folder, make_row, **splits):
    for split, numbers in splits.items():
        lines = "".join(f"{json.dumps(make_row(number))}\n" for number in numbers)
        (folder / f"{split}.jsonl").write_text(lines)


def first_rollout(run):
    return read_completions(sorted((run / "completions").glob("rollouts-*.jsonl"))[0])[0]


@pytest.mark.filterwarnings("ignore")  # Lightning's and torchdata's hints; the command hides them
@pytest.mark.parametrize(("name", "make_row"), [("tldr", tldr_row), ("hh_rlhf", hh_row)])
def test_sft_reward_model_and_ma_ppo_follow_each_other(name, make_row, folder, fit):
    write_rows(folder, make_row, train=range(20), valid=range(20, 30))
    sft, reward_model = folder / "sft/export", folder / "reward_model/export"
    fit(f"{name}/gemma-2b/sft", **{"model.init_args.model": json.dumps({"config": TINY})})
    fit(f"{name}/gemma-2b/reward_model", **{"model.init_args.model": sft})
    networks = {"policy": sft, "critic": reward_model, "scorer.init_args.model": reward_model}
    networks["sampling.max_new_tokens"] = 6
    settings = {f"model.init_args.{key}": value for key, value in networks.items()}
    fit(f"{name}/gemma-2b/ma_ppo_fixed5", **settings)

    done = json.loads((folder / "ma_ppo_fixed5/done.json").read_text())
    assert done["step"] == 2  # 8 prompts of the third phase, 4 a rollout
    rollout = first_rollout(folder / "ma_ppo_fixed5")
    assert rollout.sample_id.startswith(f"{name}/train/")
    number = int(rollout.sample_id.rpartition("/")[2])
    assert f"at {number}" in rollout.prompt
    assert "rm" in rollout.scores


@pytest.mark.filterwarnings("ignore")
def test_programs_that_people_wrote_are_imitated_then_rewarded_by_their_tests(folder, fit):
    write_rows(folder, apps_row, train=range(10), test=range(10, 14))
    sft = folder / "sft/export"
    fit("apps/codegemma-2b/sft", **{"model.init_args.model": json.dumps({"config": TINY})})
    settings = {"policy": sft, "sampling.max_new_tokens": 6, "scorer.init_args.workers": 1}
    fit("apps/codegemma-2b/ma_ppo_fixed10", **{f"model.init_args.{key}": value for key, value in settings.items()})

    assert json.loads((folder / "ma_ppo_fixed10/done.json").read_text())["step"] == 2
    rollout = first_rollout(folder / "ma_ppo_fixed10")
    assert rollout.reference["problem_id"] == int(rollout.sample_id.rpartition("/")[2])
    assert rollout.scores["code"] in (-1, -0.6, -0.3)  # random tokens; the tests did run
