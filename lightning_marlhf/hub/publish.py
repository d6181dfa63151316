"""Uploads a model folder to the Hub. Errors are one line, with a fix."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

from lightning_marlhf.hub.sources import SourceError, first_line

_LOGIN = "run `hf auth login` (or set HF_TOKEN) with a token that may write"


def create_repository(repository: str, *, private: bool) -> None:
    """Make sure that there is a model repository to publish to; an existing one keeps its visibility.

    Args:
        repository: Owner/name.
        private: Visibility of a new repository.

    Raises:
        SourceError: no such name, not logged in, not allowed, or no network.
    """
    with _publishing(repository):
        HfApi().create_repo(repository, private=private, exist_ok=True)


def upload(folder: Path, repository: str) -> str:
    """Upload a folder as one commit, and return the page of the model.

    Raises:
        SourceError: as for `create_repository`.
    """
    with _publishing(repository):
        HfApi().upload_folder(repo_id=repository, folder_path=folder, commit_message="Upload with lightning_marlhf")
    return f"https://huggingface.co/{repository}"


@contextmanager
def _publishing(repository: str) -> Iterator[None]:
    try:
        yield
    except HFValidationError:
        raise SourceError(f"{repository} is no name on the Hub: expected owner/name") from None
    except LocalTokenNotFoundError:
        raise SourceError(f"not logged in to the Hugging Face Hub: {_LOGIN}") from None
    except HfHubHTTPError as error:
        raise SourceError(_explain(error, repository)) from error
    except Exception as error:  # whatever the HTTP client raises: no network, a proxy
        raise SourceError(
            f"{repository} was not published, as the Hugging Face Hub cannot be reached ({first_line(error)}): "
            "connect and try again"
        ) from error


def _explain(error: HfHubHTTPError, repository: str) -> str:
    status = getattr(error.response, "status_code", None)
    if status == 401:
        return f"not logged in to the Hugging Face Hub, or the token is not valid: {_LOGIN}"
    if status == 403:
        owner = repository.partition("/")[0]
        return f"this login may not write to {repository}: check that {owner} is you or your organisation, or {_LOGIN}"
    return f"{repository} was not published ({first_line(error)}): try again"
