"""Default folders of a published data set: `$PZSL_DATA/NAME`, then `data/NAME`."""

from __future__ import annotations

import os
from pathlib import Path

from pzsl.datasets.fetching.publishers import PUBLICATIONS
from pzsl.errors import UserError

VARIABLE = "PZSL_DATA"


def usual_places(name: str) -> list[Path]:
    """Folders in which a data set is looked for; it is fetched into the first."""
    data_folder = os.environ.get(VARIABLE)
    first = [Path(data_folder).expanduser() / name] if data_folder else []
    return [*first, Path("data") / name]


def find_root(name: str) -> Path:
    """The first of the usual folders that isn't empty.

    Args:
        name: of a published data set.

    Raises:
        UserError: all are empty or missing; the message gives size, terms and the fetch command.
    """
    for folder in usual_places(name):
        if folder.is_dir() and any(folder.iterdir()):
            return folder
    looked = " or ".join(str(folder) for folder in usual_places(name))
    publication = PUBLICATIONS[name]
    images = [item for item in publication.downloads if not item.only]
    sizes = "; ".join(f"{item.file}, {item.size}" for item in images)
    raise UserError(
        f"There is no {name} in {looked} ({sizes}; terms: {publication.licence}): "
        f"'pzsl extract --dataset {name} --fetch' downloads it, or give its folder as --root."
    )


def is_by_hand(name: str, root: Path) -> bool:
    """Whether a folder was filled by the user rather than by `fetch`; it is then used as it is."""
    if not root.is_dir() or not any(root.iterdir()):
        return False
    archives = [item.file for item in PUBLICATIONS[name].downloads]
    fetched_files = [
        file for file in root.iterdir() if file.name.startswith((*archives, "pzsl-downloads"))
    ]
    return not fetched_files
