"""Talk to a server: try again after a pause if that can help, else say in one line what to do."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import TypeVar

from pzsl.errors import UserError
from pzsl.progress import say

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds before each further attempt: a server may be away for half a minute."""
LONG = 4.0
"""Seconds of the shortest pause that is shown to the user."""

LOGIN = {
    "s3": "log in with 'aws configure', or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
    "(and AWS_ENDPOINT_URL, if the server is not Amazon's)",
    "gs": "log in with 'gcloud auth application-default login', or set "
    "GOOGLE_APPLICATION_CREDENTIALS",
    "hf": "log in with 'hf auth login', or set HF_TOKEN",
}
LOGIN |= {"s3a": LOGIN["s3"], "gcs": LOGIN["gs"]}
"""How to get access to a server, by protocol."""
REFUSALS = ("Credential", "Unauthorized", "SSOToken", "TokenRetrieval", "RefreshError", "Gated")
"""Words in the names of the errors that clients raise if nobody is logged in."""
BUGS = (TypeError, AttributeError, LookupError, ImportError, NotImplementedError, AssertionError)

Result = TypeVar("Result")


class RemoteError(UserError):
    """A file at an address can't be read or written; no single image is at fault."""


def attempt(address: str, action: Callable[[], Result]) -> Result:
    """Do something with a file at an address; try up to seven times, for about half a minute.

    Raises:
        FileNotFoundError: there is no such file, folder or bucket.
        RemoteError: access is denied, or the server did not answer or broke off each time.
    """
    for pause in (*PAUSES, None):
        try:
            return action()
        except (FileNotFoundError, RemoteError, *BUGS) as error:
            if isinstance(error, FileNotFoundError):
                raise FileNotFoundError(errno.ENOENT, "no such file or bucket", address) from None
            raise
        except Exception as error:  # each client has its own, and not all of them are OSErrors
            if _is_refusal(error):
                text = f"{address}: access denied ({_words(error)}): {_login(address)}."
                raise RemoteError(text) from error
            if pause is None or isinstance(error, ValueError):
                raise RemoteError(
                    f"{address}: no answer after {len(PAUSES) + 1} attempts ({_words(error)}): "
                    "check the address and the network, then run the same command again."
                ) from error
            if pause >= LONG:
                say(f"{address}: {_words(error)}; trying again in {pause:.0f} s.")
            time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def _is_refusal(error: Exception) -> bool:
    status = getattr(getattr(error, "response", None), "status_code", None)
    named = any(word in type(error).__name__ for word in REFUSALS)
    return isinstance(error, PermissionError) or named or status in (401, 403)


def _login(address: str) -> str:
    protocol = address.partition(":")[0]
    return f"check the address; {LOGIN.get(protocol, 'log in as its server wants it')}"


def _words(error: Exception) -> str:
    """An error in a few words."""
    return " ".join(str(error).split())[:200] or type(error).__name__
