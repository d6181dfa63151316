"""Hostile programs: each gets the right verdict, and leaves the machine as it was."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lightning_marlhf.sandbox.levels import candidates
from lightning_marlhf.sandbox.verdicts import Tests
from tests.sandbox import arena
from tests.sandbox.arena import Cage, descendants
from tests.sandbox.attacks.every import ATTACKS
from tests.sandbox.attacks.leaks import FRAMES, MEMORY, NOTES, READ_NOTES

ROOT = Path(__file__).parents[2]
NEEDED = ("lightning_marlhf/__init__.py", "lightning_marlhf/sandbox", "tests/sandbox")
SOMEBODY = 12345
# What does no harm where nothing stops it.
HARMLESS = """read a public file; list a folder; read the users; import a module from outside; write a new file
write over a file; make a folder; rename; link; link to the root; change rights; make a named pipe; connect to a server
send a datagram; connect to an abstract socket; fork; run a program; fork twice and leave; leave a process behind
leave its session; make a file in memory; make two sockets"""


def name(attack):
    return attack.name


def test_attacks_have_names_of_their_own():
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)


@pytest.mark.parametrize("attack", ATTACKS, ids=name)
def test_attack_fails(cage, targets, attack):
    assert targets.assault(cage, attack) == []


@pytest.mark.parametrize("attack", NOTES, ids=name)
def test_programs_leave_no_notes_for_later_ones(cage, attack):
    cage.run(attack.program, Tests(["0123456789abcdef" * 2], ["nothing"]))
    report, ending = cage.run(READ_NOTES, Tests([""], ["False False False 0"]))
    assert report.passed, ending


def test_notes_would_be_found_in_memory(cage):
    program = NOTES[0].program.replace("print(note)", "") + READ_NOTES
    report, ending = cage.run(program, Tests(["0123456789abcdef" * 2], ["False False False 1"]))
    assert report.passed, ending


@pytest.mark.parametrize("search", [FRAMES, MEMORY + "print(*search('marlhf-secret-'))"])
def test_secrets_would_be_found_if_they_were_there(cage, search):
    program = f"hidden = ['marlhf-' + 'secret-' + '0123456789abcdef' * 2]\n{search}"
    _, ending = cage.run(program, Tests([""], ["nothing"]))
    assert b"marlhf-secret-" + b"0123456789abcdef" * 2 in ending.output


def test_the_attacks_succeed_where_nothing_stops_them():
    level = next(level for level in candidates() if level.name == "D")
    harmless = [attack for attack in ATTACKS if attack.name in HARMLESS.replace("\n", "; ").split("; ")]
    stopped = []
    with Cage(level) as cage:
        workers = descendants()
        for attack in harmless:
            with arena.arena() as targets:
                if not targets.assault(cage, attack):
                    stopped.append(attack.name)
                _clear(workers)
    assert (stopped, len(harmless)) == ([], 22)


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests ran as an ordinary user")
def test_attacks_fail_for_an_ordinary_user():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        for needed in NEEDED:
            copy = shutil.copytree if (ROOT / needed).is_dir() else shutil.copy
            Path(folder, needed).parent.mkdir(parents=True, exist_ok=True)
            copy(ROOT / needed, Path(folder, needed))
        run = _as_somebody(_interpreter_for_somebody(), "-m", "tests.sandbox.ordinary_user", cwd=folder)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["attacks"] == len(ATTACKS)
    assert found["levels"], f"no level of isolation for an ordinary user: {found}"
    assert found["problems"] == []


def _interpreter_for_somebody():
    """Find an interpreter that is new enough, and not in the home of root."""
    check = "import sys, ctypes; sys.exit(sys.version_info < (3, 11))"
    tried = dict.fromkeys([sys._base_executable, shutil.which("python3", path="/usr/local/bin:/usr/bin")])
    for interpreter in filter(None, tried):
        with contextlib.suppress(OSError):
            if _as_somebody(interpreter, "-c", check, cwd="/").returncode == 0:
                return interpreter
    return pytest.skip(f"none of {list(tried)} is Python 3.11 or newer and can be used by others")


def _as_somebody(*command, cwd):
    return subprocess.run(
        command,
        cwd=cwd,
        user=SOMEBODY,
        group=SOMEBODY,
        extra_groups=[],
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def _clear(workers):
    for pid in descendants() - workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        for pid in descendants() - workers:
            os.waitpid(pid, 0)
