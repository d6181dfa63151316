import importlib
import subprocess
import sys

from lightning_marlhf import __main__, __version__

HEAVY = {"torch", "lightning", "transformers", "pandas", "matplotlib"}
LIGHT = sorted(set(__main__.COMMANDS) - {"fit", "validate", "test", "predict"})
HELP = """
import contextlib, io, sys
from lightning_marlhf.__main__ import main
for arguments in [["--help"], *([name, "--help"] for name in sys.argv[1:])]:
    before = set(sys.modules)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main(arguments)
    print(*arguments, *(set(sys.modules) - before))
"""


def test_help_imports_nothing_heavy_and_at_the_top_level_no_command_at_all():
    """In one process: what a command's help needs is there for the next, and would have been named before."""
    done = subprocess.run([sys.executable, "-c", HELP, *LIGHT], capture_output=True, text=True, check=True)
    top, *commands = done.stdout.splitlines()
    assert not any(module.startswith("lightning_marlhf.commands") for module in top.split())
    assert len(commands) == len(LIGHT) > 10
    assert [line.split()[0] for line in (top, *commands) if HEAVY & set(line.split())] == []


def test_help_lists_every_command(capsys):
    assert __main__.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {name} " in text for name in __main__.COMMANDS)


def test_the_console_script_names_itself_and_finds_classes_of_the_working_directory(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/marlhf", "--help"])
    monkeypatch.setattr(sys, "path", ["/usr/bin"])
    assert __main__.main() == 0
    assert capsys.readouterr().out.startswith("usage: marlhf COMMAND")
    assert sys.path[0] == "."


def test_no_command_shows_the_help_and_fails(capsys):
    assert __main__.main([]) == 2
    assert "commands:" in capsys.readouterr().out


def test_the_version_is_the_package_s(capsys):
    assert __main__.main(["--version"]) == 0
    assert capsys.readouterr().out == f"lightning_marlhf {__version__}\n"


def test_a_wrong_command_is_named_with_the_nearest_right_one(capsys):
    assert __main__.main(["reproduec"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "no command 'reproduec', did you mean 'reproduce'?" in error


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    rows = tmp_path / "rows.jsonl"
    row = '{"sample_id": "a", "prompt": "p", "response": "r", "model": "m", "seed": 1, "step": 1, '
    rows.write_text((row + '"num_tokens": 1, "ended": true}\n') * 20000)
    command = f"{sys.executable} -m lightning_marlhf inspect {rows} | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_ctrl_c_while_a_command_is_imported_is_one_line(monkeypatch, capsys):
    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib, "import_module", interrupted)
    assert __main__.main(["fit"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_working_directory_that_was_removed_is_one_line(tmp_path, monkeypatch, capsys):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert __main__.main(["report", "runs"]) == 1
    assert "directory was removed" in capsys.readouterr().err
