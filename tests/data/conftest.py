"""Small made-up data sets in the columns of the real ones, and a tokenizer for them."""

import json
import string

import pytest

from lightning_marlhf.data.tokenizers import character_tokenizer

ALPHABET = string.ascii_letters + string.digits + " .:/?!,'[]()\n"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Give every test a cache of its own."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    character_tokenizer(ALPHABET).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def write(tmp_path):
    """Write rows as JSON lines: write("train.jsonl", rows) gives the folder."""

    def write(name, rows):
        lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / name).write_text("".join(f"{line}\n" for line in lines))
        return str(tmp_path / "data")

    return write


@pytest.fixture
def tldr_row():
    """Make a comparison: tldr_row(3) is about post 3 and prefers its first summary."""

    def make(post, *, choice=0, summaries=(" good", " bad"), text=None):
        info = {
            "id": f"t{post}",
            "post": f"post {post}" if text is None else text,
            "title": "unused",
            "subreddit": "cats",
            "site": None,
            "article": None,
        }
        return {"info": info, "summaries": [{"text": f"{text}{post}"} for text in summaries], "choice": choice}

    return make
