"""`chat MODEL`: a dialogue with a model, on a terminal or line by line from standard input."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from lightning_marlhf.commands import errors
from lightning_marlhf.display.text import printable
from lightning_marlhf.inference.model_folder import MODEL_HELP, device_and_dtype, model_folder
from lightning_marlhf.inference.prompts import CHAT
from lightning_marlhf.inference.sampling_options import add_sampling_options, sampling_settings

if TYPE_CHECKING:
    from lightning_marlhf.inference.dialogue import Conversation

HH = "hh_rlhf"
_PROMPT = "> "
_KEYS = (
    "/reset forgets the dialogue, /undo the last question and its answer, /quit (or Ctrl-D) ends; "
    "Ctrl-C stops an answer"
)


def main(arguments: Sequence[str]) -> int:
    """Talk with a model; see `chat --help`."""
    options = _parser().parse_args(arguments[1:])
    return errors.call(lambda: _run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lightning_marlhf chat",
        description=f"Talk with a model. {_KEYS}.",
    )
    parser.add_argument("model", help=MODEL_HELP)
    parser.add_argument(
        "--system", default="", metavar="TEXT", help="what the dialogue begins with"
    )
    parser.add_argument(
        "--format",
        choices=[CHAT, HH],
        help="the model's chat template, or HH-RLHF's dialogues; default: its chat template if it has one",
    )
    add_sampling_options(parser, max_new_tokens=512)
    return parser


def _run(options: argparse.Namespace) -> int:
    settings = sampling_settings(options)
    device, dtype = device_and_dtype(options.dtype)
    with model_folder(options.model) as model:
        from lightning_marlhf.inference.answering import Answerer
        from lightning_marlhf.inference.dialogue import Conversation

        template = None if options.format is None else options.format == CHAT
        answerer = Answerer(model.source, device=device, dtype=dtype, chat_template=template)
        conversation = Conversation(answerer, settings, system=options.system, seed=options.seed)
        if sys.stdin.isatty():
            form = "its chat template" if answerer.chat_template else "HH-RLHF's format"
            sys.stderr.write(printable(f"{options.model}, in {form}. {_KEYS}.\n"))
        for line in _lines():
            if not _obey(line.strip(), conversation):
                break
    return 0


def _lines() -> Iterator[str]:
    """Yield what the user types, or the lines of standard input."""
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    with suppress(ImportError):
        import readline  # noqa: F401 - arrow keys and history for `input`
    while True:
        try:
            yield input(_PROMPT)
        except EOFError:
            sys.stdout.write("\n")
            return
        except KeyboardInterrupt:
            sys.stderr.write("\n/quit (or Ctrl-D) ends\n")


def _obey(line: str, conversation: "Conversation") -> bool:
    """Do what one line says; False ends the dialogue."""
    if line == "/quit":
        return False
    if line == "/reset":
        conversation.reset()
    elif line == "/undo":
        conversation.undo()
    elif line.startswith("/"):
        sys.stderr.write(f"no command {line}: {_KEYS}\n")
    elif line:
        _ask(line, conversation)
    return True


def _ask(line: str, conversation: "Conversation") -> None:
    try:
        conversation.ask(line, _write)
        _write("\n")
    except ValueError as error:
        sys.stderr.write(f"error: {error} /undo and /reset shorten the dialogue.\n")


def _write(piece: str) -> None:
    sys.stdout.write(printable(piece))
    sys.stdout.flush()
