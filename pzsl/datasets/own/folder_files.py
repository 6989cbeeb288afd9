"""Find the images of a folder of class folders, and report all that is wrong with it at once."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePath

from pzsl.datasets.own.faults import Faults
from pzsl.errors import UserError
from pzsl.files import real_path
from pzsl.progress import counted, say, shell_word

SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".png", ".bmp", ".gif", ".webp"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
}
"""Endings of image files, in lower case; other files are ignored."""
LEFT_BEHIND = ("__MACOSX", "@eaDir")
"""Folders that archivers and file servers leave behind."""


def find_images(root: Path, faults: Faults) -> dict[str, list[str]]:
    """Class folders and the paths of their images below the root, both sorted.

    Args:
        root: holds the class folders.
        faults: collects class folders without images, names that can't be read, and links that lead
            out of the root.

    Raises:
        UserError: there is no such folder, or no class folder in it.
    """
    if not root.is_dir():
        raise UserError(f"Folder '{root}': no such folder; give --root DIR with class folders.")
    entries = _entries(root, faults)
    folders = [entry for entry in entries if entry.is_dir()]
    if not folders:
        faults.check()
        raise UserError(
            f"Folder '{root}' holds no class folders: put each class's images in one of its own."
        )
    loose = [entry for entry in entries if not entry.is_dir() and entry.is_file()]
    images: dict[str, list[str]] = {}
    others = [entry for entry in loose if not is_named_image(entry)]
    for folder in folders:
        image_files, other_files = _images_of(folder, root.resolve(), faults)
        others += other_files
        images[folder.name] = [entry.relative_to(root).as_posix() for entry in image_files]
    _say_left_out(root, [entry.name for entry in loose if is_named_image(entry)], others)
    return images


def _images_of(folder: Path, root: Path, faults: Faults) -> tuple[list[Path], list[Path]]:
    """The images of a class folder, in subfolders too, and its other files."""
    before = len(faults.noted)
    direct, within = _files_of(folder, root, faults)
    images = [entry for entry in direct + within if is_named_image(entry)]
    others = [entry for entry in direct + within if not is_named_image(entry)]
    if not any(map(is_named_image, direct)) and len(faults.noted) == before:
        faults.note("", _no_image(folder, [e for e in within if is_named_image(e)], others))
    nested = len([entry for entry in images if entry.parent != folder])
    if nested:
        say(f"Folder '{folder}': {counted(nested, 'image')} of its class in folders within it.")
    return images, others


def _say_left_out(root: Path, loose_images: list[str], others: list[Path]) -> None:
    if loose_images:
        say(
            f"Folder '{root}': left out: {counted(len(loose_images), 'image')} in no class folder, "
            f"such as '{loose_images[0]}'."
        )
    say_other_kinds(f"Folder '{root}'", kinds_of(others))


def kinds_of(files: Iterable[PurePath]) -> Counter[str]:
    """How many files have each ending, in lower case."""
    return Counter(file.suffix.lower() for file in files)


def say_other_kinds(place: str, kinds: Counter[str]) -> None:
    """Say how many files of a folder, or of tar files, are left out because of their endings."""
    if kinds:
        count = counted(kinds.total(), "file")
        say(f"{place}: left out: {count} of other kinds ({_listed(kinds)}).")


def _listed(kinds: Counter[str]) -> str:
    """How many files have each ending, the most frequent first."""
    return ", ".join(f"{n} {kind or 'without an ending'}" for kind, n in kinds.most_common())


def is_named_image(file: Path) -> bool:
    """Whether a file has the ending of an image."""
    return file.suffix.lower() in SUFFIXES


def _files_of(folder: Path, root: Path, faults: Faults) -> tuple[list[Path], list[Path]]:
    """The files directly in a class folder, and those in its subfolders at any depth."""
    direct, within = [], []
    for entry in _entries(folder, faults) if _is_inside(folder, root, faults) else []:
        if not _is_inside(entry, root, faults):
            continue
        if not entry.is_dir() or is_named_image(entry):  # reading it says what it is
            direct.append(entry)
        elif entry.is_symlink():
            within.append(entry)  # not followed: links can be circular
        else:
            within += [file for part in _files_of(entry, root, faults) for file in part]
    return direct, within


def _is_inside(entry: Path, root: Path, faults: Faults) -> bool:
    """Whether an entry is below the root; a link that leads out of it is noted."""
    if not entry.is_symlink() or real_path(entry).is_relative_to(root):
        return True
    faults.note("", f"'{entry}' leads out of the root to '{real_path(entry)}': copy it.")
    return False


def _no_image(folder: Path, deep: list[Path], others: list[Path]) -> str:
    """The error message for a class folder without images of its own."""
    if deep:
        return (
            f"'{folder}' holds images only in folders within it, such as '{deep[0]}': if "
            f"these are the class folders, give --root {shell_word(folder)}; else move the images "
            "up, or list all of them in a table, which can keep a split of your own (--table)."
        )
    held = f", but {_listed(kinds_of(others))}" if others else ""
    return (
        f"'{folder}' holds no image ({', '.join(sorted(SUFFIXES))}){held}: add some, or "
        "take the folder out of the root."
    )


def _entries(folder: Path, faults: Faults) -> list[Path]:
    """The visible entries of a folder, sorted case-insensitively; unreadable names are noted."""
    visible = []
    for entry in folder.iterdir():
        if is_hidden(entry.name):
            continue
        if not any("\ud800" <= letter <= "\udfff" for letter in entry.name):
            visible.append(entry)
            continue
        remedy = "is not UTF-8: rename it"
        if sys.getfilesystemencoding() != "utf-8":
            remedy = "can't be read in this locale, which knows ASCII only: set PYTHONUTF8=1"
        faults.note("", f"the name {entry.name!r} in '{folder}' {remedy}.")
    return sorted(visible, key=lambda entry: (entry.name.casefold(), entry.name))


def is_hidden(name: str) -> bool:
    """Whether a file or folder is no image of the user's: hidden, or left behind by a program."""
    return name.startswith(".") or name in LEFT_BEHIND
