"""Replies on disk."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from lightning_marlhf.evaluation.judges import JudgeError
from lightning_marlhf.evaluation.judges.cache import Cache, key_of

WRITER = """
import sys
from pathlib import Path
from lightning_marlhf.evaluation.judges.cache import Cache
cache = Cache(Path(sys.argv[1]))
for n in range(int(sys.argv[3])):
    cache.put(f"{sys.argv[2]}-{n}", ["x" * 2000])
    print(n, flush=True)
"""


def writer(path, name, count):
    command = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_value_comes_back_as_it_was_even_with_half_characters(tmp_path):
    value = [{"text": "\ud83d é", "usage": {"a": 1}}]
    with Cache(tmp_path / "c") as cache:
        assert cache.get("k") is None
        cache.put("k", value)
    with Cache(tmp_path / "c") as cache:
        assert cache.get("k") == value


def test_two_processes_may_write_at_once(tmp_path):
    path = tmp_path / "c"
    processes = [writer(path, name, 20) for name in ("one", "two")]
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    with Cache(path) as cache:
        assert all(cache.get(f"{name}-{n}") for name in ("one", "two") for n in range(20))


def test_a_process_that_is_killed_leaves_what_it_had_written(tmp_path):
    path = tmp_path / "c"
    process = writer(path, "one", 100_000)
    written = [process.stdout.readline() for _ in range(20)]
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    with Cache(path) as cache:
        assert all(cache.get(f"one-{int(n)}") == ["x" * 2000] for n in written)
        cache.put("more", 1)
        assert cache.get("more") == 1


def test_another_kind_of_file_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("my notes, which are long enough to be taken for a header of something")
    before = path.read_bytes()
    with pytest.raises(JudgeError, match=r"cannot use .*notes.txt as cache"):
        Cache(path)
    assert path.read_bytes() == before


def test_whatever_decides_a_reply_is_in_its_key():
    usual = {"judge": "j", "settings": {"t": 0}, "version": "v", "texts": ("p", "a", "b")}
    changes = [
        {"judge": "k"},
        {"settings": {"t": 1}},
        {"version": "w"},
        {"texts": ("p", "b", "a")},
        {"texts": ("q", "a", "b")},
    ]
    keys = {key_of(**usual)} | {key_of(**{**usual, **change}) for change in changes}
    assert len(keys) == 6
    assert key_of(**usual) == key_of(**usual)


def test_threads_share_one_file(tmp_path):
    with Cache(tmp_path / "c") as cache, ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: cache.put(str(n), n), range(30)))
        assert [cache.get(str(n)) for n in range(30)] == list(range(30))
