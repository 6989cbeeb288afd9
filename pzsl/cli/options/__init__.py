"""How the commands read options and show help."""

from __future__ import annotations

from pzsl.cli.options.command import App
from pzsl.cli.options.requests import from_request

__all__ = ["App", "from_request"]
