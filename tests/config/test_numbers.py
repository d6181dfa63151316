"""Numbers of a real run that cannot work are refused by the whole key, before anything is built."""

from pathlib import Path

import pytest

from lightning_marlhf.commands import run as cli
from lightning_marlhf.config.yaml_files import ConfigError

ROOT = Path(__file__).parents[2]
RUN = ROOT / "experiments/tiny/tldr/ma_ppo_fixed5.yaml"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.init_args.optimization.lr", "-1"),
        ("model.init_args.optimization.lr", "1e30"),
        ("model.init_args.optimization.max_grad_norm", "-1"),
        ("model.init_args.optimization.warmup_steps", "-1"),
        ("model.init_args.ppo.clip_range", ".nan"),
        ("model.init_args.ppo.critic_warmup", "-1"),
        ("model.init_args.shaping.missing_eos_penalty", "-3"),
        ("model.init_args.sampling.max_new_tokens", "0"),
        ("model.init_args.kl.coefficient", "nan"),
        ("model.init_args.termination.init_args.n", "0"),
        ("model.init_args.scorer.init_args.batch_size", "0"),
        ("model.init_args.micro_batch_size", "0"),
        ("model.init_args.lora.r", "0"),
        ("data.init_args.validate_rows", "0"),
        ("data.init_args.batch_size", "-8"),
        ("rollouts.every_n_steps", "-1"),
        ("watchdog.timeout_s", "inf"),
    ],
)
def test_a_number_outside_its_range_is_refused_by_its_whole_key(key, value, tmp_path):
    arguments = ["--config", str(RUN), "--trainer.default_root_dir", str(tmp_path / "run")]
    with pytest.raises(ConfigError, match=rf"^{key}: expected .*, got ") as caught:
        cli.check(["fit", *arguments, f"--{key}={value}"])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
