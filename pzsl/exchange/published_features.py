"""Import the features of xlsa17: the classic setting of zero-shot learning, without images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from pzsl.datasets.fetching import PUBLICATIONS
from pzsl.datasets.published import read_features, read_listing
from pzsl.encoders import Identity
from pzsl.errors import UserError
from pzsl.exchange.vectors import LOGIT_SCALE, check_vectors, write_vectors
from pzsl.extraction.header import header_of
from pzsl.files import sha256_of

MODEL, WEIGHTS = "ResNet-101", "ImageNet, features of Xian et al."


def import_xlsa17(folder: Path, out: Path | None = None, overwrite: bool = False) -> Path:
    """Make a cache from published ResNet-101 features (Xian et al., TPAMI 2019), with attributes.

    Features are divided by their length. There are no text embeddings (T = 0): attributes describe
    the classes. As no logit scale was learnt for these features, CLIP's is used.

    Args:
        folder: with `att_splits.mat` and `res101.mat`; its name is that of the data set (SUN, ...).
        out: the cache; by default `cache/<data set>-res101.h5`.
        overwrite: replace an existing cache.

    Returns:
        The path of the cache.

    Raises:
        UserError: a file is missing or damaged, or has no features; the message says where to get
            them.
    """
    name = folder.resolve().name.lower()
    if not (folder / "att_splits.mat").is_file():
        raise UserError(
            f"{folder} holds no att_splits.mat: give the folder of a data set, such as xlsa17/SUN."
        )
    file = folder / "res101.mat"
    data = read_listing(name, folder).data
    features = read_features(file)
    if features is None:
        publication = PUBLICATIONS.get(name, PUBLICATIONS["sun"])
        raise UserError(
            f"{file} holds no 'features': take the published file, which has them, from "
            f"{publication.downloads[-1].url}."
        )
    if len(features) != len(data.paths):
        raise UserError(
            f"{file}: 'features' should be (dimensions x {len(data.paths)} images), but are "
            f"{features.shape[::-1]}: fetch the file again."
        )
    check_vectors(f"{file}: 'features'", features, normalise=True)
    dim = features.shape[1]
    identity = Identity(MODEL, WEIGHTS, "", {}, str(features.dtype), dim, LOGIT_SCALE)
    data = replace(data, origin=(*data.origin, ("features_sha256", sha256_of(file))))
    text = np.empty((len(data.classes), 0, dim), np.float32)
    target = out or Path("cache") / f"{name}-res101.h5"
    return write_vectors(target, header_of(data, identity, ()), features, text, overwrite=overwrite)
