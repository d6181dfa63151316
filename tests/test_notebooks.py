"""What holds for every notebook; that they run is tested by nbmake (`make test`)."""

import ast
import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LONGEST_FUNCTION = 10  # lines


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def code_cells(path):
    return [cell for cell in read(path)["cells"] if cell["cell_type"] == "code"]


def source(path):
    return "\n\n".join("".join(cell["source"]) for cell in code_cells(path))


def definitions(code):
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    return [node for node in ast.walk(ast.parse(code)) if isinstance(node, kinds)]


def length(node):
    return node.end_lineno - node.lineno + 1


def test_the_notebooks_are_those_designed():
    names = ["01_macro_actions", "02_one_ma_ppo_step", "03_results"]
    assert [path.stem for path in NOTEBOOKS] == names


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_holds_no_outputs(path):
    for cell in code_cells(path):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_function_is_longer_than_ten_lines(path):
    found = definitions(source(path))
    assert max((length(node) for node in found), default=0) <= LONGEST_FUNCTION


def test_a_function_that_is_too_long_is_noticed():
    assert [length(node) for node in definitions("def f():\n" + "    x = 1\n" * 10)] == [11]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_begins_with_its_number_and_asks_for_no_kernel_of_ones_own(path):
    notebook = read(path)
    number = int(path.stem[:2])
    assert "".join(notebook["cells"][0]["source"]).startswith(f"# {number}. ")
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_files_that_a_notebook_names_exist(path):
    text = "".join("".join(cell["source"]) for cell in read(path)["cells"])
    named = {word.strip("`(),;:\"'").rstrip(".").removeprefix("../") for word in text.split() if "/" in word}
    root, package = FOLDER.parent, FOLDER.parent / "lightning_marlhf"
    files = [name for name in named if name.endswith((".py", ".ipynb", ".yaml")) and "*" not in name]
    assert files
    for name in files:
        places = (root / name, package / name, package / "rollout" / name, FOLDER / name)
        assert any(place.exists() for place in places), name
