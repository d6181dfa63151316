"""A socket of this machine alone, and the server on it."""

import errno
import socket

import uvicorn
from starlette.types import ASGIApp

ADDRESS = "127.0.0.1"
_GRACE_S = 2  # for requests under way at Ctrl-C


def listen(port: int) -> socket.socket:
    """Take a port (0: any free one).

    Raises:
        ValueError: it cannot be had.
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
        timeout_graceful_shutdown=_GRACE_S,
    )
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:  # raised again by uvicorn when all is closed
        return
