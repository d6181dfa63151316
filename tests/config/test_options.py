from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from lightning_marlhf.config.options import positional, read_options, split_options
from lightning_marlhf.config.yaml_files import ConfigError
from lightning_marlhf.ranges import NonNegative, PositiveInt


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How to sample.

    Args:
        temperature: 0 is greedy decoding.
    """

    temperature: NonNegative = 1.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """Sample responses.

    Args:
        model: A run or a Hub id.
        out: Where the responses go. A file.
        k: Values of k.
        device: Where it runs.
        limit: Prompts at most.
        overwrite: Replace the file.
        sampling: Flattened.
    """

    model: str = positional()
    out: Path
    k: list[PositiveInt] = (1, 5)  # type: ignore[assignment]
    device: Literal["cpu", "cuda"] | None = None
    limit: PositiveInt | None = None
    overwrite: bool = False
    sampling: Sampling = Sampling()


def read(line: str) -> Options:
    return read_options(Options, line.split(), command="sample")


def test_options_are_fields_of_a_dataclass_and_of_those_inside_it():
    options = read("m --out x.jsonl --k 1 10 --k 100 --temperature=0 --overwrite")
    assert options == Options(
        model="m", out=Path("x.jsonl"), k=[1, 10, 100], overwrite=True, sampling=Sampling(temperature=0.0)
    )
    assert read("m --out x").k == [1, 5]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("m", "--out is missing (Where the responses go)"),
        ("--out x", "model is missing (A run or a Hub id)"),
        ("m --out", "--out: expected a value"),
        ("m --out x --limt 3", "--limt: no such option, did you mean '--limit'?"),
        ("m --out x --banana 3", "--banana: no such option; expected one of: model, --out, "),
        ("m --out x --limit 0", "--limit: expected at least 1, got 0"),
        ("m --out x --limit a", "--limit: expected int or null, got 'a'"),
        ("m --out x --k 1 0", "--k: expected at least 1, got 0"),
        ("m --out x --device gpu", "--device: expected 'cpu' or 'cuda' or null, got 'gpu'"),
        ("m --out x --temperature=-1", "--temperature: expected at least 0, got -1"),
    ],
)
def test_a_wrong_command_line_is_one_line_that_names_the_option(line, said):
    with pytest.raises(ConfigError) as caught:
        read(line)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_help_says_types_in_words(capsys):
    with pytest.raises(SystemExit):
        read("--help")
    shown = " ".join(capsys.readouterr().out.split())
    assert "--k K ... Values of k. (type: list[int at least 1], default: [1, 5])" in shown
    assert "Prompts at most. (type: int at least 1 or null" in shown
    assert "Annotated" not in shown


def test_options_of_a_command_are_told_from_those_of_a_run():
    ours, others = split_options(Options, ["--limit", "3", "--config", "a.yaml", "--overwrite"])
    assert (ours, others) == (["--limit", "3", "--overwrite"], ["--config", "a.yaml"])
