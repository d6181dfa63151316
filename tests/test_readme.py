"""What the README and the pages of docs/ show works as it stands there."""

import dataclasses
import importlib
import re
import shlex
from contextlib import suppress
from pathlib import Path
from string import Template

import pytest
import yaml

from lightning_marlhf.__main__ import COMMANDS
from lightning_marlhf.commands import run
from lightning_marlhf.config.options import _fields as option_fields
from lightning_marlhf.config.options import read_options, split_options
from lightning_marlhf.files import write_text
from lightning_marlhf.records import read_completions

ROOT = Path(__file__).parents[1]
PAGES = {path: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))}
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", "\n".join(PAGES.values()), flags=re.DOTALL | re.MULTILINE)
PIPS = {"--constraint", "--editable", "--logdir"}  # options of pip and TensorBoard
LONGEST_BLOCK = 10  # lines
NAMES = {  # how a command line begins -> the command, where it does not follow
    "python -m lightning_marlhf": "",
    "experiments/hardware/torchrun.sh": "fit",
    "sbatch experiments/hardware/slurm.sh": "fit",
}
NETWORK = {
    "model_type": "gemma",
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 0.2,
}
TINY = {"schedule": "constant", "lr": 1e-3}
TRAINER = {"accelerator": "cpu", "max_steps": 1, "limit_val_batches": 0}
ROWS = [
    f'{{"question": "lost {key}. ", "better": "on monday.", "worse": "no."}}' for key in ("keys", "bag", "cat", "dog")
]


def block(language: str, holds: str) -> str:
    """Return the shown code of that language that holds a text; where pages repeat it, the README's."""
    return next(text for found, text in BLOCKS if found == language and holds in text)


def fit(folder: Path, settings: dict, shown: dict) -> Path:
    """Run settings with the block of a page over them, as a second --config, in a folder of its own."""
    path = folder / "run"
    write_text(folder / "run.yaml", yaml.safe_dump({"trainer": TRAINER | {"default_root_dir": str(path)}, **settings}))
    write_text(folder / "shown.yaml", yaml.safe_dump(shown))
    assert run.main(["fit", "--config", str(folder / "run.yaml"), "--config", str(folder / "shown.yaml")]) == 0
    return path


def commands() -> list[list[str]]:
    """Return the command lines in the pages' blocks and in the table of commands."""
    table = re.findall(r"^\|[^|]*\| `([^`]+)` \|$", PAGES[ROOT / "README.md"], flags=re.MULTILINE)
    found = [shlex.split(line) for line in table if line.split()[0] in COMMANDS]
    shell = "".join(text for language, text in BLOCKS if not language).replace("\\\n", " ")
    variables = dict(re.findall(r"\b([A-Z]+)=(\S+)", shell))
    found = [[Template(word).safe_substitute(variables) for word in words] for words in found]
    lines = Template(shell).safe_substitute(variables).splitlines()
    for line in lines:
        for name, command in NAMES.items():
            if line.startswith(name):
                found.append(shlex.split(f"{command} {line.removeprefix(name)}", comments=True))
    return found


def options_of(command: str) -> type | None:
    """Return the dataclass of a command's options; None of fit and its like."""
    module = importlib.import_module(f"lightning_marlhf.commands.{COMMANDS[command][0]}")
    kinds = [kind for name, kind in vars(module).items() if name.endswith("Options") and dataclasses.is_dataclass(kind)]
    return next((kind for kind in kinds if kind.__module__ == module.__name__), None)


@pytest.mark.parametrize("words", commands(), ids=shlex.join)
def test_a_command_line_of_the_pages_is_one_that_the_command_takes(words, monkeypatch):
    monkeypatch.chdir(ROOT)
    command, *words = words
    options = options_of(command)
    if options is not None:
        taken, words = split_options(options, words) if command in ("plan", "preview") else (words, [])
        read_options(options, taken, command=command)
        if command not in ("plan", "preview"):
            return
        configs = [word for path in re.findall(r"\S+\.yaml", " ".join(taken)) for word in ("--config", path)]
        words = [*configs, *words]
    with suppress(SystemExit):  # of `--model.help` and `--print_config`; a mistake is a ConfigError
        run.RunCLI("preview" if command == "preview" else "fit", words, build=False)


def test_options_in_sentences_exist():
    parser = run.RunCLI("fit", ["--config", str(ROOT / "experiments/tiny/tldr/sft.yaml")], build=False).parser
    known = {option for action in parser._actions for option in action.option_strings} | {"--help"}
    for command in COMMANDS:
        options = options_of(command)
        known |= {field.word for field in option_fields(options)} if options else set()
    named = {name for text in PAGES.values() for name in re.findall(r"[`\s](--[a-z][\w-]*)(?![\w.-])", text)}
    assert named - known == PIPS


def test_the_readme_has_an_example_of_every_command_and_a_link_to_every_page():
    readme = PAGES[ROOT / "README.md"]
    assert {command for command in COMMANDS if f"`{command}`" not in readme} == set()
    assert {path.name for path in PAGES if path.parent != ROOT and f"(docs/{path.name})" not in readme} == set()


def test_links_of_the_pages_lead_to_files():
    for path, text in PAGES.items():
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
            assert "://" in target or (path.parent / target).exists(), f"{path.name}: {target}"


def test_settings_are_at_most_ten_lines():
    assert max(len(text.split("\n\n\n")[-1].splitlines()) for language, text in BLOCKS if language) <= LONGEST_BLOCK


def test_data_and_a_model_of_one_s_own_are_a_block_each(tmp_path, monkeypatch, make_lm, tokenizer):
    monkeypatch.chdir(tmp_path)
    for name in ("train", "valid"):
        write_text(tmp_path / f"my_pairs/{name}.jsonl", "\n".join(ROWS) + "\n")
    make_lm().save_pretrained("my_model")
    tokenizer.save_pretrained("my_model")
    model = yaml.safe_load(block("yaml", "model: google/gemma-2b").replace("google/gemma-2b", "my_model"))
    data = yaml.safe_load(block("yaml", "source: my_pairs").replace("google/gemma-2b", "my_model"))

    settings = {"class_path": "lightning_marlhf.modules.RewardModel", "init_args": {"optimization": TINY}}
    settings["init_args"] |= {"model": {"config": NETWORK}}
    path = fit(
        tmp_path,
        {"model": settings, "data": {"class_path": "Preferences", "init_args": {"batch_size": 4, "max_length": 64}}},
        data | model,
    )

    assert yaml.safe_load((path / "config.yaml").read_text())["model"]["init_args"]["model"] == "my_model"
    assert (path / "export/model.safetensors").is_file()


def test_a_reward_and_a_termination_of_one_s_own_are_a_class_and_a_line_each(tmp_path, monkeypatch):
    classes = [block("python", kind) for kind in ("(Scorer)", "(Termination)")]
    (tmp_path / "my_module.py").write_text("\n".join(classes))
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = {"policy": {"config": NETWORK}, "optimization": TINY, "sampling": {"max_new_tokens": 24}}
    settings |= {"scorer": {"class_path": "TinyTLDRGold"}, "ppo": {"epochs": 1, "minibatches": 1}}
    model = {"class_path": "lightning_marlhf.modules.MAPPO", "init_args": settings}
    data = {"class_path": "lightning_marlhf.data.TinyTLDR", "init_args": {"stage": "ppo", "batch_size": 4}}
    shown: dict = {"model": {"init_args": {}}}
    for name in ("Brevity", "AtSpaces"):
        shown["model"]["init_args"] |= yaml.safe_load(block("yaml", f"my_module.{name}"))["model"]["init_args"]

    path = fit(tmp_path, {"model": model, "data": data}, shown)

    rows = read_completions(path / "completions/rollouts-000001.jsonl")
    assert [row.scores["brevity"] for row in rows] == pytest.approx([-len(row.response) / 100 for row in rows])
    traces = [row.trace for row in rows]
    assert len(traces) == 4
    for trace in traces:
        index, tokens = trace["macro_index"], trace["tokens"]
        starts = [n for n in range(1, len(index)) if index[n] != index[n - 1]]
        assert starts == [n for n in range(1, len(index)) if tokens[n] == " "]
    assert sum(max(trace["macro_index"]) for trace in traces) > 0


@pytest.mark.parametrize("name", ["WandbLogger", "TrackioLogger"])
def test_a_logger_is_one_line(name, tmp_path):
    write_text(tmp_path / "shown.yaml", block("yaml", name))
    words = ["--config", str(ROOT / "experiments/tiny/tldr/sft.yaml"), "--config", str(tmp_path / "shown.yaml")]
    parsed = run.RunCLI("fit", words, build=False)
    assert parsed.config.trainer.logger.class_path.endswith(f".{name}")
