"""`chat MODEL`: a dialogue with a model, on a terminal or line by line from standard input."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lightning_marlhf.commands import errors
from lightning_marlhf.commands.export import export_checkpoint
from lightning_marlhf.config.options import positional, read_options
from lightning_marlhf.display.text import printable
from lightning_marlhf.inference.options import CHAT, LoadOptions, SamplingOptions, device_and_dtype

if TYPE_CHECKING:
    from lightning_marlhf.inference.chat import Conversation

_KEYS = (
    "/reset forgets the dialogue, /undo the last message and its response, /quit (or Ctrl-D) ends; "
    "Ctrl-C ends a response"
)


@dataclass(frozen=True, kw_only=True)
class ChatOptions:
    """Chat with a model.

    /reset forgets the dialogue, /undo the last message and its response, /quit (or Ctrl-D) ends; Ctrl-C ends a
    response.

    Args:
        model: Run directory, export/ folder, .ckpt of a run, Hugging Face folder, or Hub id (owner/name).
        system: System turn that the dialogue begins with.
        format: The model's chat template, or HH-RLHF's dialogues; by default its chat template if it has one.
    """

    model: str = positional()
    system: str = ""
    format: Literal["chat", "hh_rlhf"] | None = None
    sampling: SamplingOptions = SamplingOptions(max_new_tokens=512)
    loading: LoadOptions = LoadOptions()


def main(arguments: Sequence[str]) -> int:
    """Chat with a model; see `chat --help`."""
    return errors.call(lambda: _run(read_options(ChatOptions, arguments[1:], command="chat")))


def _run(options: ChatOptions) -> int:
    settings = options.sampling.settings
    device, dtype = device_and_dtype(options.loading.dtype)
    from lightning_marlhf.inference.chat import Conversation
    from lightning_marlhf.inference.loading import language_model

    with language_model(options.model, exporter=export_checkpoint, device=device, dtype=dtype) as model:
        conversation = Conversation(
            model,
            settings,
            system=options.system,
            seed=options.sampling.seed,
            chat_template=None if options.format is None else options.format == CHAT,
        )
        if sys.stdin.isatty():
            form = "its chat template" if conversation.chat_template else "HH-RLHF's format"
            sys.stderr.write(printable(f"{options.model}, in {form}. {_KEYS}.\n"))
        for line in _lines():
            if not _handle_line(line.strip(), conversation):
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
            yield input("> ")
        except EOFError:
            sys.stdout.write("\n")
            return
        except KeyboardInterrupt:
            sys.stderr.write("\n/quit (or Ctrl-D) ends\n")


def _handle_line(line: str, conversation: "Conversation") -> bool:
    """Handle one input line; False ends the dialogue."""
    if line == "/quit":
        return False
    if line == "/reset":
        conversation.reset()
    elif line == "/undo":
        conversation.undo()
    elif line.startswith("/"):
        sys.stderr.write(printable(f"no command {line}: {_KEYS}\n"))
    elif line:
        try:
            conversation.respond(line, _write)
            _write("\n")
        except ValueError as error:
            sys.stderr.write(printable(f"error: {error} /undo and /reset shorten the dialogue.\n"))
    return True


def _write(piece: str) -> None:
    sys.stdout.write(printable(piece))
    sys.stdout.flush()
