"""Data sets: `load_dataset(name, ...)`; one file per source, one line per data set below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from pzsl import plugins
from pzsl.datasets.annotators import Annotators
from pzsl.datasets.base import SPLITS, UNKNOWN, Candidates, Dataset
from pzsl.errors import UsageError, nearest
from pzsl.progress import shell_word


class Source(NamedTuple):
    """One known data set: where its loader lives, what it needs, and a line about it."""

    loader: str
    needs: str
    about: str


SOURCES: dict[str, Source] = {
    "shapes": Source(
        "pzsl.datasets.shapes:load_shapes",
        "nothing",
        "built in: 400 compositions of colour, texture and shape, 100 of them unseen",
    ),
    "folder": Source(
        "pzsl.datasets.own:load_folder",
        "--root DIR",
        "your own images, one folder per class",
    ),
    "table": Source(
        "pzsl.datasets.own:load_table",
        "--table FILE",
        "your own images, a table of path, label, candidates, split",
    ),
    "tar": Source(
        "pzsl.datasets.own:load_tar",
        "--root DIR",
        "your own images in tar files of the webdataset layout",
    ),
    "sun": Source(
        "pzsl.datasets.published:load_sun",
        "its images",
        "SUN Attribute: 14,340 images of 717 scenes, 72 of them unseen (not SUN397)",
    ),
    "cub": Source(
        "pzsl.datasets.published:load_cub",
        "its images",
        "CUB-200-2011: 11,788 images of 200 birds, 50 of them unseen",
    ),
    "awa2": Source(
        "pzsl.datasets.published:load_awa2",
        "its images",
        "Animals with Attributes 2: 37,322 images of 50 animals, 10 of them unseen",
    ),
    "apy": Source(
        "pzsl.datasets.published:load_apy",
        "its images",
        "aPascal & aYahoo: 15,339 objects of 32 classes, 12 of them unseen",
    ),
    "flo": Source(
        "pzsl.datasets.published:load_flo",
        "its images",
        "Oxford Flowers: 8,189 images of 102 flowers, 20 of them unseen",
    ),
}


def describe(name: str) -> dict[str, Any]:
    """Describe a known data set.

    Returns:
        `name, needs, about` and `fetch`, the command that downloads it. For the user's own data
        `fetch` is None; published data sets also have `home`, `licence`, `note`,
        `addresses_checked` and `downloads` (`{file, url, size, checksum}`).
    """
    from pzsl.datasets.fetching import CHECKED, PUBLICATIONS

    source, publication = SOURCES[name], PUBLICATIONS.get(name)
    facts: dict[str, Any] = {"name": name, "needs": source.needs, "about": source.about}
    if publication is None:
        return {**facts, "fetch": None}
    return {
        **facts,
        "fetch": f"pzsl datasets fetch {name}",
        "home": publication.home,
        "licence": publication.licence,
        "note": publication.note,
        "addresses_checked": CHECKED,
        "downloads": [
            {"file": d.file, "url": d.url, "size": d.size, "checksum": d.checksum}
            for d in publication.downloads
        ],
    }


def load_dataset(name: str, **options: Any) -> Dataset:
    """Load a known data set.

    Args:
        name: one that `pzsl datasets` lists, or a plugin's, such as `file.py:load`.
        options: arguments of its loader (`root`, `splits`, `seed`, ...); None means not given.
            Every data set accepts `on_error`: `skip` leaves missing images out. Without `root`, a
            published data set is looked for in `$PZSL_DATA/<name>`, then in `data/<name>`.

    Raises:
        UsageError: the name is unknown (the message suggests the nearest), or an option is.
        UserError: files are missing or invalid.
    """
    if name in SOURCES:
        plugins.say_hidden("datasets", name)
    plugin = None if name in SOURCES else plugins.find("datasets", name)
    loader = plugin.target if plugin else _own_loader(name)
    import inspect

    arguments = {key: value for key, value in options.items() if value is not None}
    parameters = inspect.signature(loader).parameters
    if "on_error" not in parameters:
        arguments.pop("on_error", None)
    for key in arguments:
        if key not in parameters:
            raise UsageError(_no_option(name, key, list(parameters)))
    for key, parameter in parameters.items():
        if key == "root" and key not in arguments and _is_published(name):
            from pzsl.datasets.fetching import find_root

            arguments["root"] = find_root(name)
        elif parameter.default is parameter.empty and key not in arguments:
            raise UsageError(f"Data set '{name}' needs --{key.replace('_', '-')}.")
    data = loader(**arguments)
    if not isinstance(data, Dataset):
        raise plugins.PluginError(
            f"Plugin '{name}' is not a data set: it should give a pzsl.datasets.Dataset, not "
            f"{type(data).__name__}."
        )
    if plugin is None:
        return data
    plugins.trust(plugin)
    about = ("plugin", plugin.name), ("plugin source", plugin.source[:12])
    return replace(data, origin=(*data.origin, *about))


def _no_option(name: str, key: str, known: list[str]) -> str:
    """The message about an option that a data set doesn't take, with the data sets that do.

    The command line lets no unknown option through, so one that none takes is Python's.
    """
    import inspect

    takers = [other for other in SOURCES if key in inspect.signature(_own_loader(other)).parameters]
    if not takers:
        return f"Data set '{name}' takes no option '{key}'.{nearest(key, known)}"
    return (
        f"Data set '{name}' takes no option --{key.replace('_', '-')}: it is for --dataset "
        f"{', '.join(takers)}."
    )


def known_datasets() -> list[str]:
    """Names of all data sets, followed by the installed plugins."""
    return [*dict.fromkeys([*SOURCES, *plugins.names("datasets")])]


def _is_published(name: str) -> bool:
    from pzsl.datasets.fetching import PUBLICATIONS

    return name in PUBLICATIONS


def _own_images(place: str) -> str:
    """The end of an error message for the name of a folder or a file; empty for other names."""
    if Path(place).is_dir():
        return f" For a folder of your own images: --dataset folder --root {shell_word(place)}."
    if Path(place).is_file():
        return f" For a table of your own images: --table {shell_word(place)}."
    return ""


def _own_loader(name: str) -> Callable[..., Any]:
    if name not in SOURCES:
        hint = _own_images(name) or nearest(name, known_datasets())
        raise UsageError(f"Unknown data set '{name}'.{hint}")
    module, _, function = SOURCES[name].loader.partition(":")
    loader: Callable[..., Any] = getattr(import_module(module), function)
    return loader


__all__ = [
    "SOURCES",
    "SPLITS",
    "UNKNOWN",
    "Annotators",
    "Candidates",
    "Dataset",
    "Source",
    "describe",
    "known_datasets",
    "load_dataset",
]
