"""Download a file over HTTP, resuming after dropped connections.

Written here because pooch does not resume: after a dropped connection it starts again, which is
hopeless for 13 GB over a slow line.

`NAME.part` holds the bytes that have arrived, `NAME.part.json` what the server said of the file.
The rest is requested with Range and If-Range, so only if the file on the server is still the same.
The file gets its final name once all announced bytes have arrived.
"""

from __future__ import annotations

import http.client
import os
import re
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from pzsl.errors import UserError
from pzsl.files import parse_json, write_json
from pzsl.progress import progress, say

CHUNK = 1 << 18
MEGABYTE = 1 << 20
PASSING = {408, 425, 429, 500, 502, 503, 504}
"""HTTP status codes after which another attempt makes sense."""


class _DroppedError(Exception):
    """The connection ended before the file did."""


def download(
    url: str, target: Path, tries: int = 5, pause: float = 1.0, timeout: float = 30.0
) -> None:
    """Download a file, resuming an earlier attempt.

    Args:
        url: its address, http or https.
        target: the file to write; it appears only when complete.
        tries: give up after this many consecutive attempts without new bytes.
        pause: seconds before the second attempt; doubled for each further one.
        timeout: seconds without data after which the connection counts as dropped.

    Raises:
        UserError: the server refuses, can't be reached, or keeps dropping the connection; the
            bytes that have arrived are kept for the next time.
    """
    part, furthest, failed = target.with_name(f"{target.name}.part"), 0, 0
    while True:
        try:
            _receive(url, part, timeout)
            break
        except _DroppedError as error:
            received = _size(part)
            failed = 0 if received > furthest else failed + 1
            furthest = max(furthest, received)
            if failed >= tries:
                raise UserError(
                    f"{url}: {error} ({tries} tries without progress). {received} bytes are kept "
                    f"in {part}: run the same command again to resume."
                ) from None
            say(f"{url}: {error}; resuming at byte {received}.")
            time.sleep(pause * 2**failed)
    part.replace(target)
    _notes(part).unlink(missing_ok=True)


def _receive(url: str, part: Path, timeout: float) -> None:
    """One attempt: request the missing bytes and append them.

    Raises:
        _DroppedError: fewer bytes have arrived than were announced.
    """
    have, notes_before = _size(part), _read_notes(part)
    try:
        answer = _ask(url, have, notes_before, timeout)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:
            if have == notes_before.get("length"):
                return
            part.unlink()
            raise _DroppedError("the file has another length than before") from None
        if error.code in PASSING:
            raise _DroppedError(f"the server answers {error.code} {error.reason}") from None
        raise UserError(f"{url}: the server answers {error.code} {error.reason}.") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise _DroppedError(f"can't be reached ({reason})") from None
    with answer:
        if answer.headers.get_content_type() == "text/html":
            raise UserError(f"{url} answers with a web page instead of the file.")
        start, length = _extent(answer)
        if start not in (0, have) or (start and length != notes_before.get("length")):
            part.unlink()
            raise _DroppedError("the file is another one than before")
        if not start:
            notes = {"url": url, "length": length, "validator": _validator(answer)}
            write_json(_notes(part), notes)
        _append(answer, part, start, length)
    if length is not None and _size(part) != length:
        raise _DroppedError(f"the connection dropped at byte {_size(part)} of {length}")


def _ask(url: str, have: int, notes: dict[str, Any], timeout: float) -> http.client.HTTPResponse:
    headers = {"User-Agent": "pzsl", "Accept-Encoding": "identity"}
    if have and notes.get("url") == url and notes.get("length"):
        headers["Range"] = f"bytes={have}-"
        if notes.get("validator"):
            headers["If-Range"] = notes["validator"]
    request = urllib.request.Request(url, headers=headers)
    answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=timeout)
    return answer


def _extent(answer: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Position in the file at which the answer's bytes begin, and the file's length if known."""
    if answer.status == 206:
        content_range = re.fullmatch(
            r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", "")
        )
        return (int(content_range[1]), int(content_range[2])) if content_range else (-1, None)
    length = answer.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _validator(answer: http.client.HTTPResponse) -> str:
    """Identifies this version of the file on the server: a strong ETag, else its date."""
    tag = answer.headers.get("ETag", "")
    return tag if tag.startswith('"') else answer.headers.get("Last-Modified", "")


def _append(answer: http.client.HTTPResponse, part: Path, start: int, length: int | None) -> None:
    """Write the answer's bytes to their position; after an error, the bytes so far are kept."""
    label, total = part.name.removesuffix(".part"), (length or 0) // MEGABYTE
    done = start
    with (
        part.open("r+b" if start else "wb") as file,
        progress(total, "MB", done=start // MEGABYTE, label=label) as bar,
    ):
        file.seek(start)
        file.truncate()
        while True:
            try:
                chunk = answer.read(CHUNK)
            except http.client.IncompleteRead as error:
                file.write(error.partial)
                raise _DroppedError("the connection dropped") from None
            except (OSError, http.client.HTTPException) as error:
                raise _DroppedError(f"the connection dropped ({error})") from None
            if not chunk:
                break
            file.write(chunk)
            bar.update((done + len(chunk)) // MEGABYTE - done // MEGABYTE)
            done += len(chunk)
        file.flush()
        os.fsync(file.fileno())


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _notes(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_notes(part: Path) -> dict[str, Any]:
    """What the server said of a partial file; {} if the notes are missing or damaged."""
    try:
        notes = parse_json(_notes(part).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return notes if isinstance(notes, dict) else {}
