import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from lightning_marlhf.commands import errors
from lightning_marlhf.commands import run as cli

ROOT = Path(__file__).parents[2]
CPU = "--trainer.accelerator=cpu"
JUDGE = "--win_rate.judge=toy_run.ToyJudge"
MONITOR = "--trainer.callbacks+=LearningRateMonitor"


def run(*arguments) -> int:
    return cli.main(["fit", *map(str, arguments)])


def error_of(capsys) -> str:
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, error
    assert "Traceback" not in error
    return lines[0].removeprefix("error: ")


def test_a_fit_leaves_its_config_checkpoint_and_export(toy_yaml, tmp_path):
    assert run("--config", toy_yaml) == 0
    config = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    assert config["model"]["init_args"]["condition"] == {"class_path": "toy_run.Fixed", "init_args": {"n": 3}}
    assert config["model"]["init_args"]["updates"]["lr"] == 0.1  # a default, resolved
    assert config["trainer"]["use_distributed_sampler"] is False
    assert not {"ckpt_path", "overwrite", "debug"} & set(config)
    assert (tmp_path / "run/checkpoints/last.ckpt").exists()
    assert (tmp_path / "run/export").is_dir()
    assert json.loads((tmp_path / "run/done.json").read_text())["step"] == 4


def test_a_judge_of_the_yaml_is_built(toy_yaml, tmp_path):
    judge = "{class_path: toy_run.ToyJudge, init_args: {margin: 0.5}}"
    toy_yaml.write_text(toy_yaml.read_text() + f"win_rate: {{num_prompts: 3, judge: {judge}}}\n")
    with pytest.warns(UserWarning, match="nothing to compare with"):  # the toy answers nothing
        assert run("--config", toy_yaml) == 0
    config = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    assert config["win_rate"]["init_args"]["num_prompts"] == 3
    assert config["win_rate"]["init_args"]["judge"]["init_args"] == {"margin": 0.5}


def test_a_baseline_that_is_missing_is_told_before_the_run_begins(toy_yaml, tmp_path, capsys):
    assert run("--config", toy_yaml, "--win_rate.baseline=missing.jsonl") == 1
    assert error_of(capsys) == "No such file or directory: missing.jsonl"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "key", "said"),
    [
        # unknown settings, and the nearest right one
        ("--trainer.maxsteps=3", "trainer.maxsteps", "'max_steps'?"),
        ("--traner.max_steps=3", "traner", "'trainer'?"),
        ("--max_steps=3", "max_steps", "'trainer.max_steps'?"),
        ("--model.sorce=x", "model.init_args.sorce", "'source'?"),
        ("--model.updates.clip=3", "model.init_args.updates.clip", "'clip_range'?"),
        ("--model.lr=3", "model.init_args.lr", "'model.init_args.updates.lr'?"),
        ("--model.condition.m=3", "model.init_args.condition.init_args.m", "it has: n"),
        ("--checkpoint.evry_n_train_steps=3", "checkpoint.evry_n_train_steps", "'every_n_train"),
        ("--kl_guard.limt=3", "kl_guard.limt", "'limit'?"),
        (f"{JUDGE} --win_rate.judge.margn=1", "win_rate.judge.init_args.margn", "'margin'?"),
        (f"{MONITOR} --trainer.callbacks.x=1", "trainer.callbacks.init_args.x", "log_momentum"),
        ("bogus", "'bogus' is not an option", ""),
        ("--trainer.max_steps", "trainer.max_steps", ""),
        # classes
        ("--win_rate.judge.class_path=toy_run.Judgee", "win_rate.judge.class_path", "no class"),
        ("--model.condition=toy_run.Fixd", "model.init_args.condition.class_path", "'toy_run.Fixed'?"),
        ("--model.condition=Fixd", "model.init_args.condition.class_path", "'Fixed'?"),
        ("--model.condition=nowhere.Fixed", "model.init_args.condition.class_path", "'Fixed'?"),
        ("--model.condition=toy_run.ToyData", "model.init_args.condition.class_path", "Condition"),
        ("--model=toy_run.ToyData", "model.class_path", "toy_run.ToyData is no LightningModule"),
        ("--data.class_path=toy_run.ToyDate", "data.class_path", "'toy_run.ToyData'?"),
        ("--trainer.logger=WandbLoger", "trainer.logger.class_path", "'WandbLogger'?"),
        ("--model.help=Toyy", "model.class_path", "'Toy'?"),
        # values of another type
        ("--model.updates.lr=fast", "model.init_args.updates.lr", "expected float, got 'fast'"),
        ("--model.updates.shape=cosin", "model.init_args.updates.shape", "'cosine'?"),
        ("--model.updates=lr", "model.init_args.updates", "got 'lr'"),
        ("--model.condition.n=x", "model.init_args.condition.init_args.n", "int or null, got 'x'"),
        ("--trainer.max_steps=x", "trainer.max_steps", "expected int, got 'x'"),
        ("--trainer.precision=bf16-mixd", "trainer.precision", "'bf16-mixed'?"),
        # numbers outside their ranges
        ("--model.updates.lr=.nan", "model.init_args.updates.lr", "a finite number, got nan"),
        ("--model.updates.lr=inf", "model.init_args.updates.lr", "got 'inf'"),
        ("--kl_guard.limit=-1", "kl_guard.limit", "expected more than 0, got -1"),
        ("--win_rate.num_prompts=0", "win_rate.num_prompts", "expected at least 1, got 0"),
        ("--checkpoint.every_n_train_steps=0", "checkpoint.every_n_train_steps", "at least 1, got 0"),
        ("--seed_everything=-5", "seed_everything", "at least 0 and at most 4,294,967,295"),
        ("--trainer.gradient_clip_val=.nan", "trainer.gradient_clip_val", "a finite number"),
        ("--trainer.num_nodes=0", "trainer.num_nodes", "expected at least 1, got 0"),
        ("--trainer.max_steps=-2", "trainer.max_steps", "expected at least -1, got -2"),
        (f"{CPU} --trainer.devices=9999", "trainer.devices", "expected 1 to "),
        (f"{CPU} --trainer.devices=0", "trainer.devices", "expected 1 to "),
        (f"{CPU} --trainer.devices=abc", "trainer.devices", "expected 1 to "),
        # what cannot work together
        ("--trainer.default_root_dir=null", "trainer.default_root_dir is missing", ""),
        ("--data.init_args.seed=5", "data.init_args.seed", "seed_everything (1)"),
        ("--trainer.precision=bf16-true", "trainer.precision", "model.init_args.dtype"),
        ("--trainer.precision=16", "trainer.precision", "32-true or bf16-mixed, got 16"),
        ("--trainer.gradient_clip_val=1", "trainer.gradient_clip_val", "optimization.max_grad_norm"),
    ],
)
def test_a_mistake_is_one_line_that_names_it_and_the_right_one(toy_yaml, tmp_path, capsys, arguments, key, said):
    assert run("--config", toy_yaml, *arguments.split()) == 2
    error = error_of(capsys)
    assert error.startswith(key)
    assert said in error
    assert not (tmp_path / "run").exists()


def test_data_of_another_stage_is_refused(capsys):
    config = ROOT / "experiments/tiny/tldr/ma_ppo_fixed5.yaml"
    assert run("--config", config, "--data.stage=sft") == 2
    assert error_of(capsys).startswith("data.init_args.stage: expected ppo")


def test_a_mistake_in_a_file_is_said_with_the_file(toy_yaml, tmp_path, capsys):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("model: {init_args: {sorce: x}}\n")
    assert run("--config", toy_yaml, "--config", overlay) == 2
    assert error_of(capsys).startswith(f"{overlay}: model.init_args.sorce: Toy has no 'sorce'")


@pytest.mark.parametrize("text", ["1: 2", "null: 2", "trainer: {1: 2}", "a b: 1"])
def test_a_key_that_is_no_text_is_refused(toy_yaml, tmp_path, capsys, text):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(text)
    assert run("--config", toy_yaml, "--config", overlay) == 2
    assert error_of(capsys).startswith(f"{overlay}: ")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("trainer: null", "trainer"),
        ("checkpoint: 3", "checkpoint"),
        ("model: null", "model"),
        ("model: {init_args: [1]}", "model"),
        ("model: nofile.yaml", "model"),
        ("data: 5", "data"),
        ("model: {class_path: null}", "model"),
        ("model: {init_args: {updates: null}}", "model.init_args.updates"),
    ],
)
def test_a_section_that_holds_no_settings_is_refused(toy_yaml, tmp_path, capsys, text, key):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(text)
    assert run("--config", toy_yaml, "--config", overlay) == 2
    assert error_of(capsys).startswith(f"{overlay}: {key}")


def test_settings_beside_class_path_are_pointed_under_init_args(toy_yaml, capsys):
    toy_yaml.write_text(toy_yaml.read_text().replace("  init_args: {rows: 8}", "  rows: 16"))
    assert run("--config", toy_yaml) == 2
    assert "data.rows: unexpected next to class_path" in error_of(capsys)


def test_a_missing_setting_is_named_before_anything_is_built(toy_yaml, capsys):
    toy_yaml.write_text(toy_yaml.read_text().replace("source: somewhere", "mistake: init"))
    assert run("--config", toy_yaml) == 2
    assert error_of(capsys).startswith("model.init_args.source is missing")


def test_a_class_alone_says_all_that_it_needs(capsys):
    assert run("--model", "MAPPO") == 2
    error = error_of(capsys)
    for name in ("policy", "scorer", "termination", "sampling.max_new_tokens"):
        assert f"model.init_args.{name}" in error


def test_no_config_at_all_says_what_to_do(capsys):
    assert run() == 2
    assert error_of(capsys) == "model is missing: give --config FILE (see experiments/)"


def test_null_can_be_given_to_a_nested_setting(toy_yaml, capsys):
    with pytest.raises(SystemExit):
        run("--config", toy_yaml, "--model.condition.n=null", "--print_config")
    assert yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]["condition"]["init_args"] == {"n": None}


def test_several_configs_merge_and_print_config_shows_the_result(toy_yaml, tmp_path, capsys):
    (tmp_path / "overlay.yaml").write_text("trainer: {max_steps: 7}\nmodel: {init_args: {updates: {lr: 1e-3}}}\n")
    with pytest.raises(SystemExit) as end:
        run("--config", toy_yaml, "--config", tmp_path / "overlay.yaml", "--print_config")
    assert end.value.code == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["trainer"]["max_steps"] == 7
    assert config["model"]["init_args"]["updates"]["lr"] == 1e-3
    assert config["data"]["init_args"]["rows"] == 8


def test_the_seed_reaches_model_and_data(toy_yaml):
    run_cli = cli.RunCLI("fit", ["--config", str(toy_yaml), "--seed_everything", "7"])
    assert (run_cli.model.seed, run_cli.datamodule.seed) == (7, 7)


def test_a_saved_config_runs_again_and_a_resume_notes_what_changed(toy_yaml, tmp_path, capsys):
    assert run("--config", toy_yaml) == 0
    saved = tmp_path / "run/config.yaml"
    assert run("--config", saved, "--ckpt_path", "last", "--trainer.max_steps", 6) == 0
    text = saved.read_text()
    assert "#   trainer.max_steps: 4 -> 6" in text
    assert "resumed from" in text
    assert yaml.safe_load(text)["trainer"]["max_steps"] == 6
    assert json.loads((tmp_path / "run/done.json").read_text())["step"] == 6


def test_a_directory_in_use_is_refused_in_one_line(toy_yaml, capsys):
    assert run("--config", toy_yaml) == 0
    assert run("--config", toy_yaml) == 1
    assert "already holds a run" in error_of(capsys)
    assert run("--config", toy_yaml, "--overwrite") == 0


def test_a_user_s_mistake_in_a_constructor_is_one_line(toy_yaml, capsys):
    assert run("--config", toy_yaml, "--model.mistake=init") == 1
    assert error_of(capsys).startswith("source: expected a toy, got something else")


def test_a_full_disk_is_one_line(toy_yaml, capsys):
    assert run("--config", toy_yaml, "--model.mistake=disk") == 1
    assert "the disk is full (somewhere)" in error_of(capsys)


def test_a_fault_of_the_program_keeps_its_traceback(toy_yaml):
    with pytest.raises(RuntimeError, match="a fault of the program"):
        run("--config", toy_yaml, "--model.mistake=step")


def test_debug_keeps_every_traceback(toy_yaml, monkeypatch):
    monkeypatch.setenv(errors.DEBUG_VARIABLE, "")
    with pytest.raises(ValueError, match="expected a toy"):
        run("--config", toy_yaml, "--model.mistake=init", "--debug")


def test_a_test_may_follow_the_fit_and_its_metrics_are_kept(toy_yaml, tmp_path):
    assert run("--config", toy_yaml, "--test_after_fit", "true") == 0
    done = json.loads((tmp_path / "run/done.json").read_text())
    assert done["command"] == "fit"
    assert {"loss/toy", "eval/loss"} <= set(done["metrics"])


def test_a_test_of_a_checkpoint_shows_its_metrics_and_leaves_the_config_of_the_fit(toy_yaml, tmp_path, capsys):
    assert run("--config", toy_yaml) == 0
    before = (tmp_path / "run/config.yaml").read_text()
    capsys.readouterr()
    options = ["--config", str(toy_yaml), "--ckpt_path=last", "--data.rows=4"]
    assert cli.main(["test", *options]) == 0
    assert "eval/loss" in capsys.readouterr().out
    assert (tmp_path / "run/config.yaml").read_text() == before


def test_a_tested_checkpoint_counts_the_updates_it_has_seen(toy_yaml):
    assert run("--config", toy_yaml) == 0
    tested = cli.RunCLI("test", ["--config", str(toy_yaml), "--ckpt_path=last"])
    assert tested.run() == 0
    assert tested.trainer.global_step == 4


# --- what every LightningCLI program knows


def resolved(*arguments):
    return cli.RunCLI("fit", list(map(str, arguments)), build=False).config


def printed(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        run(*arguments)
    assert end.value.code == 0
    return capsys.readouterr().out


def test_another_class_is_found_by_its_bare_name_and_takes_over_the_settings_it_has():
    data = resolved("--config", ROOT / "experiments/tldr/gemma-2b/sft.yaml", "--data", "WebGPT").data
    assert data.class_path == "lightning_marlhf.data.WebGPT"
    assert (data.init_args.split_by, data.init_args.batch_size) == ("row", 512)


@pytest.mark.parametrize(
    ("arguments", "there"),
    [
        (["--model.help", "SFT"], "--model.optimization.lr"),
        (["--model.help", "lightning_marlhf.modules.MAPPO"], "float at least 0 and at most 1"),
        (["--data.help", "Preferences"], "--data.chosen_column"),
        (["--model.help"], "SFT"),
        (["--trainer.callbacks.help"], "LearningRateMonitor"),
        (["--trainer.callbacks.help", "LearningRateMonitor"], "logging_interval"),
        (["--trainer.logger.help=WandbLogger"], "--trainer.logger.project"),
        (["--trainer.help"], "--trainer.max_steps"),
        (["--help"], "--checkpoint.every_n_train_steps"),
    ],
)
def test_help_shows_the_settings_of_a_class(capsys, arguments, there):
    assert there in printed(capsys, *arguments)


def test_loggers_and_callbacks_are_added_by_their_names(toy_yaml):
    logger = ["--trainer.logger", "WandbLogger", "--trainer.logger.project", "x"]
    callback = [MONITOR, "--trainer.callbacks.logging_interval=step"]
    trainer = resolved("--config", toy_yaml, *logger, *callback).trainer
    assert trainer.logger.init_args.project == "x"
    assert [each.init_args.logging_interval for each in trainer.callbacks] == ["step"]


def test_environment_variables_are_settings_below_those_of_files_and_options(toy_yaml, monkeypatch):
    monkeypatch.setenv("PL_CONFIG", str(toy_yaml))
    monkeypatch.setenv("PL_TRAINER__MAX_EPOCHS", "3")
    assert resolved().trainer.max_epochs == 3
    assert resolved("--trainer.max_epochs=4").trainer.max_epochs == 4


def test_a_section_may_stand_in_a_file_of_its_own(toy_yaml, tmp_path):
    (tmp_path / "part").mkdir()
    (tmp_path / "part/model.yaml").write_text("class_path: toy_run.Toy\ninit_args: {source: there}\n")
    (tmp_path / "part/all.yaml").write_text("model: model.yaml\n")
    model = resolved("--config", toy_yaml, "--config", tmp_path / "part/all.yaml").model
    assert (model.init_args.source, model.init_args.condition.init_args.n) == ("there", 3)


def test_a_file_adds_to_a_list_and_sets_a_nested_null(toy_yaml, tmp_path):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(
        "trainer: {callbacks+: {class_path: LearningRateMonitor}}\n"
        "model: {init_args: {condition: {init_args: {n: null}}}}\n"
    )
    both = resolved("--config", toy_yaml, "--config", overlay, "--config", overlay)
    assert len(both.trainer.callbacks) == 2
    assert both.model.init_args.condition.init_args.n is None


def test_a_key_that_a_file_has_twice_is_refused(toy_yaml, tmp_path, capsys):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("trainer: {max_steps: 1, max_steps: 2}\n")
    assert run("--config", toy_yaml, "--config", overlay) == 2
    assert error_of(capsys).startswith(f"{overlay}:1:")


# --- loggers


def test_a_logger_of_the_yaml_is_added_to_metrics_csv_and_tensorboard(toy_yaml, tmp_path):
    logger = ["--trainer.logger=CSVLogger", f"--trainer.logger.save_dir={tmp_path}/more"]
    trainer = cli.RunCLI("fit", ["--config", str(toy_yaml), *logger]).trainer
    assert [type(each).__name__ for each in trainer.loggers] == ["MetricsCSV", "TensorBoard", "CSVLogger"]
    assert cli.all_loggers(False, tmp_path) == []


def test_weights_and_biases_logs_offline(toy_yaml, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    logger = ["--trainer.logger=WandbLogger", f"--trainer.logger.save_dir={tmp_path}/wandb"]
    assert run("--config", toy_yaml, *logger, "--trainer.logger.project=toy") == 0
    assert list((tmp_path / "wandb").rglob("*.wandb"))
    assert (tmp_path / "run/metrics.csv").exists()


def test_trackio_takes_the_config_and_the_metrics_of_a_run(toy_yaml, monkeypatch):
    """With a stand-in for the package, which is not among those of the tests."""
    calls = []
    tracked = SimpleNamespace(
        log=lambda metrics, step: calls.append((metrics, step)), finish=lambda: calls.append("finished")
    )

    def init(project, *, config, **_):
        calls.append((project, config))
        return tracked

    monkeypatch.setitem(sys.modules, "trackio", SimpleNamespace(init=init))
    arguments = ["--trainer.logger=TrackioLogger", "--trainer.logger.project=toy"]
    logger = cli.RunCLI("fit", ["--config", str(toy_yaml), *arguments]).trainer.loggers[-1]
    logger.log_hyperparams({"lr": 1e-5})
    logger.log_metrics({"loss": 0.5}, step=3)
    logger.finalize("success")
    assert calls == [("toy", {"lr": 1e-5}), ({"loss": 0.5}, 3), "finished"]


def test_a_whole_number_stays_one_whatever_order_a_union_has(toy_yaml):
    arguments = ["--config", str(toy_yaml), "--trainer.limit_val_batches=1", "--trainer.val_check_interval=1.0"]
    parsed = cli.RunCLI("fit", arguments, build=False)
    action = next(a for a in parsed.parser._actions if a.dest == "trainer.limit_val_batches")
    action._typehint = float | int | None
    parsed.parser.try_integers_first()
    again = cli.RunCLI("fit", arguments, build=False).config.trainer
    assert [type(again.limit_val_batches), type(again.val_check_interval)] == [int, float]
