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

SAME = (
    *("dataset", "model", "pretrained", "weights_hash", "preprocessing", "precision"),
    *("logit_scale", "normalised", "augmentation"),
)
"""Attributes in which all parts have to agree."""
ALIKE = ("/class/name", "/class/seen", "/class/attributes")
"""Data sets in which all parts have to agree."""
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
        UserError: the file is missing, is no part, or isn't finished.
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
    piece = PartFile(path, part, stored)
    row_count, expected = (
        len(stored.arrays["/image/label"]) + len(piece.skipped),
        part.stop - part.start,
    )
    if row_count != expected:
        raise UserError(
            f"{path} holds {row_count} rows, not {expected}: extract it with --overwrite."
        )
    return piece


def in_order(pieces: list[PartFile]) -> list[PartFile]:
    """Sort the parts by their rows, and check that they cover every row exactly once.

    Raises:
        UserError: the parts are of several divisions, or a part is duplicate or missing.
    """
    pieces = sorted(pieces, key=lambda piece: (piece.part.start, piece.part.shard))
    first = pieces[0]
    piece_of_shard: dict[int, PartFile] = {}
    for piece in pieces:
        for name in ("of", "images", "batch_size"):
            expected, actual = getattr(first.part, name), getattr(piece.part, name)
            if expected != actual:
                raise UserError(
                    f"{first.path} is shard {first.part}, {piece.path} shard {piece.part}, and "
                    f"they divide the images in other ways ({name} {expected} and {actual}): their "
                    "rows overlap; give the parts of one division."
                )
        if (twin := piece_of_shard.setdefault(piece.part.shard, piece)) is not piece:
            raise UserError(
                f"{twin.path} and {piece.path} overlap: both are shard {piece.part}, rows "
                f"{piece.part.start} to {piece.part.stop - 1}: leave one of them out."
            )
    _check_complete(first, piece_of_shard)
    ends = [0, *(piece.part.stop for piece in pieces)]
    starts = [*(piece.part.start for piece in pieces), first.part.images]
    for end, start, piece in zip(ends, starts, [*pieces, pieces[-1]], strict=True):
        if end != start:
            problem = "are there twice" if start < end else "are missing"
            rows = f"rows {min(start, end)} to {max(start, end) - 1}"
            raise UserError(f"{piece.path}: {rows} {problem}: extract the parts again.")
    return pieces


def _check_complete(first: PartFile, piece_of_shard: dict[int, PartFile]) -> None:
    """Refuse an incomplete set of shards; the message gives the command that makes the missing."""
    of = first.part.of
    missing = [shard for shard in range(1, of + 1) if shard not in piece_of_shard]
    if not missing:
        return
    name = f"part-{first.part.shard}-of-{of}"
    for shard in missing:
        near = first.path.with_name(first.path.name.replace(name, f"part-{shard}-of-{of}"))
        if not near.exists() and partial_path(near).exists():
            read_part_file(near)  # says how far it is
    named = ", ".join(f"{shard}/{of}" for shard in missing)
    verb = f"shards {named} are" if len(missing) > 1 else f"shard {named} is"
    and_so_on = ", and so on for each" if len(missing) > 1 else ""
    raise UserError(
        f"{first.path.parent}: {verb} missing: {RERUN_SHARD} --shard "
        f"{missing[0]}/{of}{and_so_on}; then merge."
    )


def check_alike(piece: PartFile, first: PartFile) -> None:
    """Refuse a part that differs in origin from the first one."""
    first_attributes, attributes = first.stored.attributes, piece.stored.attributes
    compared = [(name, first_attributes[name], attributes[name]) for name in SAME]
    compared += [
        (name, getattr(first.part, name), getattr(piece.part, name))
        for name in ("split_hash", "prompts")
    ]
    first_arrays, arrays = first.stored.arrays, piece.stored.arrays
    for name in (*VIRTUAL, "/image/candidates/labels"):
        compared.append((name, _form(first_arrays.get(name)), _form(arrays.get(name))))
    for name, a, b in compared:
        if a != b:
            raise UserError(
                f"{piece.path} differs from {first.path} ({name} {str(b)[:60]}, there "
                f"{str(a)[:60]}): run the odd one again like the others, with --overwrite."
            )
    for name in ALIKE:
        values = first_arrays.get(name), arrays.get(name)
        if not np.array_equal(*values):  # type: ignore[arg-type]
            raise UserError(
                f"{piece.path} differs from {first.path} (other {name}): run the odd one again "
                "like the others, with --overwrite."
            )


def _form(array: NDArray[Any] | None) -> str:
    return "none" if array is None else f"{array.dtype} {array.shape[1:]}"


def note_versions(pieces: list[PartFile]) -> None:
    """Say if parts were made with different package versions; that is no error."""
    first = pieces[0]
    for piece in pieces[1:]:
        first_versions, versions = (p.stored.attributes["versions"] for p in (first, piece))
        for name in sorted({*first_versions, *versions}):
            if first_versions.get(name) != versions.get(name):
                say(
                    f"{piece.path} was made with {name} {versions.get(name)}, {first.path} with "
                    f"{first_versions.get(name)}: equal but for rounding."
                )
                return
