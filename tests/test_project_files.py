"""The files that describe the project agree with each other."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# What the project needs, and nothing else: one dependency for each thing that is not our subject.
DEPENDENCIES = [
    "lightning",
    "torch",
    "transformers",
    "datasets",
    "torchdata",
    "torchmetrics",
    "tensorboard",
    "jsonargparse",
    "jaxtyping",
    "numpy",
    "scipy",
    "pandas",
    "matplotlib",
    "rich",
    "psutil",
    "pyarrow",
    "pyyaml",
    "jinja2",
    "huggingface-hub",
    "safetensors",
    "tokenizers",
    "docstring-parser",
]
EXTRAS = {
    "peft": ["peft"],
    "judge": ["openai"],
    "parsing": ["stanza", "nltk"],
    "annotate": ["starlette", "uvicorn"],
    "dev": [
        "lightning-marlhf",
        "transformers",
        "pytest",
        "pytest-xdist",
        "hypothesis",
        "beartype",
        "ruff",
        "mypy",
        "import-linter",
        "nbmake",
        "nltk",
    ],
}


def names(requirements: list[str]) -> list[str]:
    return [canonicalize_name(Requirement(text).name) for text in requirements]


def conda_requirements(text: str) -> list[str]:
    """The requirements under `pip:` of an environment.yml, options left out."""
    listed = next(d for d in yaml.safe_load(text)["dependencies"] if isinstance(d, dict))["pip"]
    return [entry for entry in listed if not entry.startswith("-")]


def pins(text: str) -> dict[str, str]:
    """Package name to exact version; every line of a constraints file has to be one pin."""
    found = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][A-Za-z0-9.]*)", line)
        assert match, f"not a plain pin: {line!r}"
        found[canonicalize_name(match[1])] = match[2]
    return found


def test_dependencies_and_extras_are_those_designed() -> None:
    assert names(PROJECT["dependencies"]) == DEPENDENCIES
    assert {e: names(r) for e, r in PROJECT["optional-dependencies"].items()} == EXTRAS
    assert PROJECT["requires-python"] == ">=3.11"


def test_conda_environment_names_the_dependencies_of_pyproject() -> None:
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert sorted(conda_requirements(text)) == sorted(PROJECT["dependencies"])
    assert "python=3.12" in yaml.safe_load(text)["dependencies"]


def test_a_dependency_missing_from_the_conda_environment_is_noticed() -> None:
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    without_torch = text.replace("      - torch>=2.13\n", "")
    assert sorted(conda_requirements(without_torch)) != sorted(PROJECT["dependencies"])


def test_constraints_pin_every_dependency_within_its_range() -> None:
    pinned = pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    assert pinned["torch"] == "2.13.0"
    extras = [text for group in PROJECT["optional-dependencies"].values() for text in group]
    for text in PROJECT["dependencies"] + [text for text in extras if "lightning_marlhf" not in text]:
        requirement = Requirement(text)
        version = pinned[canonicalize_name(requirement.name)]
        assert version in requirement.specifier, f"{text} does not allow the pinned {version}"


@pytest.mark.parametrize("line", ["torch>=2", "torch @ file:///x", "-e .", "torch==2.13.0+cpu"])
def test_a_constraint_that_is_not_a_plain_pin_is_noticed(line: str) -> None:
    with pytest.raises(AssertionError, match="not a plain pin"):
        pins(line)


def test_pre_commit_hooks_use_the_pinned_versions() -> None:
    pinned = pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    tools = [Requirement(d) for hook in hooks for d in hook.get("additional_dependencies", [])]
    assert {"ruff", "codespell"} <= {tool.name for tool in tools}
    for tool in tools:
        if tool.name in pinned:
            assert tool.specifier == SpecifierSet(f"=={pinned[tool.name]}")


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["demo"], "reproduce experiments/tiny/tldr/demo.yaml\n"),
        (["demo", "QUICK=1"], "reproduce experiments/tiny/tldr/demo.yaml --quick\n"),
        (["demo", "OUTPUT=x"], "reproduce experiments/tiny/tldr/demo.yaml --output x\n"),
        (["test"], "-m pytest"),
    ],
)
def test_make_runs_what_it_says(arguments: list[str], expected: str) -> None:
    printed = subprocess.run(
        ["make", "--dry-run", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert expected in printed


def test_make_help_names_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z]+):.*## ", makefile, flags=re.MULTILINE)
    assert {"help", "demo", "test", "lint"} <= set(targets)
    for target in set(targets) - {"help"}:
        assert f'@echo "make {target} ' in makefile


def test_every_test_that_the_page_of_kinds_names_exists() -> None:
    named = 0
    for line in (ROOT / "tests/README.md").read_text(encoding="utf-8").splitlines():
        text = ""
        for path, test in re.findall(r"`(?:(tests/[\w/.]+))?(?:::(\w+)\*?)?`", line):
            if path:
                file = ROOT / path
                text = file.read_text(encoding="utf-8") if file.suffix == ".py" else ""
            assert test in text, f"{path}::{test}"
            named += bool(test)
    assert named > 100
