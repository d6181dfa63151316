import pytest

from lightning_marlhf.annotation.session import Session, select
from lightning_marlhf.annotation.store import AnnotationFile
from tests.annotation.pairs import make_pairs


@pytest.fixture
def make_session(tmp_path):
    """Start a session as a new process would, on the same file; the one before ends: make_session(10, overlap=0.2)."""
    files = []

    def make(pairs, *, overlap=1.0, seed=1):
        while files:
            files.pop().close()
        files.append(AnnotationFile(tmp_path / "v.jsonl"))
        pairs = make_pairs(pairs) if isinstance(pairs, int) else pairs
        selection = select(pairs, num_prompts=None, overlap=overlap, seed=seed)
        return Session(selection, files[0], prompt_version="page@1")

    yield make
    while files:
        files.pop().close()
