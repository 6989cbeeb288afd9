"""Parts on disk, and what has to be true of them: every row once, all of one origin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pzsl.errors import UserError
from pzsl.progress import say
from pzsl.store.hdf5 import VIRTUAL, Stored, read_stored
from pzsl.store.reader import GO_ON, PARTIAL, missing_rows, partial_path
from pzsl.store.resume import SKIPPED
from pzsl.store.shards.parts import Part

SAME = (
    *("dataset", "model", "pretrained", "weights_hash", "preprocessing", "precision"),
    *("logit_scale", "normalised", "augmentation"),
)
"""Attributes in which all parts have to agree."""
ALIKE = ("/class/name", "/class/seen", "/class/attributes")
"""Data sets in which they have to."""
AGAIN = "run the same 'pzsl extract' with"


class Piece(NamedTuple):
    """A part on disk: its file, what it says of itself, what it holds."""

    path: Path
    part: Part
    stored: Stored

    @property
    def skipped(self) -> list[str]:
        """Images of its rows that couldn't be read."""
        names: list[str] = json.loads(self.stored.attributes["origin"].get(SKIPPED, "[]"))
        return names


def read_piece(path: Path) -> Piece:
    """Open a part.

    Raises:
        UserError: it isn't there, is no part, or isn't finished.
    """
    partial = partial_path(path)
    path = path.with_name(path.name.removesuffix(PARTIAL))
    stored = read_stored(path if path.exists() or not partial.exists() else partial)
    part = Part.from_dict(stored.attributes["part"], path)
    if not path.exists():
        for problem in missing_rows(stored):
            raise UserError(
                f"{partial}: shard {part} is not finished ({problem}): {AGAIN} --shard {part}, it "
                "goes on where it stopped."
            )
        raise UserError(f"{partial}: shard {part} lacks its last step: {AGAIN} --shard {part}.")
    for problem in missing_rows(stored):
        raise UserError(f"{path}: {problem}: {GO_ON}.")
    piece = Piece(path, part, stored)
    held, meant = len(stored.arrays["/image/label"]) + len(piece.skipped), part.stop - part.start
    if held != meant:
        raise UserError(f"{path} holds {held} rows, not {meant}: extract it with --overwrite.")
    return piece


def in_order(pieces: list[Piece]) -> list[Piece]:
    """The parts by their rows, each of which is there exactly once.

    Raises:
        UserError: parts of several divisions, a part that is there twice, or one that is missing.
    """
    pieces = sorted(pieces, key=lambda piece: (piece.part.start, piece.part.shard))
    first = pieces[0]
    known: dict[int, Piece] = {}
    for piece in pieces:
        for name in ("of", "images", "batch_size"):
            one, other = getattr(first.part, name), getattr(piece.part, name)
            if one != other:
                raise UserError(
                    f"{first.path} is shard {first.part}, {piece.path} shard {piece.part}, and "
                    f"they divide the images in other ways ({name} {one} and {other}): their "
                    "rows overlap; give the parts of one division."
                )
        if (twin := known.setdefault(piece.part.shard, piece)) is not piece:
            raise UserError(
                f"{twin.path} and {piece.path} overlap: both are shard {piece.part}, rows "
                f"{piece.part.start} to {piece.part.stop - 1}: leave one of them out."
            )
    _check_complete(first, known)
    ends = [0, *(piece.part.stop for piece in pieces)]
    starts = [*(piece.part.start for piece in pieces), first.part.images]
    for end, start, piece in zip(ends, starts, [*pieces, pieces[-1]], strict=True):
        if end != start:
            what = "are there twice" if start < end else "are missing"
            rows = f"rows {min(start, end)} to {max(start, end) - 1}"
            raise UserError(f"{piece.path}: {rows} {what}: extract the parts again.")
    return pieces


def _check_complete(first: Piece, known: dict[int, Piece]) -> None:
    """Say which shards are missing, or not finished, and what makes them."""
    of = first.part.of
    missing = [shard for shard in range(1, of + 1) if shard not in known]
    if not missing:
        return
    name = f"part-{first.part.shard}-of-{of}"
    for shard in missing:
        near = first.path.with_name(first.path.name.replace(name, f"part-{shard}-of-{of}"))
        if not near.exists() and partial_path(near).exists():
            read_piece(near)  # says how far it is
    named = ", ".join(f"{shard}/{of}" for shard in missing)
    verb = f"shards {named} are" if len(missing) > 1 else f"shard {named} is"
    more = ", and so on for each" if len(missing) > 1 else ""
    raise UserError(
        f"{first.path.parent}: {verb} missing: {AGAIN} --shard {missing[0]}/{of}{more}; then merge."
    )


def check_alike(piece: Piece, first: Piece) -> None:
    """Refuse a part of another origin."""
    one, other = first.stored.attributes, piece.stored.attributes
    found = [(name, one[name], other[name]) for name in SAME]
    found += [
        (name, getattr(first.part, name), getattr(piece.part, name))
        for name in ("split_hash", "prompts")
    ]
    here, there = first.stored.arrays, piece.stored.arrays
    for name in (*VIRTUAL, "/image/candidates/labels"):
        found.append((name, _form(here.get(name)), _form(there.get(name))))
    for name, a, b in found:
        if a != b:
            raise UserError(
                f"{piece.path} differs from {first.path} ({name} {str(b)[:60]}, there "
                f"{str(a)[:60]}): run the odd one again like the others, with --overwrite."
            )
    for name in ALIKE:
        values = here.get(name), there.get(name)
        if not np.array_equal(*values):  # type: ignore[arg-type]
            raise UserError(
                f"{piece.path} differs from {first.path} (other {name}): run the odd one again "
                "like the others, with --overwrite."
            )


def _form(array: NDArray[Any] | None) -> str:
    return "none" if array is None else f"{array.dtype} {array.shape[1:]}"


def note_versions(pieces: list[Piece]) -> None:
    """Tell of parts that other package versions made; that is no fault."""
    first = pieces[0]
    for piece in pieces[1:]:
        one, other = (p.stored.attributes["versions"] for p in (first, piece))
        for name in sorted({*one, *other}):
            if one.get(name) != other.get(name):
                say(
                    f"{piece.path} was made with {name} {other.get(name)}, {first.path} with "
                    f"{one.get(name)}: equal but for rounding."
                )
                return
