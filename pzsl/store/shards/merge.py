"""Merge parts into one cache: a copy, or a virtual cache that refers to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pzsl.errors import UserError
from pzsl.files import replacing
from pzsl.locks import unlock
from pzsl.progress import progress, say, shell_word
from pzsl.store.hdf5 import (
    FILES,
    VIRTUAL,
    CacheHeader,
    checksum_problems,
    decoded,
    explained,
    lay_out,
    layouts,
    locked,
    opened,
    put_attribute,
    read_stored,
    relative_part,
    sources_json,
    sync_folder,
    unfilled_arrays,
    write_checksums,
)
from pzsl.store.reader import partial_path
from pzsl.store.resume import SKIPPED, naming_skipped
from pzsl.store.shards.part_reader import (
    PartFile,
    check_alike,
    in_order,
    note_versions,
    read_part_file,
)
from pzsl.store.shards.parts import find_parts, part_path
from pzsl.store.unit_length import CHUNK, not_unit
from pzsl.store.validation import content_problems, fault_of
from pzsl.store.writer import CacheWriter


def merge_parts(
    parts: Sequence[str | Path],
    out: str | Path,
    *,
    virtual: bool = False,
    overwrite: bool = False,
) -> list[Path]:
    """Merge the parts that `pzsl extract --shard I/N` wrote into one cache.

    Args:
        parts: their files, in any order; empty means those beside `out`.
        out: the cache; an interrupted merge is resumed.
        virtual: leave the embeddings in the parts and refer to these by relative names; the parts
            have to be in the folder of `out` or below, and must not be moved.
        overwrite: replace an existing cache.

    Returns:
        The files of the parts, in the order of their rows.

    Raises:
        UserError: a part is missing (the message gives the command that makes it), unfinished or
            duplicate; or parts differ in model, weights, preprocessing, precision, data set, split
            or templates.
    """
    out = Path(out)
    part_files = in_order([read_part_file(Path(path)) for path in parts or _parts_beside(out)])
    for part_file in part_files:
        check_alike(part_file, part_files[0])
        _check_embeddings(part_file)
    note_versions(part_files)
    header = _header(part_files)
    (_refer if virtual else _copy)(part_files, header, out, overwrite)
    return [part_file.path for part_file in part_files]


def _parts_beside(out: Path) -> list[Path]:
    divisions = find_parts(out)
    if not divisions:
        raise UserError(
            f"{part_path(out, 1, 1).parent} holds no parts of {out.name}: make them with 'pzsl "
            f"extract --out {shell_word(out)} --shard 1/4' and so on, or name them."
        )
    if len(divisions) > 1:
        sizes = " and of ".join(map(str, divisions))
        raise UserError(f"{out.parent} holds parts of {sizes}: name those of one division.")
    return next(iter(divisions.values()))


def _header(part_files: list[PartFile]) -> CacheHeader:
    """The header of the merged cache, the same as that of a single run."""
    first, attributes = part_files[0], part_files[0].stored.attributes
    arrays = [part_file.stored.arrays for part_file in part_files]
    origin = {name: value for name, value in attributes["origin"].items() if name != SKIPPED}
    splits = [name for part_file in part_files for name in _words(part_file, "/image/split")]
    header = CacheHeader(
        dataset=str(attributes["dataset"]),
        split_hash=first.part.split_hash,
        origin=origin,
        classes=tuple(_words(first, "/class/name")),
        seen=np.array(arrays[0]["/class/seen"], np.bool_),
        templates=tuple(_words(first, "/text/template")),
        paths=tuple(name for part_file in part_files for name in _words(part_file, "/image/path")),
        labels=_joined(arrays, "/image/label", np.int64),
        splits=np.array(splits, np.str_),
        dim=arrays[0]["/image/features"].shape[1],
        model=str(attributes["model"]),
        pretrained=str(attributes["pretrained"]),
        weights_hash=str(attributes["weights_hash"]),
        preprocessing=attributes["preprocessing"],
        logit_scale=attributes["logit_scale"],
        precision=str(attributes["precision"]),
        attributes=arrays[0].get("/class/attributes"),
        augmentation=attributes["augmentation"],
        versions=attributes["versions"],
        files=_joined(arrays, FILES, np.int64) if all(FILES in a for a in arrays) else None,
    )
    if "/image/candidates/labels" in arrays[0]:
        sizes = [np.diff(stored["/image/candidates/offsets"]) for stored in arrays]
        header = replace(
            header,
            candidate_offsets=np.cumsum(np.concatenate([[0], *sizes]), dtype=np.int64),
            candidate_labels=_joined(arrays, "/image/candidates/labels", np.int32),
        )
    skipped = [name for part_file in part_files for name in part_file.skipped]
    return naming_skipped(header, skipped) if skipped else header


def _words(part_file: PartFile, name: str) -> list[str]:
    return decoded(part_file.stored.arrays[name], part_file.path)


def _joined(arrays: list[dict[str, NDArray[Any]]], name: str, dtype: type) -> NDArray[Any]:
    return np.concatenate([np.asarray(stored[name], dtype) for stored in arrays])


def _dtype_and_views(part_files: list[PartFile]) -> tuple[str, int]:
    """Type of the image embeddings, and number of views per image."""
    arrays = part_files[0].stored.arrays
    views = arrays["/image/views"].shape[1] if "/image/views" in arrays else 0
    return arrays["/image/features"].dtype.name, views


def _copy(part_files: list[PartFile], header: CacheHeader, out: Path, overwrite: bool) -> None:
    """Write one contiguous cache, block by block, as stage one does."""
    dtype, views = _dtype_and_views(part_files)
    with CacheWriter(out, header, dtype=dtype, overwrite=overwrite, views=views) as writer:
        text = np.asarray(part_files[0].stored.arrays["/text/features"])
        missing = _rows_to_copy(writer, part_files, text)
        if writer.whole:
            say(f"{out} is already complete, nothing is merged; --overwrite starts again.")
        else:
            writer.write_text(text)
        with progress(len(header.paths), "images", len(header.paths) - len(missing)) as bar:
            for rows, blocks in _blocks(part_files, missing):
                writer.write(rows, *blocks)
                bar.update(len(rows))
        writer.finish()


def _rows_to_copy(
    writer: CacheWriter, part_files: list[PartFile], text: NDArray[Any]
) -> NDArray[np.int64]:
    """Rows that a merge lacks; in one that is resumed also those of a part extracted anew since.

    Raises:
        UserError: the merge was finished before, but the parts hold other embeddings now.
    """
    pending = writer.pending
    if not writer.resumed:
        return pending
    before = read_stored(writer.path if writer.whole else writer.partial).arrays
    names = [name for name in VIRTUAL if name in before]
    outdated = [np.empty(0, np.int64)]
    done = np.setdiff1d(np.arange(len(before["/image/label"])), pending)
    for rows, blocks in _blocks(part_files, done):
        for name, block in zip(names, blocks, strict=True):
            differ = before[name][rows] != block
            outdated.append(rows[differ.any(axis=tuple(range(1, differ.ndim)))])
    changed = np.unique(np.concatenate(outdated))
    if writer.whole and (len(changed) or not np.array_equal(before["/text/features"], text)):
        raise UserError(
            f"{writer.path} exists already, with other embeddings than the parts hold now: replace "
            "it with --overwrite."
        )
    return np.union1d(pending, changed)


def _blocks(
    part_files: list[PartFile], rows: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], list[NDArray[Any]]]]:
    """Some rows of the merged cache, ascending, block by block with their embeddings."""
    start = 0
    for part_file in part_files:
        arrays = part_file.stored.arrays
        stop = start + len(arrays["/image/features"])
        inside = rows[slice(*np.searchsorted(rows, [start, stop]))]
        for block in (inside[i : i + CHUNK] for i in range(0, len(inside), CHUNK)):
            yield block, [arrays[name][block - start] for name in VIRTUAL if name in arrays]
        start = stop


def _refer(part_files: list[PartFile], header: CacheHeader, out: Path, overwrite: bool) -> None:
    """Write a virtual cache, whose embeddings stay in the parts."""
    for problem in content_problems(header):
        raise UserError(f"{header.dataset}: {problem}: correct the data set.")
    if out.exists() and not overwrite:
        raise UserError(f"{out} exists already: replace it with --overwrite.")
    names = [relative_part(part_file.path, out) for part_file in part_files]
    dtype, views = _dtype_and_views(part_files)
    arrays_by_name = dict(
        zip(names, (part_file.stored.arrays for part_file in part_files), strict=True)
    )
    virtual = layouts(arrays_by_name, unfilled_arrays(header, dtype, views))
    times = [str(part_file.stored.attributes["created"]) for part_file in part_files]
    rows = [len(arrays["/image/label"]) for arrays in arrays_by_name.values()]
    lock = locked(out)
    try:
        with explained(out), replacing(out) as scratch:
            lay_out(scratch, header, dtype, views, virtual)
            with opened(scratch, "r+") as file:
                sources = dict(zip(names, zip(rows, times, strict=True), strict=True))
                put_attribute(file, "sources", sources_json(sources))
                file["/text/features"][...] = part_files[0].stored.arrays["/text/features"]
                file["/text/done"][...] = 1
                file["/image/done"][...] = 1
            write_checksums(scratch)
        sync_folder(out.parent)
        if overwrite:
            partial_path(out).unlink(missing_ok=True)
    finally:
        unlock(lock)


def _check_embeddings(part_file: PartFile) -> None:
    for name in [name for name in VIRTUAL if name in part_file.stored.arrays]:
        array = part_file.stored.arrays[name]
        if len(wrong := not_unit(array)):
            raise UserError(
                f"{part_file.path}: row {wrong[0]} of {name} {fault_of(array[wrong[0]])}: extract "
                f"shard {part_file.part} again with --overwrite."
            )
    for problem in checksum_problems(part_file.stored):
        raise UserError(
            f"{part_file.path}: {problem}: extract shard {part_file.part} again with --overwrite."
        )
