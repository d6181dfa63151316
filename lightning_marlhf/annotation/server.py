"""The page and its five requests; everything a request can do wrong ends here, in one sentence for the page.

What keeps other web sites out: the host has to be this machine's own name (a site that lets its name point here is
refused), a POST has to come from the page itself by its Origin and Sec-Fetch-Site, and carries a token that only the
page can read. Texts travel as JSON and are put into the page as text, never as HTML; scripts of other origins, inline
ones included, are forbidden by the Content-Security-Policy.
"""

import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lightning_marlhf.annotation.criteria import Criteria
from lightning_marlhf.annotation.people import Annotator
from lightning_marlhf.annotation.session import OutdatedError, Session

HOSTS = ("127.0.0.1", "localhost")
TOKEN_HEADER = "X-Page-Token"  # noqa: S105
_LARGEST_BODY = 100_000  # bytes
_FILES = {"page.html": "text/html", "page.css": "text/css", "page.js": "text/javascript"}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
Body = Mapping[str, Any]


class Server:
    """Serves one session.

    Args:
        session: whose turn it is.
        criteria: what annotators are asked.
        annotator: everybody at the page is this person; None: the page asks for the name.
    """

    def __init__(self, session: Session, criteria: Criteria, annotator: str | None) -> None:
        self.session = session
        self.criteria = criteria
        self.name = annotator
        self.token = secrets.token_urlsafe()
        self._actions: Mapping[str, Callable[[Annotator, Body], None]] = {
            "next": lambda person, body: None,
            "answer": self._answer,
            "skip": lambda person, body: session.skip(person, _text(body, "pair")),
            "undo": lambda person, body: session.undo(person),
        }

    def app(self) -> Starlette:
        """Build the application."""
        files = [Route("/" if name == "page.html" else f"/{name}", _file(name)) for name in _FILES]
        actions = [Route(f"/{name}", self._act, methods=["POST"]) for name in self._actions]
        return Starlette(
            routes=[*files, Route("/session", self._describe), *actions],
            middleware=[
                Middleware(_SafetyHeaders),
                Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False),
            ],
            exception_handlers={HTTPException: _refuse},
        )

    async def _describe(self, request: Request) -> Response:
        """Tell the page what it needs before a name is known."""
        _check_origin(request)
        return _json(
            {
                "token": self.token,
                "annotator": self.name,
                "names": self.session.names,
                "question": self.criteria.question,
                "points": self.criteria.points,
                "file": self.session.verdicts.path.name,
            }
        )

    async def _act(self, request: Request) -> Response:
        """Do what a key asks for, and answer what the page shows then."""
        _check_origin(request)
        sent = request.headers.get(TOKEN_HEADER, "")
        if not hmac.compare_digest(sent.encode(), self.token.encode()):
            raise HTTPException(403, "the server has been started anew: reload the page")
        try:
            body = await _read(request)
            person = self.session.annotator(self.name or _text(body, "annotator"))
            self._actions[request.url.path[1:]](person, body)
        except OutdatedError as error:
            raise HTTPException(409, str(error)) from error
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        except OSError as error:
            raise HTTPException(507, f"not saved: {error.strerror}") from error
        return _json(self.session.view(person))

    def _answer(self, person: Annotator, body: Body) -> None:
        self.session.answer(
            person,
            _text(body, "pair"),
            winner=_text(body, "winner"),
            note=_text(body, "note"),
        )


class _SafetyHeaders:
    """Puts the headers that confine the page on every response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self.app(scope, receive, send_safely)


def _file(name: str) -> Callable[[Request], Response]:
    content = (Path(__file__).parent / name).read_text(encoding="utf-8")

    def respond(request: Request) -> Response:
        return Response(content, media_type=_FILES[name])

    return respond


def _check_origin(request: Request) -> None:
    """Refuse what another site's page sends; a browser says where a request comes from."""
    here = f"http://{request.headers['host']}"
    origin = request.headers.get("origin", "" if request.method == "POST" else here)
    if origin != here or request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise HTTPException(403, "only the page itself may ask this")


async def _read(request: Request) -> Body:
    content = b""
    async for chunk in request.stream():
        content += chunk
        if len(content) > _LARGEST_BODY:
            raise ValueError("the request is too large: shorten the note")
    try:
        body = json.loads(content)
    except RecursionError:
        raise ValueError("expected a JSON object, got one nested too deeply") from None
    if not isinstance(body, dict):
        raise ValueError("expected a JSON object")
    return body


def _text(body: Body, key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str):
        raise ValueError(f"expected `{key}` with a text")
    return value


def _json(value: Mapping[str, Any], status: int = 200) -> Response:
    """Answer in ASCII: an answer may hold lone surrogates, which UTF-8 cannot."""
    return Response(json.dumps(value), status, media_type="application/json")


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json({"error": error.detail}, error.status_code)
