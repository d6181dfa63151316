"""Judges as users name them, and the options that they take."""

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lightning_marlhf.config.suggest import did_you_mean
from lightning_marlhf.evaluation.judges import instructions
from lightning_marlhf.evaluation.judges.base import Judge
from lightning_marlhf.evaluation.judges.budget import FREE, Budget, Price
from lightning_marlhf.evaluation.judges.cache import Cache, default_path
from lightning_marlhf.evaluation.judges.endpoint import KEY_VARIABLE, Endpoint
from lightning_marlhf.evaluation.judges.gold import GoldJudge
from lightning_marlhf.evaluation.judges.human import HumanJudge
from lightning_marlhf.evaluation.judges.openai_compatible import OpenAICompatibleJudge
from lightning_marlhf.inference.options import REWARD_MODEL_HELP, device_and_dtype
from lightning_marlhf.inference.sampling_options import add_dtype_option

if TYPE_CHECKING:
    from lightning_marlhf.inference.loading import Exporter

KINDS = ("openai", "rm", "gold", "human")
_SPECS = "openai:MODEL[@BASE_URL], rm:MODEL, gold, or human:FILE"


def add_judge_options(parser: argparse.ArgumentParser) -> None:
    """Add `--judge`, and what the kinds of judges need."""
    parser.add_argument(
        "--judge",
        action="append",
        required=True,
        metavar="JUDGE",
        help=f"{_SPECS}; several times for several judges, and their agreement. openai: any OpenAI-compatible server. "
        f"rm: a {REWARD_MODEL_HELP}. gold: the exact score of tiny TL;DR. human: what "
        "`annotate` wrote",
    )
    _add_language_model_options(parser.add_argument_group("a language model as judge"))
    group = parser.add_argument_group("a reward model as judge")
    group.add_argument(
        "--margin",
        type=float,
        default=0.0,
        metavar="M",
        help="scores that differ by no more are a tie (default 0)",
    )
    group.add_argument(
        "--chat-template",
        action="store_true",
        help="show it dialogues in its own chat template",
    )
    group.add_argument("--batch-size", type=int, default=32, metavar="N", help="texts at a time")
    add_dtype_option(cast(argparse.ArgumentParser, group))


def _add_language_model_options(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--key-variable",
        metavar="NAME",
        help=f"environment variable that holds the server's key (default {KEY_VARIABLE}, which is sent to no BASE_URL "
        "unless named here)",
    )
    group.add_argument(
        "--temperature",
        type=_temperature,
        default=0.0,
        metavar="T",
        help="default 0; none: the server's own, for models that allow no other",
    )
    group.add_argument(
        "--max-tokens", type=int, default=512, metavar="N", help="of a reply (default 512)"
    )
    group.add_argument(
        "--timeout", type=float, default=120.0, metavar="S", help="of one try (default 120)"
    )
    group.add_argument(
        "--retries",
        type=int,
        default=5,
        metavar="N",
        help="after 429, 5xx, timeouts, waiting as the server says (default 5)",
    )
    group.add_argument(
        "--concurrency", type=int, default=8, metavar="N", help="requests at a time (default 8)"
    )
    group.add_argument(
        "--cache",
        type=Path,
        metavar="FILE",
        help="SQLite file of all replies, so that nothing is paid for twice (default "
        "~/.cache/lightning_marlhf/judge.sqlite)",
    )
    group.add_argument(
        "--reparse", action="store_true", help="read the cached replies again, and send nothing"
    )
    group.add_argument(
        "--max-calls", type=int, metavar="N", help="send at most N requests in this run"
    )
    group.add_argument(
        "--max-usd",
        type=float,
        metavar="USD",
        help="send nothing that might cost more than this in this run; needs --price",
    )
    group.add_argument(
        "--price",
        type=float,
        nargs=2,
        metavar=("IN", "OUT"),
        help="dollars for a million tokens of prompts and of replies",
    )
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="say how many requests there would be, how many are in the cache, and how many tokens; judge nothing",
    )


def check_judge_options(options: argparse.Namespace) -> None:
    """Refuse what cannot be.

    Raises:
        ValueError: a judge of no kind, or a number out of range.
    """
    for name in ("max_tokens", "concurrency", "batch_size"):
        if getattr(options, name) < 1:
            raise ValueError(f"{_flag(name)}: expected at least 1, got {getattr(options, name)}")
    for name in ("retries", "margin", "max_calls", "max_usd"):
        value = getattr(options, name)
        if value is not None and not value >= 0:
            raise ValueError(f"{_flag(name)}: expected at least 0, got {value}")
    if not options.timeout > 0:
        raise ValueError(f"--timeout: expected more than 0, got {options.timeout}")
    if min(options.price or [0.0]) < 0:
        raise ValueError(f"--price: expected at least 0, got {options.price}")
    for spec in options.judge:
        _split(spec)
    if len(set(options.judge)) < len(options.judge):
        raise ValueError("--judge: expected different judges, got one twice")
    servers = {
        name.partition("@")[2] for kind, name in map(_split, options.judge) if kind == "openai"
    }
    if options.key_variable and len(servers) > 1:
        raise ValueError(
            "--key-variable would send one key to several servers: judge by one after the other"
        )


def make_budget(options: argparse.Namespace) -> Budget:
    """Say what all judges together may send."""
    price = Price(*options.price) if options.price else FREE
    return Budget(max_calls=options.max_calls, max_usd=options.max_usd, price=price)


def open_cache(options: argparse.Namespace) -> Cache:
    """Open the file of replies."""
    return Cache(options.cache or default_path())


def make_judge(
    spec: str,
    options: argparse.Namespace,
    *,
    budget: Budget,
    stack: ExitStack,
    exporter: "Exporter",
) -> Judge:
    """Build a judge; ``stack`` holds the files that it needs."""
    kind, name = _split(spec)
    if kind == "openai":
        return make_language_model(spec, options, budget=budget, stack=stack)
    if kind == "rm":
        return _make_reward_model(name, options, stack, exporter)
    return GoldJudge() if kind == "gold" else HumanJudge(Path(name))


def make_language_model(
    spec: str, options: argparse.Namespace, *, budget: Budget, stack: ExitStack
) -> OpenAICompatibleJudge:
    """Build a judge that asks a language model."""
    model, _, url = _split(spec)[1].partition("@")
    endpoint = Endpoint(
        model,
        base_url=url or None,
        key_variable=options.key_variable,
        temperature=options.temperature,
        max_tokens=options.max_tokens,
        timeout_s=options.timeout,
        retries=options.retries,
    )
    return OpenAICompatibleJudge(
        endpoint,
        instructions.load(options.task),
        cache=stack.enter_context(open_cache(options)),
        budget=budget,
        orders=options.orders,
        seed=options.seed,
        concurrency=options.concurrency,
        offline=options.reparse,
    )


def is_language_model(spec: str) -> bool:
    """Tell whether a judge sends requests."""
    return _split(spec)[0] == "openai"


def _make_reward_model(
    name: str, options: argparse.Namespace, stack: ExitStack, exporter: "Exporter"
) -> Judge:
    device, dtype = device_and_dtype(options.dtype)
    from lightning_marlhf.evaluation.judges.reward_model import RewardModelJudge
    from lightning_marlhf.evaluation.scoring import reward_model

    template = options.chat_template
    scorer = stack.enter_context(
        reward_model(
            name,
            name="rm",
            device=device,
            dtype=dtype,
            chat_template=template,
            exporter=exporter,
        )
    )
    return RewardModelJudge(
        scorer,
        name=f"{name} (chat template)" if template else name,
        margin=options.margin,
        batch_size=options.batch_size,
    )


def _split(spec: str) -> tuple[str, str]:
    kind, _, name = spec.partition(":")
    if kind not in KINDS or bool(name) == (kind == "gold"):
        raise ValueError(f"--judge {spec}: expected {_SPECS}{did_you_mean(kind, KINDS)}")
    return kind, name


def _temperature(text: str) -> float | None:
    return None if text == "none" else float(text)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
