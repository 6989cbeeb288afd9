"""Whether a server can be reached at all, which its clients find out after half a minute."""

from __future__ import annotations

import socket
from threading import Thread
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

SECONDS = 4.0
"""How long a server, or the proxy before it, may take to be found and to answer."""
PORTS = {"http": 80, "https": 443}


def is_reachable(url: str, seconds: float = SECONDS) -> bool:
    """Whether a connection to a server, or to the proxy that leads there, can be opened.

    Args:
        url: any address of the server.
        seconds: to wait for it, the look-up of its name among it.
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

    thread = Thread(target=call, daemon=True)  # a name that no server looks up holds no exit up
    thread.start()
    thread.join(seconds)
    return bool(answered)
