"""Programs in completions: extraction from the completion, and the reward of the tests.

A completion that is a program is taken as it is. Else the first of these that parses as one and defines what the tests
call: the text before a fence, the last fenced block, the text without the prose around it. Nothing is repaired: a
program that is wrong stays so.
"""

import ast
import keyword
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import NamedTuple

_MOST_TRIES = 16  # ends of a program that are tried; bounds the time that a hostile completion takes

_BYTE_ORDER_MARK = "\ufeff"
_THOUGHT = "</think>"
_OPENING_TAG = re.compile(r"^[ \t]*\[PYTHON\][ \t]*\n?", re.MULTILINE)  # as Code Llama marks its programs
_CLOSING_TAG = re.compile(r"\n?[ \t]*\[/PYTHON\]")
_SPECIAL_TOKEN = re.compile(  # at the end of a text with which it was decoded
    r"(?:<\|[\w./-]+\|>|<\uff5c[^\uff5c\n]+\uff5c>|</?\w+>|\[/INST\])\Z"
)
_LONGEST_TOKEN = 40
_NEXT_QUESTION = re.compile(r"^QUESTION:", re.MULTILINE)
_ANSWER = re.compile(r"^ANSWER:", re.MULTILINE)

_FENCE = re.compile(r"(?P<indent>[ \t]*)(?:`{3,}|~{3,})[ \t]*(?P<label>[^`]*)")
_DEEPEST_FENCE = 3  # spaces before it, but in lists
_LONG_STRING = re.compile(r"\"\"\"|'''")
_FENCE_AFTER_CODE = re.compile(r"^(?![ \t]*`{3})(.*[^\s`])`{3,}\s*\Z", re.MULTILINE)
_PYTHON = re.compile(r"[{.]*py(thon)?[\d.]*\b", re.IGNORECASE)

# A rule, something bold, or, perhaps in a list, two words that no statement has side by side, or one word as a heading
_WORD = r"[A-Za-z'\u2019]+"
_PROSE = re.compile(rf"-{{3,}}$|\*\*\w|[-*>\d.) ]*(?:{_WORD}[,!] )?(?P<first>{_WORD})(?: (?P<second>{_WORD})|[:.!]+$)")
_FIRST_WORDS_OF_CODE = {*keyword.kwlist, *keyword.softkwlist, "print", "exec"}  # two of Python 2
_SECOND_WORDS_OF_CODE = {"and", "or", "if"}


class _Fence(NamedTuple):
    line: int
    indent: int
    label: str  # "": it may open or close a block


class _Block(NamedTuple):
    label: str
    body: str


def extract_program(completion: str, *, function: str | None = None) -> str:
    r"""Find the Python program in a model's completion.

    Of several fenced blocks the last counts, as in LiveCodeBench @ 28fef95 (lcb_runner/utils/extraction_utils.py):
    models correct themselves, and think before they respond. Here it is the last that parses, does something, and is no
    mere example of another's use: it defines the function that the tests call, or where they call none, it needs no
    function or class of another block. So a cut-off block, a shown output or a demonstration does not hide the program.
    Blocks marked as Python go before blocks without a mark; blocks marked otherwise are none. evalplus takes the
    longest run of lines that parses, which makes programs of the sound parts of wrong ones.

    A reasoning block (up to ``</think>``) holds the program only where nothing after it does. A byte-order mark
    and special tokens at the end are left out.

    A base model continues after its response: the text ends at "QUESTION:" or, after a program, at "ANSWER:" at the
    start of a line, which are stop words in the bigcode harness.

    Args:
        completion: The model's response.
        function: That the tests call; None: the program is a script.

    Returns:
        The program; the last block, or the completion itself, where nothing parses, so that it fails to compile.

    >>> extract_program("Sure:\n```python\nprint(1)\n```\nIt prints 1.\n")
    'print(1)\n'
    >>> extract_program("print(1)\n\nQUESTION:\nAdd two numbers.")
    'print(1)\n\n'
    """
    completion = completion.removeprefix(_BYTE_ORDER_MARK)
    if _is_program(completion) and not completion.lstrip().startswith(("~~~", "[PYTHON]")):
        return completion
    text = completion.replace("\r\n", "\n").replace("\r", "\n")
    response = text.rpartition(_THOUGHT)[2]
    program, blocks = _search(response, function)
    if program is None and response is not text:
        program, blocks = _search(text, function)
    if program is not None:
        return program
    return blocks[-1] if blocks else completion


def _search(text: str, function: str | None) -> tuple[str | None, list[str]]:
    """Find the program in a text; None if nothing parses as one, and the blocks that were tried."""
    text = _CLOSING_TAG.sub("\n```\n", _OPENING_TAG.sub("```python\n", text))
    sections = _ANSWER.split(_NEXT_QUESTION.split(text)[0])
    blocks: list[str] = []
    for section in sections:
        section = _without_special_tokens(section)
        found = _blocks(section)
        programs = filter(_is_program, _candidates(section, found))
        if (first := next(programs, None)) is not None:
            fits = _fits_calls(function) if function else _fits_scripts(found)
            tried = islice(chain([first], programs), _MOST_TRIES)
            return next(filter(fits, tried), first), blocks
        blocks += found
    return None, blocks


def does_nothing(program: str) -> bool:
    r"""Return whether a program is empty, or holds nothing but comments, texts and `pass`.

    >>> [does_nothing(text) for text in ("", "# no idea\n", "pass", "print()", "no python")]
    [True, True, True, False, False]
    """
    statements = _statements(program)
    return statements is not None and all(
        isinstance(each, ast.Pass) or (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))
        for each in statements
    )


def code_reward(*, compiled: bool, errors: int, passed: int, failed: int) -> float:
    """Score a program by its tests (arXiv 2410.02743, appendix; after RLTF, arXiv 2307.04349).

    Args:
        compiled: True if it compiles.
        errors: Tests that raised, or exceeded time, memory or output.
        passed: Tests with the right output.
        failed: Tests with a wrong output; may include those with errors, which take precedence.

    Returns:
        -1 if it does not compile, -0.6 if a test was an error, else from -0.3 (none passed) to 1 (all passed).

    Raises:
        ValueError: if a count is negative, or if there is no test: such a problem has no reward.

    >>> [round(code_reward(compiled=True, errors=0, passed=n, failed=2 - n), 2) for n in (0, 1, 2)]
    [-0.3, 0.35, 1.0]
    """
    if min(errors, passed, failed) < 0 or errors + passed + failed == 0:
        raise ValueError(
            f"{passed} tests passed, {failed} failed, {errors} errors: expected at least one, and none below 0"
        )
    if not compiled:
        return -1.0
    if errors:
        return -0.6
    return -0.3 + 1.3 * passed / (passed + failed)


def _candidates(section: str, blocks: list[str]) -> Iterator[str]:
    lines = section.split("\n")
    fences = _fences(lines)
    if not fences:
        yield section
        yield from _without_prose(lines, leading=True)
    else:  # the prompt may have opened a fence, or an example may follow a plain program
        before = lines[: fences[0].line]
        yield from _without_prose(before, leading=False)
        yield from reversed(blocks)


def _without_special_tokens(text: str) -> str:
    """Cut off the special tokens at the end of a text, and the space between them."""
    end = len(text)
    while True:
        while end and text[end - 1].isspace():
            end -= 1
        found = _SPECIAL_TOKEN.search(text, max(0, end - _LONGEST_TOKEN), end)
        if found is None:
            return text if text[end:].isspace() or end == len(text) else f"{text[:end]}\n"
        end = found.start()


def _blocks(section: str) -> list[str]:
    """List the fenced blocks that are marked as Python or, if there are none, those without a mark."""
    blocks = _fenced_blocks(_FENCE_AFTER_CODE.sub(r"\1", section).split("\n"))
    marked = [block.body for block in blocks if _PYTHON.match(block.label)]
    return marked or [block.body for block in blocks if not block.label]


def _fenced_blocks(lines: list[str]) -> list[_Block]:
    """List the fenced blocks; the last may be cut off.

    A block goes to the first fence that makes it a program, so that its strings may hold fences; if none does,
    to the next fence.
    """
    fences = [*_fences(lines), _Fence(len(lines), indent=0, label="")]
    blocks, at = [], 0
    while at < len(fences) - 1:
        opening = fences[at]
        tries = range(at + 1, len(fences))[:_MOST_TRIES]
        programs = (n for n in tries if _is_program(_body(lines, opening, fences[n])))
        end = next(programs, at + 1)
        blocks.append(_Block(opening.label, _body(lines, opening, fences[end])))
        at = end if fences[end].label else end + 1
    return blocks


def _fences(lines: list[str]) -> list[_Fence]:
    """List the fences; a deep one after quotes may stand in a docstring, before them only in a list."""
    strings = next((n for n, line in enumerate(lines) if _LONG_STRING.search(line)), len(lines))
    return [
        _Fence(number, len(fence["indent"]), fence["label"].strip())
        for number, line in enumerate(lines)
        if (fence := _FENCE.fullmatch(line)) and (len(fence["indent"]) <= _DEEPEST_FENCE or number < strings)
    ]


def _body(lines: list[str], opening: _Fence, end: _Fence) -> str:
    """Cut out what is between two fences, without the indentation of the first."""
    margin = re.compile(f"[ \\t]{{0,{opening.indent}}}")
    return _join([margin.sub("", line, count=1) for line in lines[opening.line + 1 : end.line]])


def _without_prose(lines: list[str], *, leading: bool) -> Iterator[str]:
    """Cut the text off before each line of prose that follows code; where ``leading``, also what comes before code."""
    start = 0
    while leading and start < len(lines) and (not lines[start].strip() or _is_prose(lines[start])):
        start += 1
    ends = (at for at in range(start + 1, len(lines)) if _is_prose(lines[at]))
    for end in (*islice(ends, _MOST_TRIES), len(lines)):
        yield _join(lines[start:end])


def _is_prose(line: str) -> bool:
    """Return whether a line cannot be code; in doubt it is code.

    >>> [_is_prose(line) for line in ("Here is the program:", "Explanation:", "- We sort", "---")]
    [True, True, True, True]
    >>> [_is_prose(line) for line in ("else:", "a, b = 1, 2", "print x", "ok and f()", "# We sort", "")]
    [False, False, False, False, False, False]
    """
    found = _PROSE.match(line)
    return (
        found is not None
        and found["first"] not in _FIRST_WORDS_OF_CODE
        and found["second"] not in _SECOND_WORDS_OF_CODE
    )


def _is_program(text: str) -> bool:
    """Return whether a text parses and does something; a word, a number or ``Answer: 3`` does nothing."""
    return any(map(_does_something, _statements(text) or ()))


def _statements(text: str) -> list[ast.stmt] | None:
    """Parse a text; None if it is no Python."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError, SystemError):
        # ValueError: zero bytes, lone surrogates; SystemError: https://github.com/python/cpython/issues/106905
        return None


def _fits_calls(function: str) -> Callable[[str], bool]:
    """Return a test for programs that define the function that is called."""
    return lambda program: function in _names(program)[0]


def _fits_scripts(blocks: Sequence[str]) -> Callable[[str], bool]:
    """Return a test for programs that need no function or class that is defined in other blocks alone."""
    definitions = {name for block in blocks for each in _statements(block) or () for name in _callables(each)}

    def fits(program: str) -> bool:
        defined, used = _names(program)
        return not (used - defined) & definitions

    return fits


def _callables(statement: ast.stmt) -> list[str]:
    """Name the function, class or lambda that a statement defines."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Lambda):
        return [each.id for each in statement.targets if isinstance(each, ast.Name)]
    return []


def _names(program: str) -> tuple[set[str], set[str]]:
    """Return the names that a program binds somewhere, and those that it looks up, also in a module of its author's."""
    defined, used = set(), set()
    nodes = (node for each in _statements(program) or () for node in ast.walk(each))
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            ours = (node.module or "").partition(".")[0] in sys.stdlib_module_names
            (defined if ours else used).update(each.asname or each.name for each in node.names)
        elif isinstance(node, ast.Import):
            defined.update(each.asname or each.name for each in node.names)
        elif isinstance(node, ast.arg):
            defined.add(node.arg)
        elif isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else defined).add(node.id)
    return defined, used


def _does_something(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr):
        return any(isinstance(node, ast.Call) for node in ast.walk(statement))
    return not (isinstance(statement, ast.AnnAssign) and statement.value is None)


def _join(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
