"""A chat model behind an OpenAI-compatible server: address, key, requests, retries, feature fallbacks.

No other file knows the client `openai`.
"""

import logging
import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from lightning_marlhf.evaluation.judges import JudgeError
from lightning_marlhf.evaluation.judges.instructions import SCHEMA
from lightning_marlhf.ranges import NonNegative, NonNegativeInt, PositiveInt, Seconds, checked

if TYPE_CHECKING:
    import openai

OPENAI_URL = "https://api.openai.com/v1"
KEY_VARIABLE = "OPENAI_API_KEY"
_LONGEST_QUOTE = 300
_OF_ONE_TEXT = ("context_length", "context length", "content_filter", "content management policy")
_OF_SCHEMA = ("response_format", "json_schema", "structured output", "guided")
_LONGEST_REPLY = 100_000  # characters; no verdict is longer
TOO_LONG = "too long"  # `Reply.finish` of one of which only the beginning is kept
_CONNECT_TIMEOUT_S = 10.0
_PORTS = {"http": 80, "https": 443}

_log = logging.getLogger(__name__)

Messages = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Reply:
    """One reply of the model."""

    text: str  # the verbatim reply, or the refusal
    finish: str  # why it ended: "stop", "length", "content_filter", ...; `TOO_LONG` if only its beginning is kept
    usage: dict[str, int]  # "prompt_tokens" and "completion_tokens", if the server counts them
    seconds: float  # time that it took, retries included


class NoReplyError(Exception):
    """One request got no reply; others may.

    Attributes:
        servers_fault: False if the texts are at fault (too long, filtered).
    """

    def __init__(self, why: str, *, servers_fault: bool) -> None:
        super().__init__(why)
        self.servers_fault = servers_fault


@checked
class Endpoint:
    """Sends messages and returns replies; several threads may use it.

    The client retries after 408, 409, 429, 5xx, timeouts and lost connections: after 0.5 s, doubled up to 8 s, with
    jitter, or after the server's Retry-After, up to two minutes.

    Args:
        model: Name of the model at the server.
        base_url: Address of the server; None: ``OPENAI_BASE_URL``, or OpenAI's.
        key_variable: Environment variable that holds the key. None: ``OPENAI_API_KEY``, which is not sent to a
            ``base_url`` that is given here.
        temperature: Sampling temperature; None: the server's own.
        max_tokens: Maximum tokens per reply.
        timeout_s: Timeout of one attempt, in seconds.
        retries: Number of attempts after the first.

    Raises:
        JudgeError: The address is no URL of a server, or holds a secret.
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
        self.base_url = _check_address(base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL)
        self.temperature = temperature
        self.max_tokens = max_tokens
        self.timeout_s = timeout_s
        self.retries = retries
        self._key_variable = key_variable or ("" if base_url else KEY_VARIABLE)
        self._key_required = bool(key_variable) or self.base_url == OPENAI_URL
        self._schema = True  # whether the server supports structured output, as far as is known
        self._limit = "max_tokens"  # the server's name of the limit of a reply
        self._temperature = True  # whether the server takes a temperature, as far as is known

    @property
    def name(self) -> str:
        """The model, and its server and temperature if not the defaults."""
        server = "" if self.base_url == OPENAI_URL else f"@{self.base_url}"
        return f"{self.model}{server}" + ("" if self.temperature == 0.0 else f" (temperature {self.temperature})")

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that affect a reply; part of the cache key, like the messages."""
        return {"temperature": self.temperature, "max_tokens": self.max_tokens}

    def check_reachable(self) -> None:
        """Check that there is a server, without the retries that a lost connection gets later.

        Raises:
            JudgeError: There is none, the key is missing, or the client is not installed.
        """
        assert self._client is not None  # a missing client or key is reported first
        server = urlsplit(self.base_url)
        host = str(server.hostname)
        if server.scheme in getproxies() and not proxy_bypass(host):
            return  # the proxy connects
        try:
            socket.create_connection((host, server.port or _PORTS[server.scheme]), timeout=_CONNECT_TIMEOUT_S).close()
        except OSError as error:
            raise JudgeError(f"cannot reach {self.base_url}: {error}") from None

    def complete(self, messages: Messages) -> Reply:
        """Send one request, with retries.

        Raises:
            JudgeError: No request can succeed: no server, no such model, a wrong key, an exhausted quota.
            NoReplyError: This one did not.
        """
        import openai

        began = time.monotonic()
        try:
            completion = self._request(messages)
        except openai.APITimeoutError:
            why = f"no reply within {self.timeout_s:g} s, tried {self.retries + 1} times"
            raise NoReplyError(why, servers_fault=True) from None
        except openai.APIConnectionError as error:
            why = self._quote(str(error.__cause__ or error))
            raise JudgeError(f"cannot reach {self.base_url}: {why}") from None
        except openai.APIStatusError as error:
            raise self._explain(error) from None
        except (openai.OpenAIError, ValueError, TypeError, RecursionError) as error:
            why = f"the reply is no chat completion: {self._quote(str(error))}"
            raise NoReplyError(why, servers_fault=True) from None
        return self._read(completion, time.monotonic() - began)

    @cached_property
    def _key(self) -> str:
        """The key; "" if there is none. No message contains it."""
        variable = self._key_variable
        key = os.environ.get(variable, "").strip() if variable else ""
        if self._key_required and not key:
            raise JudgeError(f"no key: set the environment variable {variable}, or name another with --key-variable")
        if not (key.isascii() and key.isprintable()):
            raise JudgeError(f"{variable} holds characters that no key has")
        return key

    @cached_property
    def _client(self) -> "openai.OpenAI":
        try:
            import openai
        except ModuleNotFoundError:
            raise JudgeError(
                "a language model as judge needs the client `openai`: pip install 'lightning_marlhf[judge]'"
            ) from None
        return openai.OpenAI(
            api_key=self._key or "none", base_url=self.base_url, timeout=self.timeout_s, max_retries=self.retries
        )

    def _request(self, messages: Messages) -> Any:
        """Send, and send again without what the server does not support."""
        import openai

        while True:
            sent: dict[str, Any] = {self._limit: self.max_tokens}
            if self.temperature is not None and self._temperature:
                sent["temperature"] = self.temperature
            if self._schema:
                form = {"name": "verdict", "strict": True, "schema": SCHEMA}
                sent["response_format"] = {"type": "json_schema", "json_schema": form}
            try:
                return self._client.chat.completions.create(model=self.model, messages=list(messages), **sent)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if not self._disable_rejected(sent, _message(error)):
                    raise

    def _disable_rejected(self, sent: Mapping[str, Any], message: str) -> bool:
        """Disable the parameter that the server rejected; return whether there was one."""
        message = message.lower()
        if any(mark in message for mark in _OF_ONE_TEXT):
            return False
        if "response_format" in sent and any(mark in message for mark in _OF_SCHEMA):
            self._schema = False
            return True
        if "max_tokens" in sent and "max_tokens" in message:
            self._limit = "max_completion_tokens"
            return True
        if "temperature" in sent and "temperature" in message:
            if self._temperature:
                _log.warning("%s takes no temperature: its own is used", self.name)
            self._temperature = False
            return True
        return False

    def _explain(self, error: "openai.APIStatusError") -> Exception:
        status, message = error.status_code, self._quote(_message(error))
        if status >= 500:
            return NoReplyError(f"the server failed ({status}): {message}", servers_fault=True)
        if any(mark in message.lower() for mark in _OF_ONE_TEXT):
            return NoReplyError(f"refused ({status}): {message}", servers_fault=False)
        why = {
            401: f"does not accept {self._describe_key()}",
            403: f"forbids it with {self._describe_key()}",
            404: f"does not know the model {self.model}, or the URL is wrong (most end with /v1)",
            429: "wants fewer requests, or the quota is used up; lower --concurrency, or resume later",
        }.get(status, "does not take the request")
        return JudgeError(f"{self.base_url} {why} ({status}: {message})")

    def _describe_key(self) -> str:
        if self._key:
            return f"the key in {self._key_variable}"
        return "requests without a key: --key-variable names the environment variable that holds it"

    def _quote(self, text: str) -> str:
        """Put a server's message on one line, without the key."""
        if self._key:
            text = text.replace(self._key, "***")
        line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return line if len(line) <= _LONGEST_QUOTE else f"{line[:_LONGEST_QUOTE]}..."

    def _read(self, completion: Any, seconds: float) -> Reply:
        try:
            choice, usage = completion.choices[0], completion.usage
            parts = (_text(choice.message.content), getattr(choice.message, "refusal", None))
            finish = str(choice.finish_reason or "")
        except (AttributeError, TypeError, LookupError):
            error = getattr(completion, "error", None)  # some servers report errors with status 200
            why = f": {self._quote(str(error))}" if error else ""
            raise NoReplyError(f"the reply is no chat completion{why}", servers_fault=True) from None
        text = next((each for each in parts if each and isinstance(each, str)), "")
        text = text.encode(errors="replace").decode()  # without halves of surrogate pairs
        if len(text) > _LONGEST_REPLY:
            text, finish = text[:_LONGEST_REPLY], TOO_LONG
        return Reply(text, finish, _read_usage(usage), round(seconds, 3))


def _text(content: Any) -> Any:
    """Join a content in parts; reasoning is a part of another type."""
    if not isinstance(content, list):
        return content
    texts = [part.get("text") for part in content if isinstance(part, Mapping)]
    return "".join(text for text in texts if isinstance(text, str))


def _read_usage(usage: Any) -> dict[str, int]:
    """Read the numbers of tokens; empty if the server gives none, or something else."""
    names = ("prompt_tokens", "completion_tokens")
    found = {name: getattr(usage, name, None) for name in names}
    valid = all(type(count) is int and count >= 0 for count in found.values())
    return {name: int(count) for name, count in found.items()} if valid else {}


def _message(error: "openai.APIStatusError") -> str:
    """Find the server's own message: OpenAI's `message`, FastAPI's `detail`, or the bare text."""
    body = error.body
    if isinstance(body, Mapping):
        parts = [body.get(name) for name in ("message", "detail", "param", "code")]
        return " ".join(str(part) for part in parts if part) or str(dict(body))
    return str(body or error.message)


def _check_address(url: str) -> str:
    """Check a server's address, which is written into records: it may hold no secret."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise JudgeError(f"{url!r} is no address of a server: expected http(s)://HOST[:PORT]/v1")
    if parts.username or parts.password or parts.query:
        raise JudgeError(
            "the address of a judge's server is written into records: expected it without a user name, a password or a "
            "query; a key comes from an environment variable (--key-variable)"
        )
    return url.rstrip("/")
