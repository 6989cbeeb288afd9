"""Find the picture files of a cache's images, also after they have moved."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from unicodedata import normalize

from PIL import Image

from pzsl.datasets import load_dataset
from pzsl.datasets.reading import open_image
from pzsl.errors import UserError
from pzsl.folders import common_suffix, spelt_on_disk
from pzsl.remote import is_address
from pzsl.store import Cache

OpenImage = Callable[[str], Image.Image]
"""Opens the picture of an image id; raises OSError if there is none."""


def find_pictures(cache: Cache, folder: Path | None = None) -> OpenImage:
    """A function that opens the pictures of a cache.

    Args:
        cache: with the image ids.
        folder: where the pictures are now; None for the folder that the cache names.

    Returns:
        A function of an image id. The id is a path below the folder. If there is no such file, the
        file is used whose path shares the longest ending with the id. The picture counts as missing
        if several files do, or if another image's id has this ending, too: it may be that one's.

    Raises:
        UserError: there is no such folder, or it is an address.
    """
    origin = cache.provenance.get("origin") or {}
    if folder is None and cache.dataset == "shapes":
        drawn = load_dataset("shapes", seed=int(origin.get("seed", 0)))
        return drawn.reader
    if folder is None and is_address(origin.get("root", "")):
        raise UserError(
            f"The pictures of {cache.path} are at {origin['root']}, which review does not open: "
            "copy them to a folder of this machine and give it as --images."
        )
    root = folder or (Path(origin["root"]) if "root" in origin else None)
    if root is None or (folder and not root.is_dir()):
        raise UserError(
            f"{folder} is not a folder: give that of the pictures as --images."
            if folder
            else f"{cache.path} names no folder of pictures: give it as --images."
        )
    return _Folder(root, cache.paths)


class _Folder:
    """Pictures below a folder; its files are listed once, when a picture isn't at its path."""

    def __init__(self, root: Path, ids: Sequence[str]) -> None:
        self.root = root
        self.ids = ids
        self._files: dict[str, list[tuple[str, ...]]] | None = None
        self._ids: dict[str, list[str]] = defaultdict(list)

    def __call__(self, image: str) -> Image.Image:
        """Open the picture of an image id.

        Raises:
            OSError: it is missing, ambiguous, damaged, or outside the folder.
        """
        parts = PurePosixPath(spelt_on_disk(self.root, [image]).get(image, image)).parts
        file = self.root.joinpath(*parts)
        if not file.is_file():
            file = self.root.joinpath(*self._moved(parts))
        if not file.resolve().is_relative_to(self.root.resolve()):
            raise OSError(f"{image} leads out of {self.root}")
        return open_image(file)

    def _moved(self, parts: tuple[str, ...]) -> tuple[str, ...]:
        """The only file whose path shares the longest ending with the id, and with no other id."""
        if self._files is None:
            self._files = self._list()
            for image in self.ids:
                self._ids[_composed(image).rpartition("/")[2]].append(_composed(image))
        parts = tuple(map(_composed, parts))
        name, above = parts[-1] if parts else "", self.root.absolute().parts
        same_name = self._files.get(name, [])
        common = [common_suffix(parts, (*map(_composed, (*above, *path)),)) for path in same_name]
        longest = [
            path for path, size in zip(same_name, common, strict=True) if size == max(common)
        ]
        if len(longest) != 1:
            reason = f"{len(longest)} files are called so" if longest else "no such file"
            raise OSError(f"{'/'.join(parts)}: {reason} below {self.root}")
        ending = "/" + "/".join(parts[-max(common) :])
        if sum(f"/{image}".endswith(ending) for image in self._ids[name]) > 1:
            raise OSError(f"{'/'.join(parts)}: other images end in {ending}, too")
        return longest[0]

    def _list(self) -> dict[str, list[tuple[str, ...]]]:
        by_name = defaultdict(list)
        for folder, _, names in os.walk(self.root):
            inside = Path(folder).relative_to(self.root).parts
            for name in names:
                by_name[_composed(name)].append((*inside, name))
        return by_name


def _composed(name: str) -> str:
    """The form in which names are compared: macOS and Linux compose letters differently."""
    return normalize("NFC", name)
