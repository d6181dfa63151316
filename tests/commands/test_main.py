import importlib
import subprocess
import sys

from lightning_marlhf import __main__, __version__

HEAVY = {"torch", "lightning", "transformers", "pandas", "matplotlib"}
IMPORTS_OF_HELP = """
import sys
from lightning_marlhf.__main__ import COMMANDS, main
main(["--help"])
commands = [name for name in sys.modules if name.startswith("lightning_marlhf.commands")]
print("HEAVY --help:", *sys.modules, file=sys.stderr)
assert not commands, commands
for name in COMMANDS:
    if COMMANDS[name][0] != "run":
        try:
            main([name, "--help"])
        except SystemExit:
            pass
        print(f"HEAVY {name}:", *sys.modules, file=sys.stderr)
"""


def test_help_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", IMPORTS_OF_HELP], capture_output=True, text=True, check=True)
    for line in done.stderr.splitlines():
        command, _, modules = line.removeprefix("HEAVY ").partition(":")
        assert not HEAVY & set(modules.split()), command
    assert done.stderr.count("HEAVY ") == len(__main__.COMMANDS) - 3  # four commands are LightningCLI's


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
