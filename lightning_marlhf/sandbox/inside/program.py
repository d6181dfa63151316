"""A child becomes the program: compiles it, runs it as a script or calls its function, and reports how far it came.

The report is a pipe; the pipe of a program that is a script is closed before its first line. Nothing on it is trusted:
the result is compared outside.
"""

import ast
import atexit
import io
import json
import os
import random
import sys
import threading
import traceback
import types
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

from lightning_marlhf.sandbox.inside import stand_ins
from lightning_marlhf.sandbox.inside.confinement import REPORT
from lightning_marlhf.sandbox.report import COMPILED, NOT_COMPILED

FILENAME = "program.py"
_RECURSION_LIMIT = 1000
_LONGEST_MESSAGE = 1000


def be_script(source: str, names: dict[str, Any]) -> NoReturn:
    """Run a program that reads standard input and writes standard output.

    Args:
        source: The program.
        names: Names that it finds defined.
    """
    code = _compile_or_exit(source)
    os.close(REPORT)
    module = _fresh_module("__main__", names)
    _prepare_interpreter()
    _end(_status_of(lambda: exec(code, module.__dict__)))


def be_function(
    source: str, names: dict[str, Any], *, function: str, arguments: Sequence[Any], nonce: bytes
) -> NoReturn:
    """Run a program that defines a function, call that, and report what it returns.

    Args:
        source: The program; its main guard is not run.
        names: Names that it finds defined.
        function: A function of the module, or a method of its class `Solution`.
        arguments: Arguments of the call.
        nonce: Goes before the result, which tells it from stray writes.
    """
    code = _compile_or_exit(source)
    module = _fresh_module("solution", names)
    _prepare_interpreter()

    def call() -> None:
        exec(code, module.__dict__)
        result = find_function(module, function)(*_with_int_keys(arguments))
        _write_all(nonce + json.dumps(result, default=_plain).encode())

    _end(_status_of(call))


def compile_program(source: str) -> types.CodeType:
    """Compile; a `return` outside functions, which some programs of APPS have, ends the program.

    A byte-order mark is left out, as the interpreter does with a file.

    Raises:
        Exception: it is no Python (SyntaxError, ValueError, RecursionError, MemoryError, ...).
    """
    source = source.removeprefix("\ufeff")
    try:
        return compile(source, FILENAME, "exec", dont_inherit=True)
    except SyntaxError as error:
        if "'return' outside function" not in str(error):
            raise
        tree = ast.fix_missing_locations(_ReturnsToExits().visit(ast.parse(source, FILENAME)))
        return compile(tree, FILENAME, "exec", dont_inherit=True)


def find_function(module: types.ModuleType, name: str) -> Any:
    """Look up the function that the tests call.

    Raises:
        NameError: the program defines none of this name.
    """
    solution = getattr(module, "Solution", None)
    if hasattr(solution, name):
        return getattr(solution(), name)  # type: ignore[misc]
    if not hasattr(module, name):
        raise NameError(f"the program defines no function {name!r}")
    return getattr(module, name)


class _ReturnsToExits(ast.NodeTransformer):
    def visit_Return(self, node: ast.Return) -> ast.AST:
        return ast.copy_location(ast.Raise(exc=ast.Name(id="SystemExit", ctx=ast.Load()), cause=None), node)

    def visit_FunctionDef(self, node: ast.AST) -> ast.AST:
        return node

    visit_AsyncFunctionDef = visit_Lambda = visit_ClassDef = visit_FunctionDef  # noqa: N815


def _compile_or_exit(source: str) -> types.CodeType:
    try:
        code = compile_program(source)
    except BaseException as error:
        message = f"{type(error).__name__}: {error}"[:_LONGEST_MESSAGE]
        _write_all(NOT_COMPILED + message.encode(errors="replace"))
        os._exit(1)
    _write_all(COMPILED)
    return code


def _fresh_module(name: str, names: dict[str, Any]) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__dict__.update(names, __file__=FILENAME)
    sys.modules[name] = module
    return module


def _prepare_interpreter() -> None:
    """Make it as a fresh interpreter would be: streams, arguments, exit handlers, recursion limit, random state."""
    atexit._clear()
    sys.argv = [FILENAME]
    sys.stdin = sys.__stdin__ = _stream(0, "<stdin>", "r")
    sys.stdout = sys.__stdout__ = _stream(1, "<stdout>", "w")
    sys.stderr = sys.__stderr__ = _stream(2, "<stderr>", "w", errors="backslashreplace")
    sys.stderr.reconfigure(line_buffering=True)
    stand_ins.install()
    sys.setrecursionlimit(_RECURSION_LIMIT + _depth())
    random.seed(0)


def _depth() -> int:
    """Count the frames that are ours, which the program shall not pay for."""
    frame, depth = sys._getframe(), 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1  # type: ignore[assignment]
    return depth


def _stream(descriptor: int, name: str, mode: str, errors: str = "strict") -> io.TextIOWrapper:
    raw = io.FileIO(descriptor, mode, closefd=False)
    raw.name = name
    buffer: Any = io.BufferedReader(raw) if mode == "r" else io.BufferedWriter(raw)
    text = io.TextIOWrapper(buffer, encoding="utf-8", errors=errors)
    text.mode = mode  # type: ignore[misc]  # templates of fast input ask for it
    return text


def _status_of(run: Any) -> int:
    """Run, and give the exit status that the interpreter would end with."""
    try:
        run()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return int(end.code or 0)
        _unknown_command(str(end.code))
    except BaseException as error:
        inner = error.__traceback__
        for _ in range(2):  # not our own lines
            inner = inner.tb_next if inner is not None and inner.tb_next is not None else inner
        _unknown_command("".join(traceback.format_exception(type(error), error, inner)))
    else:
        return 0
    return 1


def _unknown_command(message: str) -> None:
    os.write(2, f"{message.rstrip()}\n".encode(errors="backslashreplace"))


def _end(status: int) -> NoReturn:
    """End as the interpreter would: threads, exit handlers, buffers; but do not take its memory down piece by piece."""
    try:
        threading._shutdown()
        atexit._run_exitfuncs()
        _flush()
    except BaseException as error:
        _unknown_command(f"{type(error).__name__}: {error}")
        status = status or 120
    os._exit(status & 0xFF)


def _flush() -> None:
    """Write what streams hold: standard output, then what the interpreter would close as it goes down."""
    stdout = getattr(sys, "stdout", None)
    if stdout is not None and not getattr(stdout, "closed", False):
        stdout.flush()
    module = sys.modules.get("__main__")
    for stream in (sys.__stdout__, sys.__stderr__, *getattr(module, "__dict__", {}).values()):
        if isinstance(stream, io.IOBase):
            with suppress(Exception):  # closed, or detached
                stream.flush()


def _with_int_keys(arguments: Sequence[Any]) -> Sequence[Any]:
    """Restore the integer keys of a dictionary that is the first argument, which JSON made strings of."""
    with suppress(ValueError, IndexError, AttributeError):
        return [{int(key): value for key, value in arguments[0].items()}, *arguments[1:]]
    return arguments


def _plain(value: Any) -> Any:
    """Turn a number or array of numpy into what JSON can hold."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} is no JSON")


def _write_all(content: bytes) -> None:
    while content:
        content = content[os.write(REPORT, content) :]
