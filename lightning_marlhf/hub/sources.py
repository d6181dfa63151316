"""Finds models and tokenizers: in a folder, on the Hugging Face Hub, or in its local cache.

Every error is one line: the problem, the expectation, the fix.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError

from huggingface_hub import auth_check, snapshot_download
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError
from transformers.utils import logging

MODEL_FILES = ("config.json",)
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")

_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


class SourceError(ValueError):
    """A model or tokenizer cannot be loaded; the message is one line with the reason and the fix."""


def locate(source: str, *, files: tuple[str, ...] = MODEL_FILES) -> str:
    """Find where ``source`` can be loaded from.

    Args:
        source: A folder, or a Hub id such as ``google/gemma-2b``.
        files: Names of which a folder must hold one.

    Returns:
        The folder; or the Hub id where the Hub grants it; or the cached folder of the Hub id where
        the Hub is unreachable.

    Raises:
        SourceError: for a missing folder, a folder without a model, a gated or unknown repository,
            no network.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        if not any((folder / name).is_file() for name in files):
            raise SourceError(
                f"{source} holds no {' or '.join(files)}: "
                "expected a Hugging Face folder, such as the export/ of a finished run."
            )
        return str(folder)
    if not _HUB_ID.fullmatch(source):
        raise SourceError(
            f"{source} does not exist: expected a folder or a Hub id (owner/name). "
            "Check the path, or first run the stage that writes it."
        )
    problem = _ask_hub(source)
    return source if problem is None else _cached(source, problem)


def _ask_hub(repository: str) -> str | None:
    """Check on the Hub that this login may read ``repository``; the error states reason and fix."""
    try:
        auth_check(repository)
    except GatedRepoError:
        return (
            f"{repository} is gated: accept its licence at https://huggingface.co/{repository}, "
            "then run `hf auth login` (or set HF_TOKEN) with a token that may read it."
        )
    except RepositoryNotFoundError:
        return (
            f"{repository} is neither a folder here nor a Hub model that this login may see: "
            "check the spelling, and for a private model run `hf auth login` (or set HF_TOKEN)."
        )
    except Exception as error:  # whatever the HTTP client raises: no network, a proxy, a Hub in trouble
        return (
            f"{repository} is not in the local cache, and the Hugging Face Hub cannot be reached "
            f"({first_line(error)}): connect and try again, or give a folder."
        )
    return None


def _cached(repository: str, problem: str) -> str:
    try:
        return snapshot_download(repository, local_files_only=True)
    except LocalEntryNotFoundError:
        raise SourceError(problem) from None


@contextmanager
def quietly() -> Iterator[None]:
    """Silence progress bars, and notices about heads that are initialised on purpose."""
    verbosity, progress = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if progress:
            logging.enable_progress_bar()


@contextmanager
def reading(source: str) -> Iterator[None]:
    """Mute warnings (callers check for missing weights) and turn a failure into one line.

    Raises:
        SourceError: instead of whatever transformers, the Hub or safetensors raise; some families of models raise
            TypeError or KeyError where a setting does not suit them.
    """
    try:
        with quietly():
            yield
    except SourceError:
        raise
    except UnpicklingError as error:  # torch reads *.bin as data alone
        named = re.search(r"GLOBAL (\S+)", str(error))
        raise SourceError(
            f"{source} cannot be loaded: a *.bin file of it asks for {named[1] if named else 'objects'}, which is no "
            "weight and could run code (it was not run): expected *.safetensors"
        ) from error
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise code_of_its_own(source) from error
        raise SourceError(f"{source} cannot be loaded: {first_line(error)}") from error


def code_of_its_own(source: str) -> SourceError:
    """Refuse a model whose architecture or tokenizer is code in its folder."""
    return SourceError(
        f"{source} needs remote code (auto_map), which is never executed: expected an "
        "architecture and a tokenizer that transformers has, such as those of Gemma, Llama or Qwen"
    )


def first_line(error: BaseException) -> str:
    """Return an error's first line, and the next if it ends with a colon; else the error's name."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    line = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    bare = isinstance(error, TypeError | AttributeError | LookupError)
    return f"{type(error).__name__}: {line}" if bare else line
