"""One image under two paths: an image that is trained on must not be tested on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePath

from pzsl.errors import UserError
from pzsl.progress import say


def check_once(where: str, images: Iterable[tuple[str, str]], real: Mapping[str, PurePath]) -> None:
    """Refuse an image that lies under two paths in two splits; say where one split has it twice.

    Args:
        where: the table or folder, for messages.
        images: path and split of each.
        real: the file that each path means, links followed; paths that aren't here are one file.

    Raises:
        UserError: one file is in two splits.
    """
    first: dict[PurePath, tuple[str, str]] = {}
    again = []
    for path, split in images:
        if path not in real:
            continue
        other, where_other = first.setdefault(real[path], (path, split))
        if where_other != split:
            raise UserError(
                f"{where}: '{other}' ({where_other}) and '{path}' ({split}) are the same file: "
                "an image that is trained on can't be tested on, keep one of them."
            )
        if other != path:
            again.append((other, path))
    if again:
        other, path = again[0]
        say(f"{where}: {len(again)} images are there twice, such as '{other}' and '{path}'.")
