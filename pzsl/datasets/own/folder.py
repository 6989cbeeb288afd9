"""`folder`: your own images, one folder per class; the split is drawn by seed or read from a file.

    root/red_fox/001.jpg        class 'red fox'
    root/snow_leopard/a.png     class 'snow leopard'

A split file is JSON. Both entries are optional; a missing one is drawn by seed:

    {"unseen": ["snow leopard"],              names of classes (or of their folders)
     "test_seen": ["red_fox/001.jpg"]}        images of seen classes to test on
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pzsl.datasets.base import Dataset
from pzsl.datasets.names import normal_form, tidy
from pzsl.datasets.own.faults import Faults
from pzsl.datasets.own.folder_files import find_images
from pzsl.datasets.own.same_image import check_once
from pzsl.datasets.reading import reader_below
from pzsl.errors import UsageError, UserError, nearest
from pzsl.files import digest, parse_json, read_text, real_path
from pzsl.folders import same_letters
from pzsl.remote import as_path
from pzsl.requests import say_unused, unless

UNSEEN, TEST = 0.25, 0.2
"""Default shares of a drawn split."""


def load_folder(
    root: str | Path,
    splits: str | Path | None = None,
    seed: int = 0,
    unseen: float = UNSEEN,
    test: float = TEST,
) -> Dataset:
    """Load a folder of class folders.

    Args:
        root: holds one folder per class with its images, which may lie in subfolders. Hidden files
            are ignored; files of other types are counted and ignored. A class has the name of its
            folder, with spaces for underscores.
        splits: a split file, see above.
        seed: of the parts of the split that the file doesn't give. Whether a class is unseen, or an
            image tested on, depends on (seed, name), so adding some moves few others.
        unseen: share of the classes without training images; at least one class unless it is 0.
        test: share of each seen class's images to test on; at least one image (if it has several)
            unless it is 0, and never all.

    Raises:
        UserError: no such folder, fewer than two classes, a class without images, two classes with
            the same name, an image outside the root, or a split that doesn't fit.
    """
    root, split_path = as_path(root), as_path(splits) if splits else None
    check_shares(unseen, test)
    images, names = _find_classes(root)
    split_file = _read_splits(split_path, names) if split_path else {}
    if "unseen" in split_file:
        say_unused(f"'{split_path}' names the unseen classes", unseen=unless(UNSEEN, unseen))
    if "test_seen" in split_file:
        say_unused(f"'{split_path}' names the test images", test_share=unless(TEST, test))
    hidden = split_file.get("unseen", draw_share(names, unseen, seed))
    if split_path and "test_seen" in split_file:
        tested = _listed_tests(split_path, images, hidden, split_file["test_seen"])
    else:
        seen = [folder for folder in images if folder not in hidden]
        tested = {path for folder in seen for path in draw_share(images[folder], test, seed)}
    paths = [path for folder in images for path in images[folder]]
    labels = [label for label, folder in enumerate(images) for _ in images[folder]]
    splits_of = [_split(path, hidden, tested) for path in paths]
    check_once(f"Folder '{root}'", list(zip(paths, splits_of, strict=True)), _linked(root, images))
    origin = {"root": root.resolve(), "seed": seed, "unseen": unseen, "test": test}
    if split_path:
        origin |= {"splits": split_path.name, "splits_hash": digest(split_path.read_bytes())}
    return Dataset(
        name="folder",
        classes=tuple(names.values()),
        seen=np.array([folder not in hidden for folder in names]),
        paths=tuple(paths),
        labels=np.array(labels, dtype=np.int64),
        splits=np.array(splits_of),
        reader=reader_below(root, paths),
        origin=tuple((name, str(value)) for name, value in origin.items()),
    )


def check_shares(unseen: float, test: float) -> None:
    """Refuse shares of a drawn split that are out of range.

    Raises:
        UsageError: one is below 0, or not below 1.
    """
    for option, share in (("--unseen", unseen), ("--test-share", test)):
        if not 0 <= share < 1:
            raise UsageError(f"{option} is a share from 0 to below 1, not {share}.")


def _split(path: str, hidden: set[str], tested: set[str]) -> str:
    if path.partition("/")[0] in hidden:
        return "test_unseen"
    return "test_seen" if path in tested else "trainval"


def _find_classes(root: Path) -> tuple[dict[str, list[str]], dict[str, str]]:
    """The image paths of each class folder, and its class name; or all faults of the root."""
    faults = Faults(f"Folder '{root}'")
    images = find_images(root, faults)
    names = {folder: tidy(folder) for folder in images}
    _note_equal_names(names, faults)
    faults.check()
    if len(images) < 2:
        raise UserError(
            f"Folder '{root}' holds one class only, '{next(iter(images))}': at least 2 are needed."
        )
    return images, names


def _linked(root: Path, images: dict[str, list[str]]) -> dict[str, Path]:
    """The real file of each image; {} if the root holds no links."""
    paths = [path for class_images in images.values() for path in class_images]
    links = any((root / folder).is_symlink() for folder in images)
    links = links or any((root / path).is_symlink() for path in paths)
    return {path: real_path(root / path) for path in paths} if links else {}


def _note_equal_names(names: dict[str, str], faults: Faults) -> None:
    """Note two folders whose class names an encoder can't tell apart."""
    first: dict[str, str] = {}
    for folder, name in names.items():
        first_folder = first.setdefault(normal_form(name), folder)
        if first_folder != folder:
            faults.note(
                "",
                f"'{first_folder}' and '{folder}' both give the class name '{name}': rename one, "
                "or put their images together.",
            )


def draw_share(names: Iterable[str], share: float, seed: int) -> set[str]:
    """Draw a share of the names: at least one (of several) unless it is 0, and never all."""
    ranked = sorted(names, key=lambda name: digest(str(seed), name))
    count = min(max(1, round(share * len(ranked))), len(ranked) - 1) if share else 0
    return set(ranked[:count])


def _read_splits(file: Path, names: dict[str, str]) -> dict[str, set[str]]:
    """Read a split file: folders of the unseen classes, and paths of the test images."""
    try:
        entries = parse_json(read_text(file))
    except OSError as error:
        raise UserError(f"Split file '{file}' can't be read: {error.strerror}.") from None
    except ValueError as error:
        raise UserError(f"Split file '{file}' is not JSON: {error}.") from None
    if not isinstance(entries, dict) or not set(entries) <= {"unseen", "test_seen"}:
        raise UserError(f'Split file \'{file}\' should be {{"unseen": [..], "test_seen": [..]}}.')
    for key, values in entries.items():
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise UserError(f"Split file '{file}': '{key}' should be a list of names.")
    if "unseen" in entries:
        folders = {normal_form(name): folder for folder, name in names.items()}
        strange = [name for name in entries["unseen"] if normal_form(name) not in folders]
        if strange:
            raise UserError(
                f"Split file '{file}': there is no class '{strange[0]}'."
                f"{nearest(strange[0], list(names.values()))}"
            )
        entries["unseen"] = [folders[normal_form(name)] for name in entries["unseen"]]
    return {key: set(values) for key, values in entries.items()}


def _listed_tests(
    file: Path, images: dict[str, list[str]], hidden: set[str], listed: set[str]
) -> set[str]:
    """The test images that a split file lists, as their paths are spelt on the disk.

    Raises:
        UserError: one doesn't exist or is of an unseen class, or they are all images of a class.
    """
    spelt = same_letters(listed, (path for folder in images for path in images[folder]))
    tested = {spelt.get(path, path) for path in listed}
    strange = sorted(tested - {path for paths in images.values() for path in paths})
    if strange:
        raise UserError(f"Split file '{file}': there is no image '{strange[0]}' in the root.")
    for folder, paths in images.items():
        if folder in hidden and tested & set(paths):
            raise UserError(
                f"Split file '{file}': '{min(tested & set(paths))}' is of an unseen class: all "
                "its images are test images anyway, leave it out of 'test_seen'."
            )
        if folder not in hidden and tested >= set(paths):
            raise UserError(
                f"Split file '{file}': all images of '{folder}' are in 'test_seen': leave some to "
                "train on, or make the class unseen."
            )
    return tested
