"""Where a published data set lies unless the user says: `$PZSL_DATA/NAME`, then `data/NAME`."""

from __future__ import annotations

import os
from pathlib import Path

from pzsl.datasets.fetching.publishers import PUBLICATIONS
from pzsl.errors import UserError

VARIABLE = "PZSL_DATA"


def usual_places(name: str) -> list[Path]:
    """Folders in which a data set is looked for; the first is the one that it is fetched into."""
    own = os.environ.get(VARIABLE)
    first = [Path(own).expanduser() / name] if own else []
    return [*first, Path("data") / name]


def find_root(name: str) -> Path:
    """The first of these folders that holds anything.

    Args:
        name: of a published data set.

    Raises:
        UserError: none does; told are size, terms, and the one command that fetches it.
    """
    for folder in usual_places(name):
        if folder.is_dir() and any(folder.iterdir()):
            return folder
    looked = " or ".join(str(folder) for folder in usual_places(name))
    publication = PUBLICATIONS[name]
    images = [item for item in publication.downloads if not item.only]
    sizes = "; ".join(
        f"{item.file}, {'size unknown' if item.size == 'unknown' else item.size}" for item in images
    )
    raise UserError(
        f"There is no {name} in {looked} ({sizes}; terms: {publication.licence}): "
        f"'pzsl extract --dataset {name} --fetch' downloads it, or give its folder as --root."
    )


def is_by_hand(name: str, root: Path) -> bool:
    """Whether a folder holds files that no fetch has put there: these are taken as they are."""
    if not root.is_dir() or not any(root.iterdir()):
        return False
    archives = [item.file for item in PUBLICATIONS[name].downloads]
    begun = [file for file in root.iterdir() if file.name.startswith((*archives, "pzsl-downloads"))]
    return not begun
