"""Stand-ins for published data sets: image trees at the real paths, and small ones from nothing.

The images are one tiny JPEG per colour, hard-linked, so that 37,322 of them take seconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import loadmat, savemat

COLOURS = 8


def published_files(res101: Path) -> list[str]:
    """The `image_files` of a published res101.mat, as they stand there."""
    cells = loadmat(res101, variable_names=["image_files"])["image_files"]
    return [str(cell[0]) for cell in cells[:, 0]]


def plant(root: Path, paths: Iterable[str], size: int = 16) -> None:
    """Make a tiny JPEG at each path below a folder."""
    paths = list(paths)
    root.mkdir(parents=True, exist_ok=True)
    for folder in {path.rpartition("/")[0] for path in paths}:
        (root / folder).mkdir(parents=True, exist_ok=True)
    seeds = root.parent / f".{root.name}-seeds"
    seeds.mkdir(exist_ok=True)
    for i in range(COLOURS):
        pixels = np.random.default_rng(i).integers(0, 256, (size, size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(seeds / f"{i}.jpg")
    for i, path in enumerate(paths):
        source, target = seeds / f"{i % COLOURS}.jpg", root / path
        try:
            os.link(source, target)
        except OSError:  # no hard links here, or too many of one file
            target.write_bytes(source.read_bytes())


def stand_in(root: Path, real_data: Path, name: str, start: str) -> list[str]:
    """A whole tree at the real paths of SUN, CUB or AWA2, below what follows `start` in them."""
    published = published_files(real_data / "xlsa17" / name / "res101.mat")
    paths = [start + path.partition(start)[2] for path in published]
    plant(root, paths)
    return paths


def cells(texts: Sequence[str]) -> np.ndarray:
    """Texts as MATLAB's nested cells, (n, 1)."""
    nested = np.empty((len(texts), 1), dtype=object)
    for i, text in enumerate(texts):
        nested[i, 0] = np.array([text])
    return nested


def write_splits(
    folder: Path,
    files: Sequence[str],
    labels: Sequence[int],
    splits: Sequence[str],
    names: Sequence[str] | None,
    attributes: np.ndarray,
    features: np.ndarray | None = None,
) -> None:
    """Write both files of a small data set with the published conventions.

    `labels` count from 0, `attributes` is (classes x attributes) and `features` (images x D) here;
    the files count from 1 and are transposed. None for `names` leaves them out, as FLO's file does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    where = np.array(splits)
    content = {
        f"{split}_loc": (np.flatnonzero(where == split) + 1).astype(np.uint16)[:, None]
        for split in ("trainval", "test_seen", "test_unseen")
    }
    content["att"] = np.asarray(attributes, dtype=np.float64).T
    if names is not None:
        content["allclasses_names"] = cells(names)
    savemat(folder / "att_splits.mat", content, do_compression=True)
    images = {"image_files": cells(files), "labels": (np.array(labels) + 1)[:, None]}
    savemat(folder / "res101.mat", images, do_compression=True)
    if features is not None:
        add_features(folder / "res101.mat", features)


def add_features(res101: Path, features: np.ndarray) -> None:
    """Add features (images x D) to a res101.mat, transposed and in doubles, as published."""
    with res101.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        savemat(file, {"features": np.asarray(features, dtype=np.float64).T})


def published_names_of(real_data: Path, name: str) -> list[str]:
    """The `allclasses_names` of a published att_splits.mat, as they stand there."""
    file = real_data / "xlsa17" / name / "att_splits.mat"
    return [str(cell[0]) for cell in loadmat(file)["allclasses_names"][:, 0]]


def make_sun(root: Path, per_class: int = 12) -> None:
    """A small tree with SUN's layout: 6 scenes, the last two unseen."""
    names = ["abbey", "airlock", "alcove", "alley", "amphitheater", "aquarium"]
    files = [f"{name[0]}/{name}/sun_{i}.jpg" for name in names for i in range(per_class)]
    labels = [i // per_class for i in range(len(files))]
    splits = [
        "test_unseen" if label > 3 else "test_seen" if i % per_class < 3 else "trainval"
        for i, label in enumerate(labels)
    ]
    plant(root, [f"images/{file}" for file in files])
    published = [f"/BS/Deep_Fragments/work/SUN/images/{file}" for file in files]
    attributes = np.arange(12.0).reshape(6, 2)
    write_splits(root / "xlsa17" / "SUN", published, labels, splits, names, attributes)
