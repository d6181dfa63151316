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


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    characters = string.ascii_letters + string.digits + " .:/?\n"
    character_tokenizer(characters).save_pretrained(tmp_path / "tokenizer")
    return tmp_path


@pytest.mark.filterwarnings("ignore")  # Lightning's and torchdata's hints; the command hides them
@pytest.mark.parametrize(("name", "make_row"), [("tldr", tldr_row), ("hh_rlhf", hh_row)])
def test_sft_reward_model_and_ma_ppo_follow_each_other(name, make_row, folder, capfd):
    for split, numbers in {"train": range(20), "valid": range(20, 30)}.items():
        lines = "".join(f"{json.dumps(make_row(number))}\n" for number in numbers)
        (folder / f"{split}.jsonl").write_text(lines)

    def fit(stage, **settings):
        settings = {
            "trainer.accelerator": "cpu",
            "trainer.default_root_dir": folder / stage,
            "data.init_args.tokenizer": folder / "tokenizer",
            "data.init_args.source": folder,
            "data.init_args.batch_size": 4,
            **settings,
        }
        options = [f"--{key}={value}" for key, value in settings.items()]
        config = ROOT / f"experiments/{name}/gemma-2b/{stage}.yaml"
        assert main(["fit", "--config", str(config), *options]) == 0, capfd.readouterr().err

    sft, reward_model = folder / "sft/export", folder / "reward_model/export"
    fit("sft", **{"model.init_args.model": json.dumps({"config": TINY})})
    fit("reward_model", **{"model.init_args.model": sft})
    networks = {"policy": sft, "critic": reward_model, "scorer.init_args.model": reward_model}
    networks["sampling.max_new_tokens"] = 6
    fit("ma_ppo_fixed5", **{f"model.init_args.{key}": value for key, value in networks.items()})

    run = folder / "ma_ppo_fixed5"
    done = json.loads((run / "done.json").read_text())
    assert done["step"] == 2  # 8 prompts of the third phase, 4 a rollout
    rollout = read_completions(sorted((run / "completions").glob("rollouts-*.jsonl"))[0])[0]
    assert rollout.sample_id.startswith(f"{name}/train/")
    number = int(rollout.sample_id.rpartition("/")[2])
    assert f"at {number}" in rollout.prompt
    assert "rm" in rollout.scores
