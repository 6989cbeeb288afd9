"""Read the parts of a cache and check them: every row exactly once, all of the same origin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pzsl.errors import UserError
from pzsl.progress import say
from pzsl.store.hdf5 import VIRTUAL, Stored, read_stored
from pzsl.store.reader import PARTIAL, RESUME_HINT, missing_rows, partial_path
from pzsl.store.resume import SKIPPED
from pzsl.store.shards.parts import Part

EQUAL_ATTRIBUTES = (
    *("dataset", "model", "pretrained", "weights_hash", "preprocessing", "precision"),
    *("logit_scale", "normalised", "augmentation"),
)
"""Attributes that have to be equal in all parts."""
EQUAL_ARRAYS = ("/class/name", "/class/seen", "/class/attributes")
"""Data sets that have to be equal in all parts."""
REGIONS = "regions"
"""Key of `origin` that says how many images are boxes within the files."""
RERUN_SHARD = "run the same 'pzsl extract' with"


class PartFile(NamedTuple):
    """A part on disk: its path, its description and its contents."""

    path: Path
    part: Part
    stored: Stored

    @property
    def skipped(self) -> list[str]:
        """Images of this part that couldn't be read."""
        names: list[str] = json.loads(self.stored.attributes["origin"].get(SKIPPED, "[]"))
        return names


def read_part_file(path: Path) -> PartFile:
    """Open a part.

    Raises:
        UserError: the file is missing, is not a part, or isn't finished.
    """
    partial = partial_path(path)
    path = path.with_name(path.name.removesuffix(PARTIAL))
    stored = read_stored(path if path.exists() or not partial.exists() else partial)
    part = Part.from_dict(stored.attributes["part"], path)
    if not path.exists():
        for problem in missing_rows(stored):
            raise UserError(
                f"{partial}: shard {part} is not finished ({problem}): {RERUN_SHARD} --shard "
                f"{part}, it resumes where it stopped."
            )
        raise UserError(
            f"{partial}: shard {part} lacks its last step: {RERUN_SHARD} --shard {part}."
        )
    for problem in missing_rows(stored):
        raise UserError(f"{path}: {problem}: {RESUME_HINT}.")
    part_file = PartFile(path, part, stored)
    row_count = len(stored.arrays["/image/label"]) + len(part_file.skipped)
    expected = part.stop - part.start
    if row_count != expected:
        raise UserError(
            f"{path} holds {row_count} rows, not {expected}: extract it with --overwrite."
        )
    return part_file


def in_order(part_files: list[PartFile]) -> list[PartFile]:
    """Sort the parts by their rows, and check that they cover every row exactly once.

    Raises:
        UserError: the parts are of several divisions, or a part is duplicate or missing.
    """
    part_files = sorted(
        part_files, key=lambda part_file: (part_file.part.start, part_file.part.shard)
    )
    first = part_files[0]
    file_of_shard: dict[int, PartFile] = {}
    for part_file in part_files:
        for name in ("of", "images", "batch_size"):
            expected, actual = getattr(first.part, name), getattr(part_file.part, name)
            if expected != actual:
                raise UserError(
                    f"{first.path} is shard {first.part}, {part_file.path} shard {part_file.part}, "
                    f"but they divide the images differently ({name} {expected} and {actual}), so "
                    "their rows overlap: give the parts of one division."
                )
        if (twin := file_of_shard.setdefault(part_file.part.shard, part_file)) is not part_file:
            raise UserError(
                f"{twin.path} and {part_file.path} overlap: both are shard {part_file.part}, rows "
                f"{part_file.part.start} to {part_file.part.stop - 1}: leave one of them out."
            )
    _check_complete(first, file_of_shard)
    ends = [0, *(part_file.part.stop for part_file in part_files)]
    starts = [*(part_file.part.start for part_file in part_files), first.part.images]
    for end, start, part_file in zip(ends, starts, [*part_files, part_files[-1]], strict=True):
        if end != start:
            problem = "occur twice" if start < end else "are missing"
            rows = f"rows {min(start, end)} to {max(start, end) - 1}"
            raise UserError(f"{part_file.path}: {rows} {problem}: extract the parts again.")
    return part_files


def _check_complete(first: PartFile, file_of_shard: dict[int, PartFile]) -> None:
    """Refuse an incomplete set of shards; the message gives the command for the missing ones."""
    of = first.part.of
    missing = [shard for shard in range(1, of + 1) if shard not in file_of_shard]
    if not missing:
        return
    name = f"part-{first.part.shard}-of-{of}"
    for shard in missing:
        sibling = first.path.with_name(first.path.name.replace(name, f"part-{shard}-of-{of}"))
        if not sibling.exists() and partial_path(sibling).exists():
            read_part_file(sibling)  # raises, and says how far it is
    named = ", ".join(f"{shard}/{of}" for shard in missing)
    verb = f"shards {named} are" if len(missing) > 1 else f"shard {named} is"
    and_so_on = ", and so on for each" if len(missing) > 1 else ""
    raise UserError(
        f"{first.path.parent}: {verb} missing: {RERUN_SHARD} --shard "
        f"{missing[0]}/{of}{and_so_on}; then merge."
    )


def check_alike(part_file: PartFile, first: PartFile) -> None:
    """Refuse a part that differs in origin from the first one."""
    first_attributes, attributes = first.stored.attributes, part_file.stored.attributes
    compared = [(name, first_attributes[name], attributes[name]) for name in EQUAL_ATTRIBUTES]
    compared += [
        (name, getattr(first.part, name), getattr(part_file.part, name))
        for name in ("split_hash", "prompts", "candidates")
    ]
    regions = (stored["origin"].get(REGIONS) for stored in (first_attributes, attributes))
    compared.append((REGIONS, *regions))
    first_arrays, arrays = first.stored.arrays, part_file.stored.arrays
    for name in (*VIRTUAL, "/image/candidates/labels"):
        compared.append(
            (name, _dtype_and_shape(first_arrays.get(name)), _dtype_and_shape(arrays.get(name)))
        )
    for name, expected, actual in compared:
        if expected != actual:
            raise UserError(
                f"{part_file.path} differs from {first.path} ({name} {str(actual)[:60]}, there "
                f"{str(expected)[:60]}): run the odd one again like the others, with --overwrite."
            )
    for name in EQUAL_ARRAYS:
        values = first_arrays.get(name), arrays.get(name)
        if not np.array_equal(*values):  # type: ignore[arg-type]
            raise UserError(
                f"{part_file.path} differs from {first.path} (other {name}): run the odd one again "
                "like the others, with --overwrite."
            )


def _dtype_and_shape(array: NDArray[Any] | None) -> str:
    return "none" if array is None else f"{array.dtype} {array.shape[1:]}"


def note_versions(part_files: list[PartFile]) -> None:
    """Say if parts were made with different package versions; that is not an error."""
    first = part_files[0]
    for part_file in part_files[1:]:
        first_versions, versions = (
            file.stored.attributes["versions"] for file in (first, part_file)
        )
        for name in sorted({*first_versions, *versions}):
            if first_versions.get(name) != versions.get(name):
                say(
                    f"{part_file.path} was made with {name} {versions.get(name)}, {first.path} "
                    f"with {first_versions.get(name)}: equal but for rounding."
                )
                return
