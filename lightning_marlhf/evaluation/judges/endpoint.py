"""A chat model behind an OpenAI-compatible server. No other file knows the client `openai`."""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lightning_marlhf.evaluation.judges import access
from lightning_marlhf.evaluation.judges.base import JudgeError
from lightning_marlhf.evaluation.judges.parsing import SCHEMA
from lightning_marlhf.ranges import NonNegative, NonNegativeInt, PositiveInt, Seconds, checked

if TYPE_CHECKING:
    import openai

OPENAI_URL = "https://api.openai.com/v1"
KEY_VARIABLE = "OPENAI_API_KEY"
_LONGEST_QUOTE = 300
_OF_ONE_TEXT = ("context_length", "context length", "content_filter", "content management policy")
_OF_SCHEMA = ("response_format", "json_schema", "structured output", "guided")
_LONGEST_REPLY = 100_000  # characters; no verdict is longer
TOO_LONG = "too long"  # why a reply ended that has more

_log = logging.getLogger(__name__)

Messages = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Reply:
    """What the model answered.

    Attributes:
        text: word for word; a refusal's words where it refused.
        finish: why it ended: "stop", "length", "content_filter", ...; `TOO_LONG` where only its beginning is kept.
        usage: "prompt_tokens" and "completion_tokens", where the server counts them.
        seconds: it took, retries included.
    """

    text: str
    finish: str
    usage: dict[str, int]
    seconds: float


class NoReplyError(Exception):
    """One request got no answer; others may.

    Attributes:
        servers_fault: False where the texts were at fault (too long, filtered).
    """

    def __init__(self, why: str, *, servers_fault: bool) -> None:
        super().__init__(why)
        self.servers_fault = servers_fault


@checked
class Endpoint:
    """Sends messages and returns replies; safe to be used by several threads.

    The client itself tries again after 408, 409, 429, 5xx, timeouts and lost connections: 0.5 s doubled up to 8 s, with
    jitter, or what the server's Retry-After says, up to two minutes.

    Args:
        model: its name at the server.
        base_url: of the server; None: that of ``OPENAI_BASE_URL``, or OpenAI's.
        key_variable: the environment variable that holds the key. None: ``OPENAI_API_KEY``; but to a ``base_url`` that
            is given no key is sent that was not meant for it.
        temperature: None: the server's own.
        max_tokens: of a reply.
        timeout_s: of one try.
        retries: tries after the first.

    Raises:
        JudgeError: the URL is none.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        key_variable: str | None = None,
        temperature: NonNegative | None = 0.0,
        max_tokens: PositiveInt = 512,
        timeout_s: Seconds = 120.0,
        retries: NonNegativeInt = 5,
    ) -> None:
        self.model = model
        self.base_url = access.plain_address(
            base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL
        )
        self.temperature = temperature
        self.max_tokens = max_tokens
        self.timeout_s = timeout_s
        self.retries = retries
        self._key_variable = key_variable or ("" if base_url else KEY_VARIABLE)
        self._key_required = bool(key_variable) or self.base_url == OPENAI_URL
        self._schema = True  # the server can hold replies to a JSON schema, as far as is known
        self._limit = "max_tokens"  # as it calls the limit of a reply
        self._temperature = True  # it takes a temperature, as far as is known

    @property
    def name(self) -> str:
        """The model, and where and how it is asked if that is not the usual way."""
        place = "" if self.base_url == OPENAI_URL else f"@{self.base_url}"
        usual = self.temperature == 0.0
        return f"{self.model}{place}" + ("" if usual else f" (temperature {self.temperature})")

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides a reply besides the messages."""
        return {"temperature": self.temperature, "max_tokens": self.max_tokens}

    def check_reachable(self) -> None:
        """Find out whether there is a server, without the patience that a lost connection gets later.

        Raises:
            JudgeError: there is none, the key is missing, or the client is not installed.
        """
        assert self._client is not None  # what it lacks is told before a server that is not there
        if why := access.unreachable(self.base_url):
            raise JudgeError(f"cannot reach {self.base_url}: {why}")

    def ask(self, messages: Messages) -> Reply:
        """Send one request, with retries.

        Raises:
            JudgeError: no request can succeed: no server, no such model, a wrong key, an exhausted quota.
            NoReplyError: this one did not.
        """
        import openai

        began = time.monotonic()
        try:
            completion = self._request(messages)
        except openai.APITimeoutError:
            why = f"no answer within {self.timeout_s:g} s, tried {self.retries + 1} times"
            raise NoReplyError(why, servers_fault=True) from None
        except openai.APIConnectionError as error:
            why = self._quote(str(error.__cause__ or error))
            raise JudgeError(f"cannot reach {self.base_url}: {why}") from None
        except openai.APIStatusError as error:
            raise self._explain(error) from None
        except (openai.OpenAIError, ValueError, TypeError, RecursionError) as error:
            why = f"the answer is no chat completion: {self._quote(str(error))}"
            raise NoReplyError(why, servers_fault=True) from None
        return self._read(completion, time.monotonic() - began)

    @cached_property
    def _key(self) -> str:
        return access.read_key(self._key_variable, required=self._key_required)

    @cached_property
    def _client(self) -> "openai.OpenAI":
        try:
            import openai
        except ModuleNotFoundError:
            raise JudgeError(
                "a language model as judge needs the client `openai`: pip install 'lightning_marlhf[judge]'"
            ) from None
        return openai.OpenAI(
            api_key=self._key or "none",
            base_url=self.base_url,
            timeout=self.timeout_s,
            max_retries=self.retries,
        )

    def _request(self, messages: Messages) -> Any:
        """Send, and send again without what the server does not know."""
        import openai

        while True:
            sent = self._parameters()
            try:
                return self._client.chat.completions.create(
                    model=self.model, messages=list(messages), **sent
                )
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if not self._learn(sent, _said(error)):
                    raise

    def _parameters(self) -> dict[str, Any]:
        parameters: dict[str, Any] = {self._limit: self.max_tokens}
        if self.temperature is not None and self._temperature:
            parameters["temperature"] = self.temperature
        if self._schema:
            form = {"name": "verdict", "strict": True, "schema": SCHEMA}
            parameters["response_format"] = {"type": "json_schema", "json_schema": form}
        return parameters

    def _learn(self, sent: Mapping[str, Any], complaint: str) -> bool:
        """Leave out what the server complains about; False where it was nothing that can be left out."""
        complaint = complaint.lower()
        if any(mark in complaint for mark in _OF_ONE_TEXT):
            return False
        if "response_format" in sent and any(mark in complaint for mark in _OF_SCHEMA):
            self._schema = False
            return True
        if "max_tokens" in sent and "max_tokens" in complaint:
            self._limit = "max_completion_tokens"
            return True
        if "temperature" in sent and "temperature" in complaint:
            if self._temperature:
                _log.warning("%s takes no temperature: its own is used", self.name)
            self._temperature = False
            return True
        return False

    def _explain(self, error: "openai.APIStatusError") -> Exception:
        status, said = error.status_code, self._quote(_said(error))
        if status >= 500:
            return NoReplyError(f"the server failed ({status}): {said}", servers_fault=True)
        if any(mark in said.lower() for mark in _OF_ONE_TEXT):
            return NoReplyError(f"refused ({status}): {said}", servers_fault=False)
        why = {
            401: f"does not accept {self._key_in_words()}",
            403: f"forbids it with {self._key_in_words()}",
            404: f"does not know the model {self.model}, or the URL is wrong (most end with /v1)",
            429: "wants fewer requests, or the quota is used up; lower --concurrency, or go on later",
        }.get(status, "does not take the request")
        return JudgeError(f"{self.base_url} {why} ({status}: {said})")

    def _key_in_words(self) -> str:
        if self._key:
            return f"the key in {self._key_variable}"
        return "requests without a key: --key-variable names the environment variable that holds it"

    def _quote(self, text: str) -> str:
        """Put what a server said on one line, without the key."""
        if self._key:
            text = text.replace(self._key, "***")
        line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return line if len(line) <= _LONGEST_QUOTE else f"{line[:_LONGEST_QUOTE]}..."

    def _read(self, completion: Any, seconds: float) -> Reply:
        try:
            choice, usage = completion.choices[0], completion.usage
            said = (_text(choice.message.content), getattr(choice.message, "refusal", None))
            finish = str(choice.finish_reason or "")
        except (AttributeError, TypeError, LookupError):
            error = getattr(completion, "error", None)  # as some servers say it with status 200
            why = f": {self._quote(str(error))}" if error else ""
            raise NoReplyError(
                f"the answer is no chat completion{why}", servers_fault=True
            ) from None
        text = next((each for each in said if each and isinstance(each, str)), "")
        text = text.encode(errors="replace").decode()  # without halves of surrogate pairs
        if len(text) > _LONGEST_REPLY:
            text, finish = text[:_LONGEST_REPLY], TOO_LONG
        return Reply(text, finish, _counted(usage), round(seconds, 3))


def _text(content: Any) -> Any:
    """Join what is given in parts; a thought is a part of another type."""
    if not isinstance(content, list):
        return content
    texts = [part.get("text") for part in content if isinstance(part, Mapping)]
    return "".join(text for text in texts if isinstance(text, str))


def _counted(usage: Any) -> dict[str, int]:
    """Read the numbers of tokens; none where the server gives none, or something else."""
    names = ("prompt_tokens", "completion_tokens")
    found = {name: getattr(usage, name, None) for name in names}
    sound = all(type(count) is int and count >= 0 for count in found.values())
    return {name: int(count) for name, count in found.items()} if sound else {}


def _said(error: "openai.APIStatusError") -> str:
    """Find the server's own words: OpenAI's `message`, FastAPI's `detail`, or the bare text."""
    body = error.body
    if isinstance(body, Mapping):
        parts = [body.get(name) for name in ("message", "detail", "param", "code")]
        return " ".join(str(part) for part in parts if part) or str(dict(body))
    return str(body or error.message)
