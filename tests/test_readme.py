"""What the README and the page on algorithms show works as it stands there."""

import re
from pathlib import Path

import pytest
import yaml

from lightning_marlhf.commands import run as cli
from lightning_marlhf.records import read_completions

ROOT = Path(__file__).parents[1]
PAGES = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/algorithm.md"))

TINY_RUN = """
seed_everything: 1
trainer: {accelerator: cpu, max_steps: 1, limit_val_batches: 0}
model:
  class_path: lightning_marlhf.modules.MAPPO
  init_args:
    policy:
      config: {model_type: gemma, hidden_size: 16, intermediate_size: 16, num_hidden_layers: 1,
        num_attention_heads: 2, num_key_value_heads: 2, head_dim: 8, initializer_range: 0.2}
    scorer: {class_path: lightning_marlhf.rollout.scoring.TinyTLDRGold}
    sampling: {max_new_tokens: 24}
    optimization: {lr: 1.0e-3, schedule: constant}
    ppo: {epochs: 1, minibatches: 1}
data:
  class_path: lightning_marlhf.data.TinyTLDR
  init_args: {stage: ppo, batch_size: 4}
"""


def block(language: str, holds: str) -> str:
    """Return the one code block of the pages in that language that holds a text."""
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGES, flags=re.DOTALL)
    (found,) = [text for text in blocks if holds in text]
    return found


def test_a_reward_and_a_termination_of_one_s_own_are_a_class_and_a_line_each(tmp_path, monkeypatch):
    classes = [block("python", kind) for kind in ("(Scorer)", "(Termination)")]
    (tmp_path / "my_module.py").write_text("\n".join(classes))
    monkeypatch.syspath_prepend(str(tmp_path))
    run = yaml.safe_load(TINY_RUN)
    for name in ("Brevity", "AtSpaces"):
        shown = yaml.safe_load(block("yaml", f"my_module.{name}"))
        run["model"]["init_args"] |= shown["model"]["init_args"]
    run["trainer"]["default_root_dir"] = str(tmp_path / "run")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))

    assert cli.main(["fit", "--config", str(tmp_path / "run.yaml")]) == 0

    rows = read_completions(tmp_path / "run/completions/rollouts-000001.jsonl")
    assert [row.scores["brevity"] for row in rows] == pytest.approx([-len(row.response) / 100 for row in rows])
    traces = [row.trace for row in rows]
    assert len(traces) == 4
    for trace in traces:
        index, tokens = trace["macro_index"], trace["tokens"]
        starts = [n for n in range(1, len(index)) if index[n] != index[n - 1]]
        assert starts == [n for n in range(1, len(index)) if tokens[n] == " "]
    assert sum(max(trace["macro_index"]) for trace in traces) > 0
