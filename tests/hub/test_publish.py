"""Publishing: what the Hub is asked for, and how its refusals read. The Hub is a stand-in."""

from types import SimpleNamespace

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

from lightning_marlhf.hub.publish import create_repository, upload
from lightning_marlhf.hub.sources import SourceError


def http_error(status):
    """Make an error of the Hub's client without the response that its constructor reads."""
    error = HfHubHTTPError.__new__(HfHubHTTPError)
    Exception.__init__(error, f"{status} Client Error\nRequest ID: 1")
    error.response = SimpleNamespace(status_code=status)
    return error


def test_a_folder_becomes_a_commit_in_a_new_or_existing_repository(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(HfApi, "create_repo", lambda self, name, **more: asked.append((name, more)))
    monkeypatch.setattr(HfApi, "upload_folder", lambda self, **more: asked.append(more))
    create_repository("me/policy", private=True)
    assert upload(tmp_path, "me/policy") == "https://huggingface.co/me/policy"
    (name, created), uploaded = asked
    assert (name, created) == ("me/policy", {"private": True, "exist_ok": True})
    assert (uploaded["repo_id"], uploaded["folder_path"]) == ("me/policy", tmp_path)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (LocalTokenNotFoundError("Token is required"), "not logged in.*hf auth login"),
        (http_error(401), "not logged in.*or the token is not valid: run `hf auth login`"),
        (http_error(403), "may not write to me/policy: check that me is you"),
        (http_error(500), r"was not published \(500 Client Error\)"),
        (OSError("no route\nto host"), r"cannot be reached \(no route\)"),
    ],
)
@pytest.mark.parametrize(
    ("call", "publish"),
    [
        ("create_repo", lambda folder: create_repository("me/policy", private=False)),
        ("upload_folder", lambda folder: upload(folder, "me/policy")),
    ],
)
def test_a_refusal_is_one_line_that_says_what_to_do(monkeypatch, tmp_path, call, publish, error, said):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(HfApi, call, refuse)
    with pytest.raises(SourceError, match=said) as raised:
        publish(tmp_path)
    assert "\n" not in str(raised.value)


def test_no_network_is_told_as_such():
    # The tests run with HF_HUB_OFFLINE=1, so this is the Hub client's own response.
    with pytest.raises(SourceError, match=r"me/policy was not published.*offline mode is enabled"):
        create_repository("me/policy", private=False)


@pytest.mark.parametrize("name", ["a/b/c", "me/pol icy", "-/x"])
def test_what_is_no_name_on_the_hub_is_refused_before_it_is_asked(name):
    with pytest.raises(SourceError, match="is no name on the Hub: expected owner/name"):
        create_repository(name, private=False)
