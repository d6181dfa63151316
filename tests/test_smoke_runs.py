"""`--trainer.fast_dev_run true`: every run of the repository in two updates, which leave nothing behind."""

from pathlib import Path

import pytest
from lightning.pytorch import Trainer

from lightning_marlhf.commands import run as cli
from lightning_marlhf.commands.run_checks import apply_fast_dev_run
from lightning_marlhf.modules.optimization import Optimization
from tests.modules.tiny_runs import write_exports

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
RUNS = sorted(path for path in EXPERIMENTS.rglob("*.yaml") if "\nmodel:\n  class_path:" in path.read_text())
SMALL = ("--trainer.fast_dev_run=true", "--trainer.accelerator=cpu", "--data.batch_size=8")
TLDR = ("--data.train_rows=64", "--data.validate_rows=8", "--data.test_rows=8")


@pytest.fixture(scope="module")
def starts(tmp_path_factory):
    """Folders of a policy and a reward model that know the letters of tiny TL;DR."""
    return write_exports(tmp_path_factory.mktemp("starts"))


@pytest.mark.parametrize("path", RUNS, ids=lambda p: str(p.relative_to(EXPERIMENTS)))
def test_every_run_is_short_enough_for_two_updates(path):
    config = cli.RunCLI("fit", ["--config", str(path), SMALL[0]], build=False).config
    apply_fast_dev_run(config)
    given = config.model.init_args
    assert config.trainer.fast_dev_run == 2
    assert Optimization(**given.optimization.as_dict()).warmup(2) == 0
    if "ppo" in given:
        assert given.ppo.epochs * given.ppo.minibatches == 1
        assert given.ppo.critic_warmup == 0


@pytest.mark.parametrize(
    ("stage", "options"),
    [
        ("sft", ["--model.model={policy}"]),
        ("reward_model", []),
        ("ma_ppo_fixed5", ["--model.policy={policy}", "--model.scorer.model={reward}"]),
        ("ppo_horizon10", ["--model.policy={policy}", "--model.scorer.model={reward}"]),
    ],
)
def test_a_smoke_run_makes_two_updates_and_leaves_nothing(starts, tmp_path, monkeypatch, stage, options):
    monkeypatch.chdir(tmp_path)
    made = []
    monkeypatch.setattr(Trainer, "_teardown", lambda self, end=Trainer._teardown: made.append(self) or end(self))
    given = [option.format(**starts) for option in options]
    config = EXPERIMENTS / f"tiny/tldr/{stage}.yaml"
    assert cli.main(["fit", "--config", str(config), *SMALL, *TLDR, *given]) == 0
    assert [trainer.global_step for trainer in made] == [2]
    assert "eval/loss" in made[0].callback_metrics or "eval/scores" in made[0].callback_metrics
    assert not list(tmp_path.iterdir())
