import pytest

from lightning_marlhf.evaluation.judges import instructions
from lightning_marlhf.evaluation.judges.budget import Budget
from lightning_marlhf.evaluation.judges.cache import Cache
from lightning_marlhf.evaluation.judges.endpoint import Endpoint
from lightning_marlhf.evaluation.judges.language_model import LanguageModelJudge


@pytest.fixture(autouse=True)
def no_proxy_and_no_key(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def cache(tmp_path):
    with Cache(tmp_path / "cache.sqlite") as opened:
        yield opened


@pytest.fixture
def make_judge(cache):
    """Build a judge at a stub: make_judge(stub, orders="one", budget=..., retries=0, ...)."""

    made = []

    def make(stub, *, model="m", budget=None, orders="both", seed=0, concurrency=4, offline=False, **settings):
        settings = {"retries": 0, "timeout_s": 5.0, **settings}
        judge = LanguageModelJudge(
            Endpoint(model, base_url=stub if isinstance(stub, str) else stub.url, **settings),
            instructions.load("general"),
            cache=cache,
            budget=budget or Budget(),
            orders=orders,
            seed=seed,
            concurrency=concurrency,
            offline=offline,
        )
        made.append(judge)
        return judge

    yield make
    for judge in made:
        if "_client" in vars(judge._endpoint):
            judge._endpoint._client.close()
