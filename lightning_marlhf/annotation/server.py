"""The page's HTTP server on this machine: `page.html`, its script (the keys are in `page.js`), and five requests.

A wrong request gets one sentence that the page shows. Other web sites are kept out: the host must be this machine's
name (against DNS rebinding), a POST must come from the page by its Origin and Sec-Fetch-Site, and carries a token
that only the page can read. Texts travel as JSON and are put into the page as
text, never as HTML; the Content-Security-Policy forbids scripts of other origins, and inline ones.
"""

import errno
import hmac
import json
import secrets
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lightning_marlhf.annotation.session import Annotator, OutdatedError, Session
from lightning_marlhf.evaluation.criteria import Criteria

ADDRESS = "127.0.0.1"
HOSTS = (ADDRESS, "localhost")
TOKEN_HEADER = "X-Page-Token"  # noqa: S105
_LARGEST_BODY = 100_000  # bytes
_SHUTDOWN_TIMEOUT_S = 2  # for requests under way at Ctrl-C
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
        session: The session.
        criteria: Question and criteria shown to annotators.
        annotator: Name used for every visitor; None: the page prompts for a name.
    """

    def __init__(self, session: Session, criteria: Criteria, annotator: str | None) -> None:
        self.session = session
        self.criteria = criteria
        self.name = annotator
        self.token = secrets.token_urlsafe()
        self._actions: Mapping[str, Callable[[Annotator, Body], None]] = {
            "next": lambda person, body: None,
            "verdict": lambda person, body: session.submit_verdict(
                person, _text(body, "pair"), winner=_text(body, "winner"), note=_text(body, "note")
            ),
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
        """Return the page's data before login."""
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
        """Perform the action of a key, and return what the page shows next."""
        _check_origin(request)
        sent = request.headers.get(TOKEN_HEADER, "")
        if not hmac.compare_digest(sent.encode(), self.token.encode()):
            raise HTTPException(403, "the server has been restarted: reload the page")
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


class _SafetyHeaders:
    """Adds the headers that confine the page to every response."""

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
    """Refuse cross-origin requests, by the browser's Origin and Sec-Fetch-Site headers."""
    here = f"http://{request.headers['host']}"
    origin = request.headers.get("origin", "" if request.method == "POST" else here)
    if origin != here or request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise HTTPException(403, "cross-origin request refused")


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
    """Reply in ASCII, as a response may hold lone surrogates, which UTF-8 cannot."""
    return Response(json.dumps(value), status, media_type="application/json")


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json({"error": error.detail}, error.status_code)


def listen(port: int) -> socket.socket:
    """Open a socket of this machine alone at a port (0: any free one).

    Raises:
        ValueError: The port cannot be used.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # of a server just ended
    try:
        listener.bind((ADDRESS, port))
        listener.listen()
    except OSError as error:
        listener.close()
        why = "is in use" if error.errno == errno.EADDRINUSE else f"fails: {error.strerror}"
        raise ValueError(f"--port {port} {why}; give another, or 0 for any free one") from None
    return listener


def serve(app: ASGIApp, listener: socket.socket) -> None:
    """Serve until Ctrl-C."""
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_SHUTDOWN_TIMEOUT_S,
    )
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:  # raised again by uvicorn when all is closed
        return
