import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lightning_marlhf.commands import errors
from lightning_marlhf.commands import run as cli

ROOT = Path(__file__).parents[2]


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
    assert config["model"]["init_args"]["condition"] == {
        "class_path": "toy_run.Fixed",
        "init_args": {"n": 3},
    }
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
    ("arguments", "said"),
    [
        (
            ["--trainer.maxsteps=3"],
            "trainer.maxsteps: Trainer has no 'maxsteps', did you mean 'max_steps'?",
        ),
        (
            ["--traner.max_steps=3"],
            "traner: the configuration has no 'traner', did you mean 'trainer'?",
        ),
        (["--model.sorce=x"], "model.init_args.sorce: Toy has no 'sorce', did you mean 'source'?"),
        (
            ["--model.updates.clip=3"],
            "model.init_args.updates.clip: Updates has no 'clip', did you mean 'clip_range'?",
        ),
        (
            ["--model.lr=3"],
            "model.init_args.lr: Toy has no 'lr', did you mean 'model.init_args.updates.lr'?",
        ),
        (
            ["--model.condition.m=3"],
            "model.init_args.condition.init_args.m: Fixed has no 'm'; it has: n",
        ),
        (
            ["--checkpoint.evry_n_train_steps=3"],
            "Checkpoint has no 'evry_n_train_steps', did you mean",
        ),
        (["--kl_guard.limt=3"], "kl_guard.limt: KLGuard has no 'limt', did you mean 'limit'?"),
        (
            ["--win_rate.judge.class_path=toy_run.Judgee"],
            "win_rate.judge.class_path: no class 'toy_run.Judgee'",
        ),
        (
            ["--win_rate.judge=toy_run.ToyJudge", "--win_rate.judge.margn=1"],
            "win_rate.judge.init_args.margn: ToyJudge has no 'margn', did you mean 'margin'?",
        ),
        (
            ["--model.condition=toy_run.Fixd"],
            "no class 'toy_run.Fixd', did you mean 'toy_run.Fixed'?",
        ),
        (["--model.condition=toy_run.ToyData"], "toy_run.ToyData is no Condition"),
        (["--model.updates.lr=fast"], "model.init_args.updates.lr: expected float, got 'fast'"),
        (
            ["--model.updates.shape=cosin"],
            "expected 'constant' or 'cosine', got 'cosin', did you mean 'cosine'?",
        ),
        (
            ["--model.condition.n=x"],
            "model.init_args.condition.init_args.n: expected int or null, got 'x'",
        ),
        (["--trainer.max_steps=x"], "trainer.max_steps: expected int, got 'x'"),
        (["--trainer.default_root_dir=null"], "trainer.default_root_dir is missing"),
        (
            ["--data.init_args.seed=5"],
            "data.init_args.seed: 5 differs from seed_everything (1), which sets it",
        ),
        (
            ["--model.updates.lr=.nan"],
            "model.init_args.updates.lr: expected a finite number, got nan",
        ),
        (
            ["--model.updates.lr=inf"],
            "model.init_args.updates.lr: expected a finite number, got inf",
        ),
        (["--kl_guard.limit=-1"], "kl_guard.limit: expected more than 0, got -1"),
        (["--checkpoint.every_n_train_steps=0"], "every_n_train_steps: expected at least 1, got 0"),
        (
            ["--seed_everything=-5"],
            "seed_everything: expected at least 0 and at most 4,294,967,295",
        ),
        (
            ["--trainer.gradient_clip_val=.nan"],
            "trainer.gradient_clip_val: expected a finite number",
        ),
        (["--trainer.num_nodes=0"], "trainer.num_nodes: expected at least 1, got 0"),
        (["--trainer.max_steps=-2"], "trainer.max_steps: expected at least -1, got -2"),
        (
            ["--trainer.precision=bf16-true"],
            "trainer.precision: expected 32-true or bf16-mixed, got bf16-true (model.init_args.dtype",
        ),
        (["--trainer.precision=16"], "expected 32-true or bf16-mixed, got 16"),
        (
            ["--trainer.accelerator=cpu", "--trainer.devices=9999"],
            "trainer.devices: expected 1 to ",
        ),
        (["--trainer.accelerator=cpu", "--trainer.devices=0"], "trainer.devices: expected 1 to "),
        (["--trainer.accelerator=cpu", "--trainer.devices=abc"], "trainer.devices: expected 1 to "),
        (["--data.class_path=toy_run.ToyDate"], "did you mean 'toy_run.ToyData'?"),
        (["bogus"], "'bogus' is not an option"),
    ],
)
def test_a_mistake_is_one_line_that_names_it_and_the_right_one(
    toy_yaml, tmp_path, capsys, arguments, said
):
    assert run("--config", toy_yaml, *arguments) == 2
    assert said in error_of(capsys)
    assert not (tmp_path / "run").exists()


def test_a_mistake_in_a_file_is_said_with_the_file(toy_yaml, tmp_path, capsys):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("model: {init_args: {sorce: x}}\n")
    assert run("--config", toy_yaml, "--config", overlay) == 2
    assert error_of(capsys).startswith(f"{overlay}: model.init_args.sorce: Toy has no 'sorce'")


def test_settings_beside_class_path_are_pointed_under_init_args(toy_yaml, capsys):
    toy_yaml.write_text(toy_yaml.read_text().replace("  init_args: {rows: 8}", "  rows: 16"))
    assert run("--config", toy_yaml) == 2
    assert "data.rows: unexpected beside class_path; settings stand under init_args" in error_of(
        capsys
    )


def test_a_missing_setting_is_named_before_anything_is_built(toy_yaml, capsys):
    toy_yaml.write_text(toy_yaml.read_text().replace("source: somewhere", "mistake: init"))
    assert run("--config", toy_yaml) == 2
    assert error_of(capsys) == "model.init_args.source is missing: Toy needs it"


def test_no_config_at_all_says_what_to_do(capsys):
    assert run() == 2
    assert error_of(capsys) == "model is missing: give --config FILE (see experiments/)"


def test_null_can_be_given_to_a_nested_setting(toy_yaml, capsys):
    with pytest.raises(SystemExit):
        run("--config", toy_yaml, "--model.condition.n=null", "--print_config")
    assert yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]["condition"][
        "init_args"
    ] == {"n": None}


def test_several_configs_merge_and_print_config_shows_the_result(toy_yaml, tmp_path, capsys):
    (tmp_path / "overlay.yaml").write_text(
        "trainer: {max_steps: 7}\nmodel: {init_args: {updates: {lr: 1e-3}}}\n"
    )
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


def test_a_test_of_a_checkpoint_shows_its_metrics_and_leaves_the_config_of_the_fit(
    toy_yaml, tmp_path, capsys
):
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


def test_a_class_of_ours_is_found_by_its_bare_name_and_takes_over_the_settings(tmp_path):
    """The names are imported only when they are looked up; so is no other data set."""
    code = (
        "import sys; from lightning_marlhf.commands.run import RunCLI; "
        "found = RunCLI('fit', sys.argv[1:], build=False).config.data; "
        "print(found.class_path, found.init_args.split_by, 'lightning_marlhf.data.published' in sys.modules)"
    )
    config = str(ROOT / "experiments/tldr/gemma-2b/sft.yaml")
    done = subprocess.run(
        [sys.executable, "-c", code, "--config", config, "--data", "WebGPT"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-3:] == ["lightning_marlhf.data.WebGPT", "row", "False"]
