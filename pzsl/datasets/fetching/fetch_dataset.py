"""Fetch a published data set: download, verify the checksum, unpack.

`pzsl-downloads.json` in the root records the SHA-256 of each unpacked archive. If the publisher
states no checksum, the first download is trusted, and later ones are compared with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pzsl.datasets.fetching.archives import unpack
from pzsl.datasets.fetching.default_folders import usual_places
from pzsl.datasets.fetching.download import download
from pzsl.datasets.fetching.publishers import PUBLICATIONS, Download, Publication
from pzsl.errors import UsageError, UserError, nearest
from pzsl.files import parse_json, write_json
from pzsl.locks import lock, unlock
from pzsl.progress import say, shell_word

RECORD = "pzsl-downloads.json"


def fetch(
    name: str, root: Path | None = None, receive: Callable[[str, Path], None] = download
) -> dict[str, Any]:
    """Download the images and split files of a published data set; existing files are kept.

    Args:
        name: `sun`, `cub`, `awa2`, `apy` or `flo`.
        root: target folder; by default `$PZSL_DATA/<name>`, or `data/<name>`, where `pzsl extract`
            finds the data set.
        receive: downloads an address to a file.

    Returns:
        `dataset, root, licence, home` and `files`, a list of `{file, url, sha256, bytes, checked,
        unpacked}`; `checked` says what the archive was compared with, `unpacked` counts its files
        (0 if they were unpacked before).

    Raises:
        UsageError: the data set isn't a published one.
        UserError: a download or an archive failed; the message says how to do it by hand.
    """
    if name not in PUBLICATIONS:
        raise UsageError(
            f"'{name}' is not a published data set.{nearest(name, list(PUBLICATIONS))}"
        )
    publication, root = PUBLICATIONS[name], Path(root or usual_places(name)[0])
    root.mkdir(parents=True, exist_ok=True)
    say(f"{name}: {publication.home}; licence: {publication.licence}. {publication.note}".rstrip())
    file_lock = lock(root / f".{RECORD}.lock", f"Another fetch into {root} is under way")
    try:
        files = [_get(name, publication, item, root, receive) for item in publication.downloads]
    finally:
        unlock(file_lock)
    return {
        "dataset": name,
        "root": str(root),
        "licence": publication.licence,
        "home": publication.home,
        "files": files,
    }


def _get(
    name: str,
    publication: Publication,
    item: Download,
    root: Path,
    receive: Callable[[str, Path], None],
) -> dict[str, Any]:
    """Download, verify, unpack and record one archive, skipping steps that are done."""
    record, archive = _read_record(root), root / item.file
    entry = record.get(item.file, {})
    if name in entry.get("unpacked", []):
        say(f"{item.file} exists already.")
        return _answer(item, entry, "the record", 0)
    if not archive.is_file():
        say(f"Fetching {item.url} ({item.size}).")
        try:
            receive(item.url, archive)
        except UserError as error:
            raise UserError(f"{error} {by_hand(name, publication, item, root)}") from None
    checked = _check(archive, item, entry.get("sha256"))
    entry = {
        "url": item.url,
        "bytes": archive.stat().st_size,
        "sha256": _hash(archive, "sha256"),
        "unpacked": [*entry.get("unpacked", []), name],
    }
    say(f"Unpacking {item.file} into {root}.")
    count = unpack(archive, root, item.only)
    write_json(root / RECORD, {**record, item.file: entry})
    return _answer(item, entry, checked, count)


def by_hand(name: str, publication: Publication, item: Download, root: Path) -> str:
    """How to get an archive by hand, if its address is dead or asks for a form."""
    return (
        f"By hand: get {item.file} as {publication.home} says, put it into {root}, and run "
        f"'pzsl datasets fetch {name} --root {shell_word(root)}' again to check and unpack it."
    )


def _check(archive: Path, item: Download, recorded: str | None) -> str:
    """Compare an archive with its published checksum, or else with the recorded one, if any.

    A wrong archive is renamed, so that it is never used.
    """
    for checksum, source in ((item.checksum, "published"), (recorded, "recorded")):
        if not checksum:
            continue
        algorithm, _, expected = checksum.rpartition(":")
        actual = _hash(archive, algorithm or "sha256")
        if actual != expected:
            aside = archive.with_name(f"{archive.name}.wrong")
            archive.replace(aside)
            hint = (
                f" If its publisher has changed it, remove its entry from {RECORD}."
                if source == "recorded"
                else ""
            )
            raise UserError(
                f"{archive} has the {algorithm or 'sha256'} {actual}, but the {source} one is "
                f"{expected}: it was set aside as {aside.name}, fetch it again.{hint}"
            )
        return f"the {source} checksum"
    return "nothing: no checksum is published, this one is recorded"


def _hash(file: Path, algorithm: str) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, algorithm).hexdigest()


def _read_record(root: Path) -> dict[str, Any]:
    file = root / RECORD
    if not file.is_file():
        return {}
    try:
        record = parse_json(file.read_text("utf-8"))
    except ValueError:
        record = None
    if not isinstance(record, dict) or not all(
        isinstance(entry, dict) for entry in record.values()
    ):
        raise UserError(f"{file} is damaged: remove it, the archives will be checked again.")
    return record


def _answer(item: Download, entry: dict[str, Any], checked: str, count: int) -> dict[str, Any]:
    facts = {key: entry.get(key) for key in ("sha256", "bytes")}
    return {"file": item.file, "url": item.url, **facts, "checked": checked, "unpacked": count}
