"""Find images that occur under two paths: a training image must not be a test image as well."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePath

from pzsl.errors import UserError
from pzsl.progress import counted, say


def check_once(where: str, images: Iterable[tuple[str, str]], real: Mapping[str, PurePath]) -> None:
    """Refuse a file that is in two splits under two paths; warn if it is twice in one split.

    Args:
        where: the table or folder, for messages.
        images: path and split of each image.
        real: path -> file, with links resolved; paths without an entry are not checked.

    Raises:
        UserError: a file is in two splits.
    """
    first: dict[PurePath, tuple[str, str]] = {}
    again = []
    for path, split in images:
        if path not in real:
            continue
        first_path, first_split = first.setdefault(real[path], (path, split))
        if first_split != split:
            raise UserError(
                f"{where}: '{first_path}' ({first_split}) and '{path}' ({split}) are the same "
                "file: an image that is trained on can't be tested on, keep one of them."
            )
        if first_path != path:
            again.append((first_path, path))
    if again:
        (first_path, path), count = again[0], counted(len(again), "image")
        say(f"{where}: {count} given twice, such as '{first_path}' and '{path}'.")
