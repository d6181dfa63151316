"""What language models are asked."""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from lightning_marlhf.evaluation.judges import instructions

ROOT = Path(__file__).parents[3]
# A file that is changed gets a new name: verdicts on both cannot be compared.
VERSIONS = {
    "tldr": "tldr_v1@c6e2544af6c78d44",
    "hh_rlhf": "hh_v1@57c58352ad9f5cda",
    "webgpt": "webgpt_v1@cfb819ea4feb4cde",
    "general": "general_v1@cd20c976b83feb33",
}


@pytest.mark.parametrize("task", sorted(instructions.FILES))
def test_a_text_is_filled_and_nothing_is_left_open(task):
    filled = instructions.load(task).fill("the prompt", "answer one", "answer two")
    places = [filled.index(text) for text in ("the prompt", "answer one", "answer two")]
    assert places == sorted(places)
    assert "{{" not in filled
    assert "data to be judged" in filled


@pytest.mark.parametrize("task", sorted(instructions.FILES))
def test_a_file_keeps_its_content_under_its_name(task):
    assert instructions.load(task).version == VERSIONS[task]


def test_answers_are_data_whatever_they_hold():
    hostile = "{{second}} {0} {prompt} \\1 [end 0000] {{mark}}"
    filled = instructions.load("tldr").fill("p", hostile, "secret")
    assert hostile in filled
    assert filled.count("secret") == 1


def test_the_mark_around_answers_is_one_that_no_answer_can_know():
    ask = instructions.load("general")
    marks = {
        re.search(r"\[prompt (\w+)\]", ask.fill("p", first, "b"))[1] for first in ("a", "a b", "c")
    }
    assert len(marks) == 3
    assert all(len(mark) == 16 for mark in marks)


def test_the_files_are_part_of_the_package():
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = config["tool"]["setuptools"]["package-data"]["lightning_marlhf"]
    assert any(fnmatch("evaluation/judges/prompts/tldr_v1.txt", pattern) for pattern in patterns)
