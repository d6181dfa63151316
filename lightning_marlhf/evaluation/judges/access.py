"""How a judge's server is reached: its address, its key, and whether anybody is there."""

import os
import socket
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from lightning_marlhf.evaluation.judges.base import JudgeError

_PATIENCE_S = 10.0
_PORTS = {"http": 80, "https": 443}


def plain_address(url: str) -> str:
    """Check a server's address, which is written into records.

    Raises:
        JudgeError: it is none, or it holds a secret.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise JudgeError(f"{url!r} is no address of a server: expected http(s)://HOST[:PORT]/v1")
    if parts.username or parts.password or parts.query:
        raise JudgeError(
            "the address of a judge's server is written into records: expected it without a user name, a password or a "
            "query; a key comes from an environment variable (--key-variable)"
        )
    return url.rstrip("/")


def read_key(variable: str, *, required: bool) -> str:
    """Read a key from an environment variable; empty where there is none.

    Raises:
        JudgeError: there is none and one is required, or it cannot be one; the key is not in the message.
    """
    key = os.environ.get(variable, "").strip() if variable else ""
    if required and not key:
        raise JudgeError(
            f"no key: set the environment variable {variable}, or name another with --key-variable"
        )
    if not (key.isascii() and key.isprintable()):
        raise JudgeError(f"{variable} holds characters that no key has")
    return key


def unreachable(url: str) -> str:
    """Say why nobody can be reached at an address; nothing where somebody can, or where a proxy would connect."""
    server = urlsplit(url)
    host = str(server.hostname)
    if server.scheme in getproxies() and not proxy_bypass(host):
        return ""
    try:
        place = (host, server.port or _PORTS[server.scheme])
        socket.create_connection(place, timeout=_PATIENCE_S).close()
    except OSError as error:
        return str(error)
    return ""
