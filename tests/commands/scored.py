"""What tests of `best-of-n` and `rm-score` share: completions, and a reward model whose scores can be foretold."""

import json
import shutil

import torch
from safetensors.torch import load_file, save_file

from lightning_marlhf.models.network_factory import NetworkFactory
from lightning_marlhf.rollout.scoring import RewardModelScorer

FACTS = {"who": "boss", "did": "told a lie", "when": "friday", "feel": "sad", "ask": "call"}


def completion(prompt, response, **more):
    row = {"sample_id": f"{prompt}/{response}", "prompt": prompt, "response": response}
    return {**row, "model": "m", "seed": 1, "step": None, "num_tokens": 3, "ended": True, **more}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def scores_of(model, rows):
    """Ask the reward model itself."""
    scorer = RewardModelScorer(str(model))
    scorer.load(NetworkFactory(torch.device("cpu")))
    columns = zip(*((row["prompt"], row["response"], row["ended"]) for row in rows), strict=True)
    ids = [(row["prompt_ids"], row["response_ids"]) if row.get("prompt_ids") else None for row in rows]
    return scorer.score_texts(*columns, ids=ids).tolist()


def opposite(model, folder):
    """Make a reward model whose scores are minus those of ``model``."""
    shutil.copytree(model, folder)
    for file in folder.glob("*.safetensors"):
        weights = load_file(file)
        signs = {name: -weight if name == "score.weight" else weight for name, weight in weights.items()}
        save_file(signs, file, metadata={"format": "pt"})
    return folder
