"""Where a completion holds its program, and what the program's tests are worth."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_marlhf.tasks.code import code_reward, does_nothing, extract_program

PROGRAM = "import sys\n\nfor line in sys.stdin:\n\tprint(int(line) * 2)\n"
OTHER = "print(input()[::-1])\n"
CUT_OFF = "import\n"


def fenced(program, label="python", marks="```"):
    return f"{marks}{label}\n{program}{marks}\n"


# Plain programs


@pytest.mark.parametrize(
    "program",
    [
        PROGRAM,
        PROGRAM.rstrip("\n"),
        PROGRAM.replace("\n", "\r\n"),
        "print('```python')\n",
        'def f():\n    """Adds.\n\n```python\nf(1)\n```\n    """\n    return 2\n',
        '"""\n~~~\n1\n~~~\n"""\nprint(1)\n',
        'text = """\nQUESTION:\nANSWER:\n"""\nprint(text)\n',
        "import re\nprint(re.sub('\\d', '', input()))\n",  # Python warns of the backslash
        "n = int(input())\nif n:\n    return\nprint(n)\n",  # the sandbox takes it for the end of the program
        "Solution()\n",
        "x = 1",
    ],
)
def test_a_completion_that_is_a_program_is_taken_as_it_is(program):
    assert extract_program(program) == program


@pytest.mark.parametrize(
    "completion", ["", "\n", "print 1\n", "x = = 3\n", "def f(:\n", "Sorry, I cannot.", "5", "\0", "\ud800"]
)
def test_a_completion_without_a_program_stays_as_it_is(completion):
    assert extract_program(completion) == completion


def test_a_long_program_that_python_cannot_parse_here_stays_as_it_is():
    long = f"print({'1+' * 5_000}1)\n"
    assert extract_program(long) == long


@pytest.mark.parametrize(
    "after",
    [
        "\nQUESTION:\nDouble a number.\n\nANSWER:\nprint(1)\n",
        "\nANSWER:\nprint(2)\n",
        "\nUse Standard Input format\nANSWER:\nprint(2)\n",
        "\nThis reads each line and\nprints (for example) x = 2.\n",
        "\nExplanation:\n\nx = 1\n",
        "Note that `x` is doubled.\n",
        "---\nprint(2)\n",
        "\n**Complexity:** O(n)\n\n1. Read.\n",
        "- We double x\n",
    ],
)
def test_what_follows_a_plain_program_is_cut_off(after):
    assert extract_program(PROGRAM + after).rstrip() == PROGRAM.rstrip()


def test_a_program_that_python_warns_of_is_a_program():
    program = "import re\nprint(re.sub('\\d', '', input()))\n"
    assert extract_program(f"{program}This removes digits.\n") == program


def test_the_response_to_the_next_question_is_not_taken():
    completion = f"print(\n\nQUESTION:\nDouble a number.\nANSWER:\n{PROGRAM}"
    assert extract_program(completion) == completion
    assert extract_program(completion[len("print(") :]) == completion[len("print(") :]


@pytest.mark.parametrize(
    "before",
    [
        "Here is the program:\n",
        "Sure! Here\u2019s the program:\n\n",
        "We double each number.\nNothing else is needed.\n\n",
        "ANSWER:\n",
        "ANSWER:",
        "\n\nANSWER:\n",
        "We double each number: x is 2x\n\nANSWER:\n",
        "Solution:\n",
    ],
)
def test_prose_before_a_plain_program_is_cut_off(before):
    assert extract_program(before + PROGRAM).strip() == PROGRAM.strip()


def test_lines_of_code_are_not_taken_for_prose():
    for line in ("a, b = 1, 2", "ok and print(1)", "print(1) if ok else 0", "x: int = 3", "x**2"):
        program = f"{line}\nprint(1)\n"
        assert extract_program(f"Here it is:\n{program}").strip() == program.strip()
        assert extract_program(f"ok = 1\n{program}That is all.") == f"ok = 1\n{program}"


def test_prose_on_both_sides_is_cut_off():
    completion = f"Here is the program:\n\n{PROGRAM}\nIt doubles.\n\nQUESTION:\n"
    assert extract_program(completion).strip() == PROGRAM.strip()


@pytest.mark.parametrize(
    "wrong",
    [
        "Here is the program:\nx = (\nprint(1)\n",
        "Here is the program:\nint x\nx = = 1\nprint(x)\n",
        "n = int(input()\nprint(n)\n",
        "for i in range(3)\n    print(i)\n",
        "print 'a'\nprint 'b'\n",
        "x = 1\nprint x\n",
        "Here is the program:\nx = 1\nexec 'print x'\n",
        "if x:\n    pass\nelse x:\n    print(1)\n",
    ],
)
def test_a_wrong_program_is_not_made_right(wrong):
    with pytest.raises(SyntaxError):
        compile(extract_program(wrong), "wrong", "exec")


# Fenced programs


@pytest.mark.parametrize(
    ("label", "marks"),
    [
        ("python", "```"),
        ("Python", "```"),
        ("py", "```"),
        ("python3", "````"),
        ("", "```"),
        (" python ", "```"),
        ("{.python}", "```"),
        ("python title=a.py", "```"),
        ("python", "~~~"),
        ("", "~~~~"),
    ],
)
def test_a_fenced_program_is_taken_out_of_the_prose_around_it(label, marks):
    block = fenced(PROGRAM, label, marks)
    assert extract_program(block) == PROGRAM
    assert extract_program(f"Here it is:\n\n{block}\nIt doubles.\n") == PROGRAM
    assert extract_program(f"Here it is:\n\n{block}".replace("\n", "\r\n")) == PROGRAM


@pytest.mark.parametrize("label", ["python", ""])
@pytest.mark.parametrize("marks", ["```", "~~~"])
def test_a_program_that_was_cut_off_within_its_fence_is_still_taken(label, marks):
    whole = f"So:\n{marks}{label}\n{PROGRAM}"
    assert extract_program(whole).rstrip() == PROGRAM.rstrip()
    assert extract_program(whole[len("So:\n") :]).rstrip() == PROGRAM.rstrip()
    assert extract_program(f"So:\n{marks}{label}\nimport sys\nfor line in (").startswith("import")


def test_of_several_blocks_the_last_is_taken():
    assert extract_program(f"First:\n{fenced(PROGRAM)}Better:\n{fenced(OTHER)}") == OTHER
    assert extract_program(f"First:\n{fenced(OTHER)}Better:\n{fenced(PROGRAM)}Good.") == PROGRAM
    assert extract_program(f"First:\n{fenced(OTHER, '')}Better:\n{fenced(PROGRAM, '')}") == PROGRAM


SOLVES = "def solve():\n    print(int(input()) * 2)\n\nsolve()\n"
TRIES_SOLVE = "import io, sys\n\nsys.stdin = io.StringIO('1')\nsolve()\n"


@pytest.mark.parametrize("label", ["python", ""])
def test_an_example_of_use_does_not_hide_the_program_that_it_uses(label):
    answer = f"So:\n{fenced(SOLVES, label)}To try it:\n{fenced(TRIES_SOLVE, label)}"
    assert extract_program(answer) == SOLVES
    assert extract_program(answer + fenced("class Test:\n    run = solve()\n", label)) == SOLVES


def test_a_last_block_that_needs_none_of_the_others_is_the_program():
    better = SOLVES.replace("* 2", "* 3")
    assert extract_program(f"So:\n{fenced(SOLVES)}Better:\n{fenced(better)}") == better
    assert extract_program(f"So:\n{fenced(SOLVES)}Or:\n{fenced(PROGRAM)}") == PROGRAM


@pytest.mark.parametrize(
    "program",
    [
        "def add(a, b):\n    return a + b\n",
        "class Solution:\n    def add(self, a, b):\n        return a + b\n",
        "add = lambda a, b: a + b\n",
        "from operator import add\n",
        "import operator as add\n",
    ],
)
@pytest.mark.parametrize(
    "test", ["assert add(1, 2) == 3\nprint(add(2, 2))\n", "def test():\n    assert add(1, 2) == 3\n"]
)
def test_of_several_blocks_the_last_that_defines_what_the_tests_call_is_taken(program, test):
    worse = "def add(a, b):\n    return a - b\n"
    answer = f"So:\n{fenced(worse)}No:\n{fenced(program)}Test:\n{fenced(test)}"
    assert extract_program(answer, function="add") == program


@pytest.mark.parametrize("module", ["solution", "my.solution", "."])
def test_what_a_demonstration_imports_from_a_file_of_ours_is_defined_elsewhere(module):
    doubles = "def double(x):\n    return 2 * x\n\nprint(double(int(input())))\n"
    test = f"from {module} import double\nprint(double(2))\n"
    answer = f"So:\n{fenced(doubles)}Test:\n{fenced(test)}"
    assert extract_program(answer) == doubles
    assert extract_program(answer, function="double") == doubles


def test_a_demonstration_may_use_a_lambda_of_the_program():
    doubles = "double = lambda x: 2 * x\nprint(double(int(input())))\n"
    test = "print(double(2))\n"
    assert extract_program(f"{fenced(doubles)}Test:\n{fenced(test)}") == doubles


@pytest.mark.parametrize("indent", ["    ", "\t", "      "])
def test_a_block_deep_in_a_list_is_a_block(indent):
    block = "".join(f"{indent}{line}\n" for line in fenced(PROGRAM).splitlines())
    assert extract_program(f"1. Double it:\n\n{block}\n2. Done.\n") == PROGRAM


def test_a_fence_may_close_behind_the_last_line_of_a_program():
    assert extract_program(f"So:\n```python\n{PROGRAM.rstrip()}```") == PROGRAM
    assert extract_program("```python print(1)```") == "```python print(1)```"


def test_where_no_block_defines_what_the_tests_call_the_last_is_taken():
    answer = f"So:\n{fenced(PROGRAM)}Or:\n{fenced(OTHER)}"
    assert extract_program(answer, function="add") == OTHER


def test_what_a_model_thinks_aloud_is_no_response_unless_it_is_all_there_is():
    thought = f"<think>\nMaybe\n{fenced(OTHER)}no.\n</think>\n"
    assert extract_program(thought + PROGRAM).strip() == PROGRAM.strip()
    assert extract_program(f"{thought}So:\n{fenced(PROGRAM)}") == PROGRAM
    assert extract_program(f"{thought}That is it.") == OTHER
    assert extract_program(f"print('</think>')\n{PROGRAM}") == f"print('</think>')\n{PROGRAM}"


@pytest.mark.parametrize(
    "completion",
    [
        f"[PYTHON]\n{PROGRAM}[/PYTHON]",
        f"Here:\n[PYTHON]\n{PROGRAM}[/PYTHON]\nIt doubles.",
        f"[PYTHON]{PROGRAM.rstrip()}[/PYTHON]</s>",
        f"[PYTHON]\n{PROGRAM}",
        f"{PROGRAM}<|endoftext|>",
        f"{PROGRAM}<bos>",
        f"{PROGRAM}<unk>\n<|/s|>[/INST]",
        f"{PROGRAM.rstrip()}</s></s>\n",
        f"{PROGRAM}<\uff5cend\u2581of\u2581sentence\uff5c>",
        f"So:\n{fenced(PROGRAM).rstrip()}<|im_end|>",
        f"So:\n{fenced(PROGRAM)}<end_of_turn>\n<eos><pad><pad>",
        f"\ufeff{PROGRAM}",
        f"\ufeffSo:\n{fenced(PROGRAM)}",
    ],
)
def test_marks_around_a_program_are_no_part_of_it(completion):
    assert extract_program(completion).strip() == PROGRAM.strip()


def test_marks_inside_a_program_stay():
    for program in ("print('[PYTHON]')\n", "print('<|endoftext|>')\n", "print('a</s>')  # </s>\n"):
        assert extract_program(program) == program
        assert extract_program(f"So:\n{fenced(program)}") == program


@pytest.mark.parametrize("program", ["", " \n\n", "# no idea\n", '"""Sorry."""', "pass\n# x", "..."])
def test_a_program_may_do_nothing(program):
    assert does_nothing(program)


@pytest.mark.parametrize("program", ["x", "def f(): pass", "import sys", "Sorry, no.", "\0", "\ud800"])
def test_a_program_that_could_do_something_or_does_not_parse_is_not_empty(program):
    assert not does_nothing(program)


@pytest.mark.parametrize(
    "after",
    [
        fenced("5 3\n1 2\n", ""),
        fenced("5\n", ""),  # an expression
        fenced("5\n"),
        fenced("Yes\n", "text"),
        fenced("print(1)\n", "bash"),
        fenced("print(1)\n", "pyret"),
        fenced(">>> f(1)\n2\n", "pycon"),
        "```python\nimport sys\nfor line in (",
    ],
)
def test_a_block_that_is_no_python_program_does_not_hide_the_program(after):
    assert extract_program(f"So:\n{fenced(PROGRAM)}Then:\n{after}") == PROGRAM


def test_a_block_marked_as_python_goes_before_one_without_a_mark():
    assert extract_program(f"So:\n{fenced(PROGRAM)}Or:\n{fenced(OTHER, '')}") == PROGRAM
    assert extract_program(f"So:\n{fenced(CUT_OFF, 'py')}Or:\n{fenced(OTHER, '')}") == CUT_OFF


def test_a_block_in_another_language_is_no_program():
    completion = f"So:\n{fenced(PROGRAM, 'cpp')}"
    assert extract_program(completion) == completion


def test_a_fenced_program_may_hold_fences():
    holds_fences = 'text = """\n```\nprint(3)\n```\n"""\nprint(text)\n'
    assert extract_program(f"So:\n{fenced(holds_fences)}Good.\n") == holds_fences
    assert extract_program(f"So:\n{fenced(holds_fences, marks='````')}Good.\n") == holds_fences
    in_docstring = 'def f():\n    """\n    ```\n    f()\n    ```\n    """\n    return 1\n'
    assert extract_program(f"So:\n{fenced(in_docstring)}Good.\n") == in_docstring


def test_an_indented_block_loses_the_indentation_of_its_fence():
    indented = "".join(f"  {line}\n" for line in fenced(PROGRAM).splitlines())
    assert extract_program(f"1. So:\n\n{indented}") == PROGRAM
    assert extract_program("So:\n  ```\n    x = 1\n  ```\n") == "  x = 1\n"  # stays wrong


def test_a_plain_program_before_a_fence_is_taken():
    prompted = f"{PROGRAM}```\nThis doubles.\n{fenced(OTHER)}"  # the prompt opened the fence
    assert extract_program(prompted) == PROGRAM
    assert extract_program(f"{PROGRAM}\nFor example:\n{fenced('main()')}").strip() == PROGRAM.strip()


def test_a_note_before_a_fence_is_no_program():
    assert extract_program(f"Approach: greedy\n{fenced(PROGRAM)}") == PROGRAM  # an annotation in Python


def test_code_in_the_prose_before_a_fence_is_not_the_program():
    assert extract_program(f"This reads a number:\nn = int(input())\n\n{fenced(PROGRAM)}") == PROGRAM


def test_a_fence_without_its_pair_does_not_hide_the_next_block():
    assert extract_program(f"So\n```\nor so:\n{fenced(PROGRAM)}") == PROGRAM


def test_an_example_in_the_docstring_of_a_wrong_program_is_not_the_program():
    wrong = 'def f(:\n    """Adds.\n\n    ```python\n    f(1)\n    ```\n    """\n'
    assert extract_program(wrong) == wrong


# Any completion


@settings(deadline=None, max_examples=60)
@given(
    parts=st.lists(
        st.sampled_from(
            [
                *("```", "```python", "~~~", '"""', "x = 1", "print(x)", "We do", "ANSWER:"),
                *("QUESTION:", "", "    y", "(", "'", "\r\n", "\0", "\ud800"),
            ]
        )
    )
)
def test_any_completion_gives_some_text_of_its_own(parts):
    completion = "\n".join(parts)
    lines = completion.replace("\r\n", "\n").split("\n")
    assert all(line in lines for line in extract_program(completion).replace("\r\n", "\n").split("\n") if line)


@pytest.mark.parametrize(
    "hostile",
    [
        "```\n" * 4_000,
        "```\nx = 1\n(\n" * 2_000,
        "x = 1\n" * 2_000 + "(\n" + "We do this\n" * 2_000,
        "x" + "\nWe do" * 2_000,
        "ANSWER:\n(\n" * 2_000,
        "-" * 20_000,
        "(" * 20_000,
        "x = " + "not " * 10_000,
        "- " * 10_000,
        "~~~" * 5_000,
        "```\ndef f(): g()\n```\n" * 2_000,
        "<eos> " * 20_000 + "x",
        "[PYTHON]\n(" * 2_000,
        "</think>" * 20_000,
    ],
    ids=lambda text: text[:8],
)
def test_a_hostile_completion_takes_no_time(hostile):
    start = time.process_time()
    extract_program(hostile)
    extract_program(hostile, function="f")
    assert time.process_time() - start < 5


# Rewards


@pytest.mark.parametrize(
    ("counts", "reward"),
    [
        ({"passed": 4, "failed": 0}, 1.0),
        ({"passed": 1, "failed": 3}, 0.025),  # -0.3 + 1.3 / 4
        ({"passed": 0, "failed": 2}, -0.3),
        ({"passed": 3, "failed": 0, "errors": 1}, -0.6),
        ({"passed": 3, "failed": 1, "errors": 1}, -0.6),
        ({"passed": 0, "failed": 0, "errors": 1}, -0.6),
        ({"passed": 0, "failed": 4, "compiled": False}, -1.0),
        ({"passed": 0, "failed": 0, "errors": 4, "compiled": False}, -1.0),
    ],
)
def test_a_program_is_worth_what_it_passes_unless_it_breaks(counts, reward):
    assert code_reward(**{"compiled": True, "errors": 0} | counts) == pytest.approx(reward)


@pytest.mark.parametrize("compiled", [True, False])
def test_a_problem_without_tests_has_no_reward(compiled):
    with pytest.raises(ValueError, match="at least one"):
        code_reward(compiled=compiled, errors=0, passed=0, failed=0)


def test_a_count_below_zero_is_an_error():
    with pytest.raises(ValueError, match="none below 0"):
        code_reward(compiled=True, errors=-1, passed=3, failed=0)
