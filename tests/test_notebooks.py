"""What holds for every notebook; that they run is tested by nbmake (`make test`)."""

import ast
import json
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LONGEST_FUNCTION = 10  # lines
LARGEST = 500_000  # bytes
SHOWN = r"^(print|show|display)\(|^figure, |^\w+\[.*\]\S*$"  # what has an output
ABSOLUTE_PATH = r"(?<![\w.<-])/(tmp|home|root|work|usr|var|Users)/|[A-Z]:\\\\"


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def code_cells(path):
    return [cell for cell in read(path)["cells"] if cell["cell_type"] == "code"]


def source(path):
    lines = "\n\n".join("".join(cell["source"]) for cell in code_cells(path)).splitlines()
    return "\n".join(line for line in lines if not line.startswith("%"))


def definitions(code):
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    return [node for node in ast.walk(ast.parse(code)) if isinstance(node, kinds)]


def length(node):
    return node.end_lineno - node.lineno + 1


def test_the_notebooks_are_those_designed():
    names = ["01_macro_actions", "02_one_ma_ppo_step", "03_results"]
    assert [path.stem for path in NOTEBOOKS] == names


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_holds_the_outputs_of_one_whole_run(path):
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    silent = [cell for cell in cells if not cell["outputs"]]
    assert not [cell for cell in silent if re.search(SHOWN, "".join(cell["source"]), flags=re.MULTILINE)]
    assert path.stat().st_size < LARGEST


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_hold_no_error_and_nothing_of_the_machine_they_were_made_on(path):
    for cell in code_cells(path):
        assert cell["metadata"] == {}
        for output in cell["outputs"]:
            assert output["output_type"] != "error"
            assert output.get("name") != "stderr"
            texts = {kind: text for kind, text in output.get("data", {}).items() if kind != "image/png"}
            assert not re.search(ABSOLUTE_PATH, json.dumps([texts, output.get("text", "")]))


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
