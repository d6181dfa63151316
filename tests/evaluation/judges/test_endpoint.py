"""Mistakes in how a server is named."""

import sys

import pytest

from lightning_marlhf.evaluation.judges import JudgeError
from lightning_marlhf.evaluation.judges.endpoint import Endpoint


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://h/v1", "http://", "x"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(JudgeError, match="is no address of a server"):
        Endpoint("m", base_url=url)


@pytest.mark.parametrize("url", ["http://me:secret@host/v1", "https://host/v1?key=secret"])
def test_an_address_that_holds_a_secret_is_refused_without_saying_it(url):
    with pytest.raises(JudgeError, match="--key-variable") as error:
        Endpoint("m", base_url=url)
    assert "secret" not in str(error.value)


def test_a_missing_key_is_named():
    with pytest.raises(JudgeError, match="set the environment variable OPENAI_API_KEY"):
        Endpoint("m").check_reachable()
    with pytest.raises(JudgeError, match="set the environment variable MINE"):
        Endpoint("m", base_url="http://host/v1", key_variable="MINE").check_reachable()


def test_a_key_that_cannot_be_one_is_not_repeated(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret\nmore")
    with pytest.raises(JudgeError, match="OPENAI_API_KEY holds characters") as error:
        Endpoint("m").check_reachable()
    assert "secret" not in str(error.value)


def test_a_client_that_is_not_installed_is_named_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(JudgeError, match=r"pip install 'lightning_marlhf\[judge\]'"):
        Endpoint("m", base_url="http://host/v1").check_reachable()


def test_openais_own_name_is_the_models_alone():
    assert Endpoint("gpt-4o").name == "gpt-4o"
    assert Endpoint("m", base_url="http://host/v1/").name == "m@http://host/v1"
    assert Endpoint("m", temperature=1.0).name == "m (temperature 1.0)"
