"""Export a cache for other tools: `.npz` (everything) or Parquet (its images)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pzsl.errors import UsageError, UserError, nearest
from pzsl.exchange.npz import npz_arrays
from pzsl.files import replacing
from pzsl.store.cache import Cache
from pzsl.store.hdf5 import UNKNOWN
from pzsl.store.reader import load_cache
from pzsl.store.unit_length import CHUNK


def export_cache(
    cache: str | Path,
    out: str | Path | None = None,
    formats: Sequence[str] | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write a cache in other formats.

    Args:
        cache: a finished cache.
        out: a file (its ending names the format) or a folder; by default the cache's folder.
        formats: `npz`, which `import_npz` reads back bit for bit, and `parquet`: a row per image
            with `path, label, split, embedding`, and `candidates` if there are any.
        overwrite: replace existing files.

    Returns:
        The files, one for each format.

    Raises:
        UsageError: an unknown format, or an ending that contradicts it.
        UserError: the cache is incomplete, a file already exists, or pyarrow isn't installed.
    """
    data = load_cache(cache)
    files = _files(data.path, None if out is None else Path(out), formats)
    for file in files.values():
        if file.exists() and not overwrite:
            raise UserError(f"{file} exists already: replace it with --overwrite.")
    for name, file in files.items():
        FORMATS[name](data, file)
    return list(files.values())


def _files(cache: Path, out: Path | None, formats: Sequence[str] | None) -> dict[str, Path]:
    """Format -> file."""
    ending = out.suffix[1:].lower() if out and not out.is_dir() else ""
    chosen = list(formats or ([ending] if ending in FORMATS else ["npz"]))
    for name in chosen:
        if name not in FORMATS:
            raise UsageError(f"Unknown format '{name}'.{nearest(name, list(FORMATS))}")
    if out is not None and ending in FORMATS:
        if chosen != [ending]:
            raise UsageError(
                f"--out {out} is one .{ending} file, but --format asks for {', '.join(chosen)}: "
                "give a folder."
            )
        return {ending: out}
    if ending:
        raise UsageError(
            f"--out {out} ends in .{ending}: give a .npz or .parquet file or a folder."
        )
    folder = out or cache.parent
    return {name: folder / f"{cache.stem}.{name}" for name in chosen}


def _write_npz(cache: Cache, file: Path) -> None:
    arrays: Any = npz_arrays(cache)
    with replacing(file) as temporary, temporary.open("wb") as target:
        np.savez(target, **arrays)


def _write_parquet(cache: Cache, file: Path) -> None:
    """Write Parquet in blocks of rows, so that memory doesn't grow with the number of images."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UserError(
            f"{file}: Parquet files need pyarrow: pip install 'pzsl[parquet]', or use --format npz."
        ) from None
    text = pyarrow.string()
    fields = [("path", text), ("label", text), ("split", text)]
    if cache.candidate_offsets is not None:
        fields.append(("candidates", pyarrow.list_(text)))
    dim = cache.images.shape[1]
    fields.append(("embedding", pyarrow.list_(pyarrow.float32(), dim)))
    schema = pyarrow.schema(fields)
    with replacing(file) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
        for start in range(0, len(cache.paths), CHUNK):
            rows = range(start, min(start + CHUNK, len(cache.paths)))
            flat = pyarrow.array(np.asarray(cache.images[rows.start : rows.stop]).ravel())
            columns = _columns(cache, rows)
            columns["embedding"] = pyarrow.FixedSizeListArray.from_arrays(flat, dim)
            writer.write_table(pyarrow.table(columns, schema=schema))


def _columns(cache: Cache, rows: range) -> dict[str, Any]:
    """Paths, labels, splits and candidates of a block of images, all as names."""
    labels = cache.labels[rows.start : rows.stop].tolist()
    columns: dict[str, Any] = {
        "path": list(cache.paths[rows.start : rows.stop]),
        "label": [None if label == UNKNOWN else cache.classes[label] for label in labels],
        "split": cache.splits[rows.start : rows.stop].tolist(),
    }
    offsets, candidates = cache.candidate_offsets, cache.candidate_labels
    if offsets is not None and candidates is not None:
        columns["candidates"] = [
            [cache.classes[label] for label in candidates[offsets[row] : offsets[row + 1]]]
            for row in rows
        ]
    return columns


FORMATS: dict[str, Callable[[Cache, Path], None]] = {
    "npz": _write_npz,
    "parquet": _write_parquet,
}
