"""Vectors of other tools: read them, check their length, write them into a cache."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pzsl.errors import UserError
from pzsl.progress import say
from pzsl.store.hdf5 import CacheHeader
from pzsl.store.unit_length import CHUNK, lengths, not_unit
from pzsl.store.validation import alike_in_text, fault_of
from pzsl.store.writer import CacheWriter

ROUNDING = 1e-3
"""Vectors whose length deviates by more, but is near one, are divided by it, and a line says so."""
LOGIT_SCALE = 100.0
"""The scale at the end of CLIP's own training; used if a file has none."""
UNREADABLE = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, SyntaxError),
    *(RuntimeError, MemoryError, ArithmeticError, zipfile.BadZipFile, zlib.error),
)
"""Errors of `numpy.load` and `zipfile` for damaged files."""


def say_assumed_scale(source: str, remedy: str) -> None:
    """Say that the logit scale is a guess: label weights and the estimated noise depend on it."""
    say(f"{source}: no logit scale is given: {LOGIT_SCALE:.0f} is taken, OpenAI's. {remedy}")


def read_vectors(source: Path) -> NDArray[Any]:
    """Read the matrix (n, D) of a `.npy` or `.safetensors` file; nothing in it is executed.

    Args:
        source: a `.npy` file (mapped, not read) or a `.safetensors` file that holds one tensor.

    Raises:
        UserError: no such file, another format, or not a matrix of floating-point numbers.
    """
    if not source.is_file():
        raise UserError(f"{source}: no such file.")
    if source.suffix == ".safetensors":
        array = _one_tensor(source)
    else:
        try:
            array = np.load(source, mmap_mode="r", allow_pickle=False)
        except UNREADABLE as error:
            raise UserError(
                f"{source}: can't be read as .npy ({_brief(error)}): copy it again, or write it "
                "with numpy.save from a plain array, without pickle."
            ) from error
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind != "f":
        shape = f"{array.shape} {array.dtype}" if isinstance(array, np.ndarray) else "an archive"
        raise UserError(
            f"{source}: should be a matrix of floats, a row for each vector, but is {shape}: write "
            "it again with numpy.save(FILE, numpy.atleast_2d(vectors).astype('float32'))."
        )
    return array


def _one_tensor(source: Path) -> NDArray[Any]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(source)
    except (SafetensorError, *UNREADABLE) as error:
        raise UserError(
            f"{source}: can't be read as .safetensors ({_brief(error)}): copy it again, or write "
            "it again as float32."
        ) from error
    if len(tensors) != 1:
        named = ", ".join(sorted(tensors)) or "none"
        raise UserError(f"{source}: should hold one tensor, but holds {len(tensors)} ({named}).")
    return next(iter(tensors.values()))


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def check_vectors(where: str, vectors: NDArray[Any], normalise: bool = False) -> None:
    """Check that vectors have length one, or can be normalised.

    Args:
        where: file and array, for the message.
        vectors: (n, D) or (n, K, D).
        normalise: accept any length but zero.

    Raises:
        UserError: a row is invalid; the message names the first.
    """
    inexact = not_unit(vectors, ROUNDING)
    wrong = inexact[not_unit(vectors[inexact])]
    if normalise:
        blocks = [wrong[i : i + CHUNK] for i in range(0, len(wrong), CHUNK)]
        usable = [_has_length(vectors[rows]) for rows in blocks]
        wrong = wrong[~np.concatenate([np.empty(0, np.bool_), *usable])]
    if len(wrong):
        first = wrong[0]
        can_be_unit = _has_length(np.asarray(vectors[first : first + 1])).all()
        remedy = (
            "divide each row by its length, or --normalise"
            if can_be_unit
            else "no division mends that: compute such rows again, or leave them out"
        )
        raise UserError(
            f"{where}, row {first} {fault_of(vectors[first])} "
            f"({len(wrong):,} of {len(vectors):,} rows): {remedy}."
        )
    if len(inexact) and not normalise:
        say(
            f"{where}: {len(inexact):,} of {len(vectors):,} rows have a length near 1, the first "
            f"{lengths(vectors[inexact[0]]).max():.4g}: they are divided by it."
        )


def _has_length(vectors: NDArray[Any]) -> NDArray[np.bool_]:
    with np.errstate(over="ignore", invalid="ignore"):
        size = lengths(vectors).reshape(len(vectors), -1)
    return np.asarray((np.isfinite(size) & (size > 0)).all(axis=1))


def as_unit(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Normalise vectors to unit length in float32.

    Float32 vectors of unit length (within `ROUNDING`) are kept bit for bit; all others (half
    floats, doubles, other lengths) are divided by their length.

    Args:
        vectors: (n, D) or (n, K, D), none of length zero.
    """
    single = np.array(vectors, dtype=np.float32, order="C")  # the order of sums depends on it
    if vectors.dtype == np.float32:
        rows = not_unit(single, ROUNDING)
        single[rows] /= lengths(single[rows])[..., None]
        return single
    return np.asarray(single / lengths(single)[..., None], dtype=np.float32)


def write_vectors(
    out: Path,
    header: CacheHeader,
    images: NDArray[Any],
    text: NDArray[Any],
    views: NDArray[Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a cache from existing vectors, block by block.

    Args:
        out: the cache. header: everything but the vectors.
        images: (N, D); text: (C, T, D); views: (N, K, D); checked by `check_vectors`.
        overwrite: replace a finished cache.

    Returns:
        The path of the cache.

    Raises:
        UserError: see `CacheWriter`.
    """
    count = 0 if views is None else views.shape[1]
    with CacheWriter(out, header, overwrite=overwrite, views=count) as writer:
        if writer.text_pending:
            alike = alike_in_text(text, header.classes)
            if alike:
                say(alike)
            writer.write_text(as_unit(text))
        pending = writer.pending
        for start in range(0, len(pending), CHUNK):
            rows = pending[start : start + CHUNK]
            view_block = None if views is None else as_unit(views[rows])
            writer.write(rows, as_unit(images[rows]), view_block)
        return writer.finish()
