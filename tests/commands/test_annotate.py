"""The command as a process: killed, stopped, started twice, and seen by a browser."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import closing, contextmanager
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import pytest

from lightning_marlhf.annotation.server import TOKEN_HEADER, listen
from lightning_marlhf.annotation.store import AnnotationFile
from lightning_marlhf.commands import annotate
from lightning_marlhf.records import read_verdicts
from tests.commands.one_line import error_line

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
HOSTILE = '<script>document.title="stolen"</script><img src=x onerror="document.title=\'stolen\'">'


@pytest.fixture
def files(tmp_path):
    files = SimpleNamespace(a=tmp_path / "a.jsonl", b=tmp_path / "b.jsonl", out=tmp_path / "v.jsonl")
    write(files.a, *((f"prompt {n}", f"from a, {n}") for n in range(4)))
    write(files.b, *((f"prompt {n}", f"from b, {n}") for n in range(4)))
    return files


def write(path: Path, *rows):
    lines = [json.dumps({"prompt": prompt, "response": response}) for prompt, response in rows]
    path.write_text("".join(line + "\n" for line in lines))


def words(files, *more):
    given = [word for name in ("a", "b", "out") for word in (f"--{name}", str(getattr(files, name)))]
    return ["annotate", *given, *more]


class Running:
    """The command in a process of its own, and its page."""

    def __init__(self, files, *more):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lightning_marlhf", *words(files, "--port", "0", *more)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for line in self.process.stdout:
            if match := re.search(r"http://[\d.:]+", line):
                self.url = match[0]
                break
        else:
            raise AssertionError(self.process.communicate()[1])
        self.token = json.load(urllib.request.urlopen(f"{self.url}/session"))["token"]

    def post(self, action, **body):
        request = urllib.request.Request(
            f"{self.url}/{action}",
            json.dumps({"annotator": "ada"} | body).encode(),
            {"Origin": self.url, TOKEN_HEADER: self.token},
        )
        return json.load(urllib.request.urlopen(request))

    def judge(self, view):
        return self.post("verdict", pair=view["pair"]["id"], winner="left", note="")

    def end(self, number):
        self.process.send_signal(number)
        return self.process.communicate(timeout=60)


@contextmanager
def running(files, *more):
    server = Running(files, *more)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.communicate()


def test_a_kill_loses_no_verdict_and_the_same_command_goes_on_where_it_was(files):
    with running(files) as server:
        view = server.judge(server.judge(server.post("next")))
        last = view["pair"]
        server.judge(view)
        assert server.post("undo")["pair"] == last
        server.end(signal.SIGKILL)
    assert len(read_verdicts(files.out)) == 2
    with running(files) as server:
        view = server.post("next")
        assert (view["pair"], view["done"], view["total"]) == (last, 2, 4)
        server.judge(view)
    assert len(read_verdicts(files.out)) == 3


def test_ctrl_c_ends_and_says_where_verdicts_are_and_how_many_pairs_are_left(files):
    with running(files) as server:
        server.judge(server.post("next"))
        output, errors = server.end(signal.SIGINT)
        assert (server.process.returncode, errors) == (0, "")
    assert f"{files.out}: 1 verdict\n  ada: 1\nleft: 3 of 4 pairs" in output
    assert "resume with: python -m lightning_marlhf annotate --a" in output


def test_the_socket_is_of_this_machine_alone():
    with listen(0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def refusal(capsys, files, *more, status=1):
    """Run the command where it has to refuse; return its one line."""
    assert annotate.main(words(files, *more)) == status
    return error_line(capsys)


def test_a_port_in_use_is_one_line(files, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"--port {port} is in use" in refusal(capsys, files, "--port", str(port))


def test_a_second_server_on_the_same_file_is_refused(files, capsys):
    with closing(AnnotationFile(files.out)):
        assert "another `annotate` writes" in refusal(capsys, files, "--port", "0")


@pytest.mark.parametrize(
    ("more", "status", "said"),
    [
        (["--overlap", "20"], 2, "--overlap: expected at least 0 and at most 1"),
        (["--num-prompts", "0"], 2, "--num-prompts: expected at least 1"),
        (["--port", "70000"], 2, "--port: expected at least 0 and at most 65,535"),
        (["--task", "poems"], 2, "--task: expected 'tldr'"),
        (["--out", "{a}"], 2, "--out and --a are the same file"),
        (["--annotator", " "], 1, "expected a name"),
        (["--a", "missing.jsonl"], 1, "missing.jsonl"),
    ],
)
def test_mistakes_are_one_line(files, capsys, more, status, said):
    given = [word.format(a=files.a) for word in more]
    assert said in refusal(capsys, files, *given, status=status)


def test_without_the_extra_the_line_says_what_to_install(files, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "lightning_marlhf.annotation.server", raising=False)
    assert "pip install 'lightning_marlhf[annotate]'" in refusal(capsys, files)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_shows_hostile_responses_as_text(files, tmp_path):
    write(files.a, ("prompt", HOSTILE))
    write(files.b, ("prompt", "\u202ea\r\nb\u200dc\x1b"))
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    quiet = ["--disable-gpu", "--no-first-run", "--disable-background-networking"]
    budget = ["--virtual-time-budget=20000", f"--user-data-dir={tmp_path}/profile"]
    with running(files, "--annotator", "ada") as server:
        shown = subprocess.run(
            [CHROMIUM, "--headless", *root, *quiet, *budget, "--dump-dom", server.url],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout
    texts = re.findall(r'<div id="(?:left|right)"[^>]*>(.*?)</div>', shown, flags=re.DOTALL)
    assert set(map(unescape, texts)) == {HOSTILE, "\ufffda\nb\u200dc\ufffd"}
    assert "<img" not in shown
    assert re.search("<title>(.*?)</title>", shown)[1] == "Which answer is better?"
