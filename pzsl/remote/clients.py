"""The fsspec client that speaks with the server of an address."""

from __future__ import annotations

from typing import Any

from pzsl.errors import UserError

EXTRA = ("s3", "s3a", "gs", "gcs")
"""Protocols whose clients `pzsl[remote]` installs."""
OPTIONS: dict[str, dict[str, Any]] = {  # `attempt` tries again, and no listing is reused
    "s3": {
        "use_listings_cache": False,
        "config_kwargs": {"retries": {"total_max_attempts": 1}, "max_pool_connections": 32},
    },
    "gs": {"use_listings_cache": False},
}
OPTIONS |= {"s3a": OPTIONS["s3"], "gcs": OPTIONS["gs"]}


def filesystem(address: str) -> tuple[Any, str]:
    """The fsspec file system of an address, and the path in it.

    Raises:
        UserError: no client of this protocol is installed.
    """
    protocol = address.partition(":")[0]
    try:
        from fsspec.core import url_to_fs

        files, path = url_to_fs(address, **OPTIONS.get(protocol, {}))
    except ImportError as error:
        remedy = "pip install 'pzsl[remote]'" if protocol in EXTRA else _remedy(protocol, error)
        raise UserError(f"{address}: {protocol}:// needs a client: {remedy}.") from None
    except ValueError as error:
        raise UserError(f"{address} can't be read: {error}.") from None
    if protocol in OPTIONS:
        files.retries = 1  # s3fs and gcsfs try again, too; `attempt` replaces that
    return files, path


def _remedy(protocol: str, error: BaseException) -> str:
    """How to install the client of a protocol: its package, or the one that it lacks."""
    from fsspec.registry import known_implementations

    package = known_implementations.get(protocol, {}).get("class", "fsspec").partition(".")[0]
    cause: BaseException | None = error
    while package == "fsspec" and cause is not None:  # one of fsspec's own, for another library
        if isinstance(cause, ModuleNotFoundError) and cause.name:
            package = cause.name.partition(".")[0]
        cause = cause.__cause__ or cause.__context__
    if package == "fsspec":
        return str(error).rstrip(".") or "install it"
    return f"pip install {package}"
