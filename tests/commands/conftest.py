from pathlib import Path

import pytest


@pytest.fixture
def toy_yaml(tmp_path, monkeypatch) -> Path:
    """A whole run of the toy module; its class paths can be imported."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    path = tmp_path / "toy.yaml"
    path.write_text(
        f"""
trainer:
  default_root_dir: {tmp_path}/run
  max_steps: 4
  accelerator: cpu
  logger: false
model:
  class_path: toy_run.Toy
  init_args:
    source: somewhere
    condition: {{class_path: toy_run.Fixed, init_args: {{n: 3}}}}
data:
  class_path: toy_run.ToyData
  init_args: {{rows: 8}}
progress: {{line_every_s: 1000.0}}
checkpoint: {{every_n_train_steps: 2}}
"""
    )
    return path
