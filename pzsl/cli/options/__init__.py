"""How the commands read options and show help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pzsl.cli.options.command import App
from pzsl.cli.options.lazy import Entry, LazyGroup


def from_request(request: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each field of a request: see `pzsl.cli.options.requests`."""
    from pzsl.cli.options.requests import from_request  # only commands with a request pay for it

    return from_request(request)


__all__ = ["App", "Entry", "LazyGroup", "from_request"]
