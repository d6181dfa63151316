"""`chat` from the command line; the dialogue itself is tested in tests/inference/test_chat.py."""

import io

import pytest

from lightning_marlhf.commands import chat
from tests.commands.one_line import error_line
from tests.published import GEMMA_TEMPLATE, publish


def talk(monkeypatch, capsys, model, lines, *options):
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    assert chat.main(["chat", str(model), "--max-new-tokens", "6", *options]) == 0
    return capsys.readouterr()


@pytest.mark.parametrize("template", [None, GEMMA_TEMPLATE])
def test_lines_of_standard_input_get_responses_until_quit(tmp_path, monkeypatch, capsys, template):
    model = publish(tmp_path / "model", template=template)
    asked = talk(monkeypatch, capsys, model, ["what is it?", "", "/quit", "and now?"])
    assert asked.out.strip()
    twice = talk(monkeypatch, capsys, model, ["what is it?", "and now?"])
    assert twice.out.startswith(asked.out)
    assert len(twice.out) > len(asked.out)
    assert twice.err == ""


def test_a_line_that_is_no_command_names_the_commands(tmp_path, monkeypatch, capsys):
    model = publish(tmp_path / "model")
    said = talk(monkeypatch, capsys, model, ["/rest"])
    assert "no command /rest: /reset forgets the dialogue" in said.err
    assert said.out == ""


def test_a_dialogue_that_has_grown_too_long_can_be_shortened(tmp_path, monkeypatch, capsys):
    model = publish(tmp_path / "model")
    said = talk(monkeypatch, capsys, model, ["x" * 130, "it"])
    assert "prompt and response may take" in said.err
    assert "/undo and /reset shorten the dialogue" in said.err
    assert len(said.out.splitlines()) >= 1


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--format", "chat"], 1, "has no chat template"),
        (["--format", "chatt"], 2, "--format"),
        (["--temperature", "-1"], 2, "--temperature"),
        (["--temperature", "1e-9"], 1, "temperature"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, options, status, said):
    model = publish(tmp_path / "model")
    assert chat.main(["chat", str(model), *options]) == status
    assert said in error_line(capsys)
