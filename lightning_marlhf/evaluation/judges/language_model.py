"""A language model as judge, behind any OpenAI-compatible server."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

from lightning_marlhf.evaluation.judges import BOTH_ORDERS, JudgeError
from lightning_marlhf.evaluation.judges import cache as caches
from lightning_marlhf.evaluation.judges.budget import Budget, estimate_tokens
from lightning_marlhf.evaluation.judges.cache import Cache
from lightning_marlhf.evaluation.judges.endpoint import TOO_LONG, Endpoint, NoReplyError, Reply
from lightning_marlhf.evaluation.judges.instructions import REPAIR, Instructions, read_preference
from lightning_marlhf.evaluation.pairs import Pair, digest, plain_prompt
from lightning_marlhf.ranges import PositiveInt, checked
from lightning_marlhf.records import Verdict

_MOST_FAILURES = 5  # in a row, after which the server counts as broken
_MOST_REPLIES = 2  # to one question: a second is requested if the first cannot be read
Item = TypeVar("Item")
Result = TypeVar("Result")
_CUT_OFF = "length"
_FILTERED = "content_filter"


@dataclass(frozen=True)
class Question:
    """A pair in one order."""

    pair: Pair
    order: str  # "ab" or "ba"

    @property
    def texts(self) -> tuple[str, str, str]:
        """The prompt, and the responses in the order in which they are shown."""
        responses = {"a": self.pair.a, "b": self.pair.b}
        return plain_prompt(self.pair), responses[self.order[0]], responses[self.order[1]]

    @property
    def identical(self) -> bool:
        """Whether both responses are the same."""
        return self.pair.a.strip() == self.pair.b.strip()


@dataclass(frozen=True)
class Forecast:
    """Forecast of the requests; tokens are estimated from lengths."""

    calls: int  # without repairs
    cached: int  # questions whose reply is in the cache
    identical: int  # questions with identical responses: ties without a call
    prompt_tokens: int
    completion_tokens: int  # at most


@checked
class LanguageModelJudge:
    """Asks a chat model for the better response.

    Each reply is cached as soon as it arrives, and parsed again from the cache; so no request is sent twice.

    Args:
        endpoint: The model.
        instructions: The prompt template.
        cache: Cache of replies.
        budget: Limits of requests and dollars.
        orders: "both", or "one" for each pair, by a hash of the seed and the pair id.
        seed: Seed of the order.
        concurrency: Number of requests at a time.
        offline: Parse cached replies, and send nothing.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        instructions: Instructions,
        *,
        cache: Cache,
        budget: Budget,
        orders: str = "both",
        seed: int = 0,
        concurrency: PositiveInt = 8,
        offline: bool = False,
    ) -> None:
        self.name = f"openai:{endpoint.name}"
        self.prompt_version = instructions.version
        self._endpoint = endpoint
        self._instructions = instructions
        self._cache = cache
        self._budget = budget
        self._both = orders == "both"
        self._seed = seed
        self._concurrency = concurrency
        self._offline = offline
        self._failures = 0  # in a row
        self._lock = threading.Lock()

    def orders(self, pair: Pair) -> tuple[str, ...]:
        """Return the orders in which a pair is shown."""
        if self._both:
            return BOTH_ORDERS
        return (BOTH_ORDERS[int(digest(str(self._seed), pair.pair_id), 16) % 2],)

    def forecast(self, pairs: Sequence[Pair]) -> Forecast:
        """Forecast the requests for ``pairs``."""
        questions = self._questions(pairs)
        different = [each for each in questions if not each.identical]
        new = [each for each in different if not _settled(each, self._replies(each))]
        return Forecast(
            calls=len(new),
            cached=len(different) - len(new),
            identical=len(questions) - len(different),
            prompt_tokens=sum(estimate_tokens(self._instructions.fill(*q.texts)) for q in new),
            completion_tokens=len(new) * self._endpoint.max_tokens,
        )

    def judge(self, pairs: Sequence[Pair]) -> Iterator[Verdict]:
        """Yield a verdict for each pair and order: those that need no call first, the others as replies arrive.

        Raises:
            BudgetSpent: The next request might pass a limit.
            JudgeError: See `Endpoint.complete`; or the server fails several times in a row.
        """
        new = []
        for question in self._questions(pairs):
            replies = [] if question.identical else self._replies(question)
            if question.identical or _settled(question, replies) or (self._offline and replies):
                yield self._verdict(question, replies)
            else:
                new.append(question)
        if new and not self._offline:
            self._endpoint.check_reachable()
            yield from run_concurrently(self._judge_one, new, workers=self._concurrency)

    def _questions(self, pairs: Sequence[Pair]) -> list[Question]:
        return [Question(pair, order) for pair in pairs for order in self.orders(pair)]

    def _key(self, question: Question) -> str:
        return caches.key_of(
            judge=self.name, settings=self._endpoint.settings, version=self.prompt_version, texts=question.texts
        )

    def _replies(self, question: Question) -> list[Reply]:
        return [Reply(**reply) for reply in self._cache.get(self._key(question)) or []]

    def _judge_one(self, question: Question) -> Verdict:
        """Request replies until there is a verdict or an error; runs in a worker thread."""
        replies = self._replies(question)
        try:
            while not _settled(question, replies):
                replies.append(self._send(question, replies))
                self._cache.put(self._key(question), [asdict(reply) for reply in replies])
        except NoReplyError as error:
            self._count_failure(error)
            return self._verdict(question, replies, error=str(error))
        return self._verdict(question, replies)

    def _send(self, question: Question, replies: Sequence[Reply]) -> Reply:
        messages = [{"role": "user", "content": self._instructions.fill(*question.texts)}]
        for reply in replies:
            messages.append({"role": "assistant", "content": reply.text or "(nothing)"})
            messages.append({"role": "user", "content": REPAIR})
        prompt_tokens = sum(estimate_tokens(message["content"]) for message in messages)
        max_usage = {"prompt_tokens": prompt_tokens, "completion_tokens": self._endpoint.max_tokens}
        self._budget.reserve(max_usage)
        usage: dict[str, int] = {}
        try:
            reply = self._endpoint.complete(messages)
            usage = reply.usage or {**max_usage, "completion_tokens": estimate_tokens(reply.text)}
        finally:
            self._budget.settle(max_usage, usage)
        self._failures = 0
        return reply

    def _count_failure(self, error: NoReplyError) -> None:
        if not error.servers_fault:
            return
        with self._lock:
            self._failures += 1
            if self._failures >= _MOST_FAILURES:
                raise JudgeError(f"{self.name}: {self._failures} failures in a row: {error}")

    def _verdict(self, question: Question, replies: Sequence[Reply], error: str = "") -> Verdict:
        preference = _preference(question, replies)
        winners = {"first": question.order[0], "second": question.order[1], "tie": "tie"}
        if preference is None and not error:
            error = self._why_invalid(replies[-1])
        names = {name for reply in replies for name in reply.usage}
        return Verdict(
            pair_id=question.pair.pair_id,
            fingerprint=question.pair.fingerprint,
            order=question.order,
            winner="invalid" if preference is None else winners[preference],
            judge=self.name,
            prompt_version=self.prompt_version,
            raw=replies[-1].text if replies else "",
            usage={name: sum(r.usage.get(name, 0) for r in replies) for name in sorted(names)},
            seconds=round(sum(r.seconds for r in replies), 3) if replies else None,
            error=error,
        )

    def _why_invalid(self, reply: Reply) -> str:
        if reply.finish == _CUT_OFF:
            return f"cut off after {self._endpoint.max_tokens} tokens (--max-tokens)"
        if reply.finish == TOO_LONG:
            return "the reply is too long to hold a verdict"
        if not reply.text.strip():
            return "the reply is empty"
        return "filtered by the server" if reply.finish == _FILTERED else "no verdict in the reply"


def _settled(question: Question, replies: Sequence[Reply]) -> bool:
    """Return whether the question needs no further request."""
    return bool(replies) and (
        len(replies) == _MOST_REPLIES or _truncated(replies[-1]) or _preference(question, replies) is not None
    )


def _preference(question: Question, replies: Sequence[Reply]) -> str | None:
    if question.identical:
        return "tie"
    if not replies or _truncated(replies[-1]):
        return None
    return read_preference(replies[-1].text, question.texts)


def _truncated(reply: Reply) -> bool:
    return reply.finish in (_CUT_OFF, _FILTERED, TOO_LONG)


def run_concurrently(call: Callable[[Item], Result], items: Iterable[Item], *, workers: int) -> Iterator[Result]:
    """Yield the result of ``call`` for each item, the first to be done first.

    The calls run in threads, as they wait for a server. After an error no call is started, and running ones are waited
    for. When the caller stops (Ctrl-C) they are not: the threads are daemons, so that a call that hangs keeps nothing
    alive.

    Raises:
        Exception: The first that a call raised, after all results.
    """
    waiting: queue.SimpleQueue[Item] = queue.SimpleQueue()
    for item in items:
        waiting.put(item)
    done: queue.SimpleQueue[list[Result] | Exception | None] = queue.SimpleQueue()
    stop = threading.Event()

    def work() -> None:
        try:
            while not stop.is_set():
                done.put([call(waiting.get_nowait())])
        except queue.Empty:
            pass
        except Exception as error:
            stop.set()
            done.put(error)
        finally:
            done.put(None)

    working = min(workers, waiting.qsize())
    for _ in range(working):
        threading.Thread(target=work, daemon=True).start()
    try:
        yield from _collect(done, working)
    finally:
        stop.set()


def _collect(done: "queue.SimpleQueue[list[Result] | Exception | None]", working: int) -> Iterator[Result]:
    first_error: Exception | None = None
    while working:
        found = done.get()
        if found is None:
            working -= 1
        elif isinstance(found, Exception):
            first_error = first_error or found
        else:
            yield from found
    if first_error is not None:
        raise first_error
