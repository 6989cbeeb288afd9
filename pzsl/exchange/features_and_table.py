"""Make a cache of another tool's features and a table with labels and splits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pzsl.datasets import Annotators, Dataset
from pzsl.datasets.class_warnings import class_warnings
from pzsl.datasets.own import CANDIDATES, load_rows
from pzsl.encoders import Identity, load_encoder
from pzsl.encoders.descriptions import choose_prompts, encode_prompts
from pzsl.errors import UsageError, UserError
from pzsl.exchange.clip_retrieval import find_rows, read_clip_retrieval
from pzsl.exchange.vectors import (
    LOGIT_SCALE,
    check_vectors,
    read_vectors,
    say_assumed_scale,
    write_vectors,
)
from pzsl.extraction.header import header_of
from pzsl.files import digest, sha256_of
from pzsl.progress import say
from pzsl.requests import say_unused

IMPORTED = "(imported)"


@dataclass(frozen=True)
class Labelling:
    """Labels, splits and class vectors for features that come without them.

    Attributes:
        table: CSV or Parquet file with `path, label, split`, and `candidates` if any.
        classes: names of all classes in order, one per line.
        unseen_file: names of the unseen classes, one per line.
        text: `.npy` or `.safetensors` file (C, D), a row for each line of `classes`.
        model, pretrained: the encoder that made the features; it encodes the class names.
        templates: prompt templates for the class names.
        annotators: columns of the table with several annotators' candidates.
    """

    table: Path | None = None
    classes: Path | None = None
    unseen_file: Path | None = None
    text: Path | None = None
    model: str | None = None
    pretrained: str | None = None
    templates: Path | None = None
    annotators: Annotators | None = None


class Texts(NamedTuple):
    """Text embeddings (C, T, D) of all classes, their encoder, and the names of the T columns."""

    identity: Identity
    columns: tuple[str, ...]
    vectors: NDArray[Any]


def import_features(
    source: Path,
    out: Path,
    labelling: Labelling,
    normalise: bool = False,
    overwrite: bool = False,
) -> Path:
    """Make a cache from a matrix of features, or from clip-retrieval's output folder.

    Args:
        source: a `.npy` or `.safetensors` file (N, D) whose rows are in the table's order; or a
            folder, whose image paths are matched with the table's.
        out: the cache.
        labelling: labels and splits of the images, and vectors of the classes.
        normalise: divide vectors by their length instead of refusing those that are not unit.
        overwrite: replace an existing cache.

    Returns:
        The path of the cache.

    Raises:
        UsageError: the table or the class vectors are not given.
        UserError: a file is missing or invalid; the message names the first faulty row.
    """
    if labelling.table is None:
        raise UsageError(
            f"{source} holds features only: give --table FILE.csv with path, label, split."
        )
    annotators = labelling.annotators or CANDIDATES
    data = load_rows(labelling.table, labelling.unseen_file, labelling.classes, annotators)
    if source.is_dir():
        vectors, files = _of_folder(source, data)
    else:
        vectors, files = read_vectors(source), (source,)
        if len(vectors) != len(data.paths):
            raise UserError(
                f"{source} has {len(vectors)} rows, but {labelling.table} lists {len(data.paths)} "
                "images: one row for each, in the same order."
            )
    check_vectors(str(source), vectors, normalise)
    texts = _texts(data, vectors, labelling, normalise)
    for doubt in class_warnings(data):
        say(doubt)
    hashes = [sha256_of(file) for file in files]
    origin = {
        "features": str(source.resolve()),
        "features_sha256": hashes[0] if len(hashes) == 1 else digest(*hashes),
    }
    if labelling.text:
        origin |= {"text": str(labelling.text), "text_sha256": sha256_of(labelling.text)}
    data = replace(data, name=source.resolve().stem, origin=(*data.origin, *origin.items()))
    header = header_of(data, texts.identity, texts.columns)
    return write_vectors(out, header, vectors, texts.vectors, overwrite=overwrite)


def _of_folder(source: Path, data: Dataset) -> tuple[NDArray[Any], tuple[Path, ...]]:
    """The embeddings of the table's images, in the table's order, and the files they are from."""
    embedded = read_clip_retrieval(source)
    rows = find_rows(data.paths, embedded.paths, str(source))
    unused = len(embedded.paths) - len(np.unique(rows))
    if unused:
        say(
            f"{source}: {unused} of {len(embedded.paths)} embeddings are not in the table: left "
            "out."
        )
    return embedded.vectors[rows], embedded.files


def _texts(data: Dataset, images: NDArray[Any], labelling: Labelling, normalise: bool) -> Texts:
    """Class vectors from a file, or by the encoder that made the features."""
    if (labelling.text is None) == (labelling.model is None):
        raise UsageError(
            "Classes need vectors: give either --text FILE (with --classes FILE), or --model NAME, "
            "the encoder that made the features."
        )
    if labelling.text is None:
        return _encoded(data, images, labelling)
    if labelling.classes is None:
        raise UsageError("--text needs --classes FILE: the class names in the order of its rows.")
    say_unused(
        "--text brings the class vectors",
        pretrained=labelling.pretrained,
        templates=labelling.templates,
    )
    vectors = read_vectors(labelling.text)
    expected = (len(data.classes), images.shape[1])
    if vectors.shape != expected:
        raise UserError(
            f"{labelling.text} should have shape {expected}, classes by dimensions of the images, "
            f"but has {vectors.shape}."
        )
    check_vectors(str(labelling.text), vectors, normalise)
    say_assumed_scale(str(labelling.text), "To give another model's, import a .npz file.")
    identity = Identity(IMPORTED, "", "", {}, str(images.dtype), expected[1], LOGIT_SCALE)
    return Texts(identity, (IMPORTED,), vectors[:, None])


def _encoded(data: Dataset, images: NDArray[Any], labelling: Labelling) -> Texts:
    prompts = choose_prompts(data.name, data.classes, labelling.templates)
    encoder = load_encoder(labelling.model or "", labelling.pretrained)
    identity = encoder.identity
    if identity.dim != images.shape[1]:
        raise UserError(
            f"The features have {images.shape[1]} dimensions, those of {identity.model} have "
            f"{identity.dim}: give the model that made them."
        )
    say(
        f"Class names by {identity.model}, weights {identity.pretrained}, which should have made "
        f"the features, too; prompts from {prompts.source}."
    )
    vectors = encode_prompts(encoder, data.classes, prompts).numpy()
    return Texts(identity, prompts.columns, vectors)
