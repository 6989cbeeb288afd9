"""Share caches through the Hugging Face hub: the file, a card, and its checksum."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pzsl.datasets.fetching import PUBLICATIONS
from pzsl.errors import UsageError, UserError
from pzsl.files import parse_json, read_text, replacing, sha256_of
from pzsl.folders import say_disclosed
from pzsl.network import is_reachable
from pzsl.progress import say
from pzsl.requests import is_plain_name
from pzsl.store import Cache, inspect_cache, load_cache

ABOUT = "pzsl-cache.json"
"""File beside a shared cache: its name, checksum, data set and encoder."""
KIND = "dataset"


def push(cache: str | Path, to: str) -> dict[str, Any]:
    """Upload a cache to the hub, with a card and a checksum.

    Args:
        cache: the file; it has to be complete.
        to: dataset repository on the hub, `USER/NAME`; created if missing.

    Returns:
        `repository, file, sha256, bytes, url`.

    Raises:
        UsageError: `to` is not a valid repository name.
        UserError: the cache is damaged or virtual, or the hub refuses or can't be reached.
    """
    _check_name(to)
    if not _online():
        raise UserError(f"{_endpoint()} can't be reached: {cache} was not sent.")
    path = Path(cache)
    loaded = _load_whole(path)
    about = {"file": path.name, "sha256": sha256_of(path), **_facts(loaded)}
    size, url = path.stat().st_size, f"{_endpoint()}/datasets/{to}"
    say_disclosed(
        path, map(str, (loaded.provenance["model"], *loaded.provenance["origin"].values()))
    )
    say(f"push {path} ({size:,} bytes) to {url}")
    _upload(path, about, to)
    return {
        "repository": to,
        "file": path.name,
        "sha256": about["sha256"],
        "bytes": size,
        "url": url,
    }


def _load_whole(path: Path) -> Cache:
    """Load a cache that can be shared: one complete file.

    Raises:
        UserError: it is virtual, incomplete or damaged.
    """
    cache = load_cache(path)
    if cache.provenance["sources"]:
        raise UserError(
            f"{path} refers to its parts, which are not sent with it: merge them into another file "
            "without --virtual, and push that one."
        )
    problems = inspect_cache(path)["problems"]
    if problems:
        raise UserError(f"{path} is incomplete or damaged, so it is not shared: {problems[0]}")
    return cache


def _upload(path: Path, about: dict[str, Any], repository: str) -> None:
    """Commit a cache, what it is about, and its card; the repository is created if missing."""
    from huggingface_hub import CommitOperationAdd, HfApi

    files: dict[str, str | bytes] = {
        path.name: str(path),
        ABOUT: json.dumps(about, indent=2).encode(),
        "README.md": card(about).encode(),
    }
    with _explained(repository):
        api = HfApi(endpoint=_endpoint())
        api.create_repo(repository, repo_type=KIND, exist_ok=True)
        added = [CommitOperationAdd(name, content) for name, content in files.items()]
        message = f"Features of {about['dataset']} by {about['encoder']}"
        api.create_commit(repository, added, commit_message=message, repo_type=KIND)


def pull(source: str, out: str | Path | None = None, overwrite: bool = False) -> dict[str, Any]:
    """Download a cache from the hub, or take it from the client's local store.

    Args:
        source: dataset repository on the hub, `USER/NAME`.
        out: the file to write; by default `cache/` and its name on the hub.
        overwrite: replace an existing file.

    Returns:
        `cache, repository, sha256, bytes, dataset, encoder`.

    Raises:
        UsageError: `source` is not a valid repository name, or the file exists.
        UserError: the hub has no such cache, refuses or can't be reached; the checksum is wrong.
    """
    _check_name(source)
    about = _read_about(source, _download(source, ABOUT))
    target = Path(out) if out else Path("cache") / about["file"]
    if target.exists() and not overwrite:
        raise UsageError(f"{target} exists: give --overwrite to replace it, or another --out.")
    downloaded = _download(source, about["file"])
    if sha256_of(downloaded) != about["sha256"]:
        raise UserError(
            f"'{about['file']}' of {source} does not have the checksum in {ABOUT}: it is damaged "
            f"or was replaced. Delete {downloaded} and pull again, or ask its owner."
        )
    load_cache(downloaded)  # before it takes the place of another one
    with replacing(target) as temporary:
        shutil.copyfile(downloaded, temporary)
    facts = {name: about.get(name) for name in ("dataset", "encoder")}
    size = target.stat().st_size
    return {
        "cache": str(target),
        "repository": source,
        "sha256": about["sha256"],
        "bytes": size,
        **facts,
    }


def card(about: dict[str, Any]) -> str:
    """The card (README.md) of a cache on the hub."""
    rows = "\n".join(f"| {name} | {value} |" for name, value in about.items())
    return (
        "---\ntags: [pzsl, clip-features]\n---\n\n"
        f"# Features of {about['dataset']} by {about['encoder']}\n\n"
        "A feature cache of [pzsl]: embeddings of images and class names, labels and splits; no "
        "images.\n\n    pzsl pull USER/NAME\n"
        f"    pzsl train --cache cache/{about['file']}\n\n| | |\n|---|---|\n{rows}\n"
    ).replace("[pzsl]", "pzsl")


def _facts(cache: Cache) -> dict[str, Any]:
    """Facts about a cache for its card: data set, encoder, sizes, split, licence."""
    provenance, published = cache.provenance, PUBLICATIONS.get(cache.dataset)
    origin = provenance.get("origin") or {}
    return {
        "dataset": cache.dataset,
        "encoder": f"{provenance.get('model')} ({provenance.get('pretrained')})",
        "images": len(cache.labels),
        "classes": len(cache.classes),
        "seen classes": int(cache.seen.sum()),
        "split": origin.get("split", "as stored in the cache"),
        "licence of the images": published.licence if published else "not known to pzsl",
    }


def _check_name(name: str) -> None:
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name, re.ASCII):
        raise UsageError(f"'{name}' is not a repository of the hub: write USER/NAME.")


def _read_about(source: str, file: Path) -> dict[str, Any]:
    try:
        about = parse_json(read_text(file))
        name, digest = about["file"], about["sha256"]
    except (ValueError, KeyError, TypeError):
        name = digest = ""
    if not (isinstance(name, str) and isinstance(digest, str) and is_plain_name(name)):
        raise UserError(f"{source} holds no cache of pzsl: its {ABOUT} is damaged.")
    return dict(about)


def _download(source: str, name: str) -> Path:
    """Download a file of a repository, or take it from the client's store when offline."""
    from huggingface_hub import hf_hub_download

    address, local = _endpoint(), not _online()
    with _explained(source, name):
        return Path(
            hf_hub_download(source, name, repo_type=KIND, endpoint=address, local_files_only=local)
        )


@contextmanager
def _explained(repository: str, name: str = "") -> Iterator[None]:
    """Turn errors of the hub's client into a one-line `UserError`."""
    from huggingface_hub import errors

    subject = f"'{name}' of {repository}" if name else repository
    try:
        yield
    except errors.LocalEntryNotFoundError as error:  # raised of refusals, too
        if isinstance(error.__cause__, errors.HfHubHTTPError):
            status = error.__cause__.response.status_code
            raise UserError(f"{_endpoint()}: {_reason(subject, status)}") from None
        raise UserError(
            f"{subject} is not on this machine, and {_endpoint()} can't be reached."
        ) from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        raise UserError(f"{_endpoint()}: {_reason(subject, status)}") from None
    except (OSError, ValueError) as error:
        first = " ".join(str(error).split())[:160]
        raise UserError(f"{subject}: {type(error).__name__}: {first}") from error


def _reason(subject: str, status: int) -> str:
    if status in (401, 403):
        return (
            f"no leave for {subject} (HTTP {status}): log in with 'hf auth login', or set HF_TOKEN."
        )
    if status == 404:
        return (
            f"there is no {subject} (HTTP 404): look at its spelling, or log in if it is private."
        )
    return f"{subject} failed (HTTP {status}): try again later."


def _online() -> bool:
    from huggingface_hub import constants

    return not constants.HF_HUB_OFFLINE and is_reachable(_endpoint())


def _endpoint() -> str:
    from huggingface_hub import constants

    return os.environ.get("HF_ENDPOINT", constants.ENDPOINT).rstrip("/")
