"""Check quickly whether a server can be reached; its clients would try for half a minute."""

from __future__ import annotations

import socket
from threading import Thread
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

SECONDS = 4.0
"""Time that a server, or its proxy, gets for name look-up and connection."""
PORTS = {"http": 80, "https": 443}


def is_reachable(url: str, seconds: float = SECONDS) -> bool:
    """Whether a connection to a server, or to the proxy in front of it, can be opened.

    Args:
        url: any address of the server.
        seconds: how long to wait, including the look-up of its name.
    """
    server = urlsplit(url)
    proxy = getproxies().get(server.scheme)
    if proxy and server.hostname and not proxy_bypass(server.hostname):
        server = urlsplit(proxy if "//" in proxy else f"//{proxy}", scheme="http")
    answered: list[bool] = []

    def call() -> None:
        place = server.hostname or "", server.port or PORTS.get(server.scheme, 443)
        try:
            socket.create_connection(place, timeout=seconds).close()
        except OSError:
            return
        answered.append(True)

    thread = Thread(target=call, daemon=True)  # a hanging name look-up must not delay the exit
    thread.start()
    thread.join(seconds)
    return bool(answered)
