"""Command-line options of judges, and their construction. Imports no torch."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lightning_marlhf.config.options import ConfigError
from lightning_marlhf.config.suggest import did_you_mean
from lightning_marlhf.evaluation.criteria import Task
from lightning_marlhf.evaluation.judges import Judge, instructions
from lightning_marlhf.evaluation.judges.budget import FREE, Budget, Price
from lightning_marlhf.evaluation.judges.cache import Cache, default_path
from lightning_marlhf.evaluation.judges.endpoint import Endpoint
from lightning_marlhf.evaluation.judges.human import HumanJudge
from lightning_marlhf.evaluation.judges.language_model import LanguageModelJudge
from lightning_marlhf.evaluation.judges.pointwise import GoldJudge, RewardModelJudge
from lightning_marlhf.inference.options import LoadOptions, device_and_dtype
from lightning_marlhf.ranges import NonNegative, NonNegativeInt, PositiveInt, Seconds

if TYPE_CHECKING:
    from lightning_marlhf.inference.loading import Exporter

JUDGE_KINDS = ("openai", "rm", "gold", "human")
_SPECS = "openai:MODEL[@BASE_URL], rm:MODEL, gold, or human:FILE"


@dataclass(frozen=True, kw_only=True)
class JudgeOptions(LoadOptions):
    """Judges, and how they judge.

    Args:
        judge: openai:MODEL[@BASE_URL]: a language model behind any OpenAI-compatible server; rm:MODEL: a reward model
            (run directory, export/ folder, .ckpt of a run, Hugging Face folder or Hub id; MODEL#LABEL names the label
            whose logit is the score); gold: the exact score of tiny TL;DR; human:FILE: verdicts that annotate wrote.
            Several judges are compared with each other.
        task: Task whose instructions a language model reads.
        orders: Order in which a language model sees each pair. both (default): in both, and a is better if it is
            preferred twice; one: in one, drawn by --seed.
        seed: Seed of prompts, orders and intervals (default: 0).
        key_variable: Environment variable with the key of the language model's server (default: OPENAI_API_KEY, which
            is sent to no BASE_URL unless named here).
        temperature: Sampling temperature of the language model; null: the server's own, for models that allow no
            other.
        max_tokens: Maximum tokens per reply of the language model.
        timeout: Seconds that one attempt of a request may take.
        retries: Number of attempts after 429, 5xx and timeouts, waiting as the server says.
        concurrency: Number of requests at a time.
        cache: SQLite file of all replies, reused across runs (default:
            ~/.cache/lightning_marlhf/judge.sqlite).
        reparse: Parse the cached replies again, and send nothing.
        max_calls: Maximum number of requests in this run.
        max_usd: Maximum dollars spent in this run; needs --price.
        price: Dollars per million tokens of prompts and of replies, as two numbers.
        dry_run: Report the number of requests, cached replies and tokens; judge nothing.
        margin: Scores of a reward model that differ by no more are a tie.
        chat_template: Show the reward model dialogues in its own chat template.
        batch_size: Responses per forward pass of the reward model.
    """

    judge: list[str]
    task: Task = "general"
    orders: Literal["both", "one"] | None = None
    seed: int | None = None
    key_variable: str | None = None
    temperature: NonNegative | None = 0.0
    max_tokens: PositiveInt = 512
    timeout: Seconds = 120.0
    retries: NonNegativeInt = 5
    concurrency: PositiveInt = 8
    cache: Path | None = None
    reparse: bool = False
    max_calls: NonNegativeInt | None = None
    max_usd: NonNegative | None = None
    price: tuple[NonNegative, ...] = ()
    dry_run: bool = False
    margin: NonNegative = 0.0
    chat_template: bool = False
    batch_size: PositiveInt = 32

    def __post_init__(self) -> None:
        specs = [_split(spec) for spec in self.judge]
        if len(set(self.judge)) < len(self.judge):
            raise ConfigError("--judge: expected different judges, got one twice")
        servers = {name.partition("@")[2] for kind, name in specs if kind == "openai"}
        if self.key_variable and len(servers) > 1:
            raise ConfigError("--key-variable would send one key to several servers: run one judge after the other")
        if len(self.price) not in (0, 2):
            raise ConfigError(f"--price: expected two numbers, got {len(self.price)}")
        if self.max_usd is not None and not any(self.price):
            raise ConfigError("--max-usd needs --price IN OUT, dollars per million tokens")

    def budget(self) -> Budget:
        """Build the limits of the requests of all judges together."""
        return Budget(max_calls=self.max_calls, max_usd=self.max_usd, price=Price(*self.price) if self.price else FREE)


def make_judge(spec: str, options: JudgeOptions, *, budget: Budget, stack: ExitStack, exporter: "Exporter") -> Judge:
    """Build the judge of ``spec``; ``stack`` closes its files and models."""
    kind, name = _split(spec)
    if kind == "openai":
        return make_language_model(spec, options, budget=budget, stack=stack)
    if kind == "gold":
        return GoldJudge()
    if kind == "human":
        return HumanJudge(Path(name))
    device, dtype = device_and_dtype(options.dtype)
    from lightning_marlhf.evaluation.reward_models import reward_model

    template = options.chat_template
    scorer = stack.enter_context(
        reward_model(name, name="rm", device=device, dtype=dtype, chat_template=template, exporter=exporter)
    )
    known_as = f"{name} (chat template)" if template else name
    return RewardModelJudge(scorer, name=known_as, margin=options.margin, batch_size=options.batch_size)


def make_language_model(spec: str, options: JudgeOptions, *, budget: Budget, stack: ExitStack) -> LanguageModelJudge:
    """Build a judge that asks a language model; see `make_judge`."""
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
    return LanguageModelJudge(
        endpoint,
        instructions.load(options.task),
        cache=stack.enter_context(Cache(options.cache or default_path())),
        budget=budget,
        orders=options.orders or "both",
        seed=options.seed or 0,
        concurrency=options.concurrency,
        offline=options.reparse,
    )


def _split(spec: str) -> tuple[str, str]:
    kind, _, name = spec.partition(":")
    if kind not in JUDGE_KINDS or bool(name) == (kind == "gold"):
        raise ConfigError(f"--judge {spec}: expected {_SPECS}{did_you_mean(kind, JUDGE_KINDS)}")
    return kind, name
