"""One process at a time writes a run."""

import errno
import fcntl
import os
import subprocess
import sys

import pytest

from lightning_marlhf.commands import export
from lightning_marlhf.commands import run as cli
from lightning_marlhf.run_lock import LOCK_FILE, InUseError, alone_in, holder, take

HOLD = "import sys, time, pathlib\nfrom lightning_marlhf.run_lock import alone_in\n"
HOLD += "with alone_in(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)"


@pytest.fixture
def other(tmp_path):
    """Another process, which holds the lock of `run`."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_and_told_who_holds_it(tmp_path, other):
    with pytest.raises(InUseError, match=rf"run is in use by process {other.pid} on .* since 20"):
        take(tmp_path / "run")
    assert f"process {other.pid} " in holder(tmp_path / "run")


def test_a_kill_frees_the_folder(tmp_path, other):
    other.kill()
    other.wait()
    assert (tmp_path / "run" / LOCK_FILE).exists()
    assert holder(tmp_path / "run") is None
    with alone_in(tmp_path / "run"):
        assert str(os.getpid()) in holder(tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []


def test_a_child_holds_the_lock_that_it_was_started_with(tmp_path):
    lock = take(tmp_path)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1, pass_fds=[lock])
    os.close(lock)
    assert holder(tmp_path) is not None
    child.communicate()
    assert holder(tmp_path) is None


def test_a_process_takes_over_the_lock_that_it_was_started_with(tmp_path, monkeypatch):
    lock = take(tmp_path)
    monkeypatch.setenv("LIGHTNING_MARLHF_RUN_LOCK", str(lock))
    assert take(tmp_path) == lock
    os.close(lock)
    os.close(take(tmp_path))  # a descriptor that is none any more


def test_a_file_system_without_locks_is_used_all_the_same(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with alone_in(tmp_path):
        pass


def test_a_file_that_says_nothing_readable_is_another_process(tmp_path):
    lock = take(tmp_path)
    os.ftruncate(lock, 0)
    assert holder(tmp_path) == "another process"
    os.close(lock)


def test_a_second_run_in_a_folder_changes_nothing_there(toy_yaml, tmp_path, capsys):
    assert cli.main(["fit", "--config", str(toy_yaml)]) == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    assert not (tmp_path / "run" / LOCK_FILE).exists()
    with alone_in(tmp_path / "run"):
        for command in (
            ["fit", "--overwrite"],
            ["fit", "--ckpt_path=last", "--trainer.max_steps=8"],
            ["test"],
            ["validate"],
        ):
            capsys.readouterr()
            name, *options = command
            assert cli.main([name, "--config", str(toy_yaml), *options]) == 1
            *_, said = capsys.readouterr().err.splitlines()
            assert f"run is in use by process {os.getpid()}" in said
        into_it = ["--out", str(tmp_path / "run/export"), "--overwrite"]
        assert export.main(["export", str(tmp_path / "run"), *into_it]) == 1
        assert "is in use by process" in capsys.readouterr().err
        assert export.main(["export", str(tmp_path / "run"), "--out", str(tmp_path / "out")]) == 0
        (tmp_path / "run" / LOCK_FILE).unlink()
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    assert {path: at for path, at in after.items() if not path.is_dir()} == {
        path: at for path, at in before.items() if not path.is_dir()
    }


def test_a_run_that_fails_gives_the_folder_back(toy_yaml, tmp_path):
    options = ["--config", str(toy_yaml), "--model.init_args.mistake=disk"]
    assert cli.main(["fit", *options]) == 1
    assert not (tmp_path / "run" / LOCK_FILE).exists()
    assert holder(tmp_path / "run") is None
