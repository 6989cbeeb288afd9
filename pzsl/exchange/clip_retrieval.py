"""Read the output folder of clip-retrieval's `clip inference`: embeddings and image paths.

    img_emb/img_emb_0.npy          (n, D) half floats
    metadata/metadata_0.parquet    n rows; `image_path` is the image's path, or its key in a tar

Its `text_emb` holds embeddings of captions, not of classes, and is not read.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from pzsl.datasets.own import read_parquet
from pzsl.errors import UserError
from pzsl.exchange.vectors import read_vectors


class Embedded(NamedTuple):
    """The content of such a folder.

    Attributes:
        vectors: (N, D) embeddings of all parts, in order.
        paths: (N,) their `image_path`, with forward slashes.
        files: the files that were read.
    """

    vectors: NDArray[Any]
    paths: tuple[str, ...]
    files: tuple[Path, ...]


def read_clip_retrieval(folder: Path) -> Embedded:
    """Read embeddings and image paths of all parts.

    Raises:
        UserError: there is no part, a part lacks its metadata, or the two differ in length.
    """
    parts = sorted(folder.glob("img_emb/img_emb_*.npy"), key=_number)
    if not parts:
        raise UserError(
            f"{folder} holds no img_emb/img_emb_*.npy: give the output folder of clip-retrieval, "
            "or a .npz, .npy or .safetensors file."
        )
    vectors: list[NDArray[Any]] = []
    paths: list[str] = []
    files: list[Path] = []
    for part in parts:
        about = folder / "metadata" / f"metadata_{part.stem.rpartition('_')[2]}.parquet"
        if not about.is_file():
            raise UserError(f"{about} is missing: it names the images of {part.name}.")
        block, names = read_vectors(part), _image_paths(about)
        if len(block) != len(names):
            raise UserError(
                f"{part} has {len(block)} rows, but {about.name} names {len(names)} images: the "
                "two are not of one run."
            )
        if vectors and block.shape[1] != vectors[0].shape[1]:
            raise UserError(
                f"{part} has {block.shape[1]} dimensions, but {parts[0].name} has "
                f"{vectors[0].shape[1]}: keep the parts of one model."
            )
        vectors.append(block)
        paths += names
        files += [part, about]
    return Embedded(np.concatenate(vectors), tuple(paths), tuple(files))


def _number(part: Path) -> tuple[int, str]:
    digits = re.search(r"(\d+)$", part.stem)
    return int(digits[1]) if digits else -1, part.name


def _image_paths(file: Path) -> list[str]:
    table = read_parquet(file)
    if "image_path" not in table.column_names:
        raise UserError(
            f"{file} has no column 'image_path': its columns are {', '.join(table.column_names)}."
        )
    return [str(path).replace("\\", "/") for path in table.column("image_path").to_pylist()]


def find_rows(names: Sequence[str], paths: Sequence[str], where: str) -> NDArray[np.int64]:
    """Find the row of each image: the path equal to its name, or the only one that ends in it.

    Args:
        names: (n,) image names, as in a table.
        paths: (N,) as clip-retrieval wrote them, usually absolute.
        where: the folder, for the message.

    Returns:
        (n,) rows of `paths`.

    Raises:
        UserError: no path, or more than one, ends in a name.
    """
    by_name: dict[str, list[int]] = defaultdict(list)
    forms = [normalize("NFC", path) for path in paths]  # macOS may have written one of the two
    for row, form in enumerate(forms):
        by_name[form.rpartition("/")[2]].append(row)
    rows, missing = [], []
    for path in names:
        form = normalize("NFC", path)
        near = by_name.get(form.rpartition("/")[2], [])
        hits = [row for row in near if f"/{forms[row]}".endswith(f"/{form}")]
        hits = [row for row in hits if forms[row] == form] or hits
        hits = [row for row in hits if paths[row] == path] or hits
        if len(hits) > 1:
            raise UserError(
                f"{where}: {len(hits)} images end in '{path}' ('{paths[hits[0]]}', "
                f"'{paths[hits[1]]}'): write more of its path into the table, or keep one."
            )
        rows += hits
        missing += [] if hits else [path]
    if missing:
        example = f"'{paths[0]}'" if paths else "none"
        raise UserError(
            f"{where}: {len(missing)} of {len(names)} images of the table have no embedding "
            f"('{missing[0]}'; paths there are like {example}): take them out of the table, or "
            "write them alike."
        )
    return np.array(rows, dtype=np.int64)
