"""`import_any`, `export_any` and `merge`: choose the reader or writer by the kind of file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from pzsl.errors import UsageError, UserError
from pzsl.exchange.export import export_cache
from pzsl.exchange.features_and_table import Labelling, import_features
from pzsl.exchange.npz import import_npz
from pzsl.exchange.published_features import import_xlsa17
from pzsl.extraction.judge_cache import doubts, zero_shot
from pzsl.progress import say
from pzsl.remote import FOLDER, RemotePath, as_path, as_remote, local_copies, upload
from pzsl.requests import as_list, check_output, with_paths
from pzsl.store import load_cache, merge_parts

MATRICES = (".npy", ".safetensors")


def import_any(
    source: str | Path | None = None,
    out: str | Path | None = None,
    *,
    xlsa17: str | Path | None = None,
    labelling: Labelling | None = None,
    normalise: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Make a cache from features that another tool computed.

    Args:
        source: a `.npz` file (see `exchange.import_npz`), a `.npy` or `.safetensors` matrix, or the
            output folder of clip-retrieval.
        out: the cache; by default `cache/<name of the source>.h5`.
        xlsa17: instead of a source, the folder of a published data set with its features.
        labelling: labels, splits and class vectors for a matrix or a folder.
        normalise: divide vectors by their length instead of refusing those that are not unit.
        overwrite: replace an existing cache.

    Returns:
        `cache, images, classes, zero_shot` (S, U, H, T1 in percent, None where unknown).

    Raises:
        UsageError: not exactly one source, or an option that this kind of source doesn't take.
        UserError: a file is missing or invalid.
    """
    if (source is None) == (xlsa17 is None):
        raise UsageError("Give one source: a FILE or folder of features, or --xlsa17 DIR.")
    chosen_labelling = labelling or Labelling()
    target = None if out is None else Path(out)
    if xlsa17 is not None:
        _refuse_labelling(chosen_labelling, "--xlsa17")
        return _summary(import_xlsa17(Path(xlsa17), target, overwrite))
    source = Path(str(source))
    target = target or Path("cache") / f"{source.resolve().stem}.h5"
    check_output(target, (source, chosen_labelling.table, chosen_labelling.text))
    if source.suffix == ".npz":
        _refuse_labelling(chosen_labelling, "a .npz file")
        return _summary(import_npz(source, target, overwrite, normalise))
    if not source.exists():
        raise UserError(f"{source}: no such file.")
    if not source.is_dir() and source.suffix not in MATRICES:
        raise UsageError(
            f"{source}: features come as .npz, .npy or .safetensors, or as a folder of "
            "clip-retrieval."
        )
    return _summary(import_features(source, target, chosen_labelling, normalise, overwrite))


def _refuse_labelling(labelling: Labelling, kind: str) -> None:
    """Refuse labelling options for a kind of source that brings its own labels."""
    for field in fields(labelling):
        if getattr(labelling, field.name) is not None:
            option = field.name.replace("_", "-")
            raise UsageError(f"--{option} means nothing to {kind}, which brings its own.")


def export_any(
    cache: str | Path,
    out: str | Path | None = None,
    formats: Sequence[str] | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write a cache in other formats, see `exchange.export_cache`.

    Returns:
        `cache, images, classes, zero_shot`, and `files`, the files that were written.
    """
    files = export_cache(cache, out, formats, overwrite)
    return {**_summary(Path(cache), new=False), "files": [str(file) for file in files]}


@with_paths
def merge(
    parts: str | Path | Sequence[str | Path],
    out: str | Path,
    virtual: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Merge the parts of a cache; they must cover every row exactly once.

    Args:
        parts: part files of `pzsl.extract(shard=...)`; if empty, all beside `out`. Those at
            addresses, whose names may hold `*`, are fetched to the folder of `out` first.
        out: the cache to write. With an address, it is made in `cache/`, and
            uploaded when it is complete.
        virtual: copy no embeddings, but refer to the parts, which must not be moved.
        overwrite: replace an existing cache.

    Returns:
        `cache, images, classes, zero_shot`, `parts` (their files) and `virtual`.

    Raises:
        UserError: rows are missing or duplicate, or the parts are of different origin.
    """
    parts, target = as_list(parts), as_path(out)
    address = as_remote(target)
    if address is not None:
        return _merge_to(address, parts, virtual, overwrite)
    check_output(target)
    copies = local_copies(parts, target.parent)
    files = merge_parts(copies, target, virtual=virtual, overwrite=overwrite)
    return {**_summary(target), "parts": [str(file) for file in files], "virtual": virtual}


def _merge_to(
    address: RemotePath, parts: Sequence[str | Path], virtual: bool, overwrite: bool
) -> dict[str, Any]:
    """Merge into a file of this machine, and upload it; by default the parts at the address."""
    if virtual:
        raise UsageError("--virtual refers to parts on a disk: give a file there as --out.")
    if address.exists() and not overwrite:
        raise UserError(f"{address} exists already: replace it with --overwrite.")
    all_parts = str(address.with_name(f"{address.stem}.part-*-of-*{address.suffix}"))
    local_cache = FOLDER / address.name
    result = merge(parts or [all_parts], local_cache, overwrite=overwrite)
    upload(local_cache, address)
    return {**result, "cache": str(address)}


def _summary(path: Path, new: bool = True) -> dict[str, Any]:
    """What a cache holds; warnings about a new one are printed."""
    cache = load_cache(path)
    for warning in doubts(cache) if new else ():
        say(warning)
    return {
        "cache": str(path),
        "images": len(cache.images),
        "classes": len(cache.classes),
        "zero_shot": zero_shot(cache),
    }
