"""Read `details.json`, a run's data for figures: untrusted JSON in, checked values out."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pzsl.errors import UserError
from pzsl.files import parse_json
from pzsl.progress import printable
from pzsl.record_hashes import read_object
from pzsl.reports.records import Run

T = TypeVar("T")
Points = tuple[tuple[float, float], ...]


class LabelMap(NamedTuple):
    """Label embeddings projected to a plane: class ids, and positions before and after training."""

    ids: tuple[int, ...]
    before: Points
    after: Points


class WatchedImage(NamedTuple):
    """A training image: its candidates' class ids, and their weights after each epoch and finally.

    `truth` is a class id, None if unknown; `path` is the image's id in the cache.
    """

    path: str
    truth: int | None
    candidates: tuple[int, ...]
    weights: tuple[tuple[float, ...], ...]


class Details(NamedTuple):
    """The details that a run recorded beside its metrics.

    Attributes:
        names, seen: (C,) of each class.
        train, test, hits: (C,) training images, test images, and correctly classified test images;
            the latter two are () if nothing was tested.
        confusions: true class, predicted class, number of test images.
        curve: (U, S) in percent along the seen-unseen curve.
        labels: label embeddings in a plane; None if the method doesn't learn any.
        images: a few training images.
    """

    names: tuple[str, ...]
    seen: tuple[bool, ...]
    train: tuple[int, ...]
    test: tuple[int, ...]
    hits: tuple[int, ...]
    confusions: tuple[tuple[int, int, int], ...]
    curve: Points
    labels: LabelMap | None
    images: tuple[WatchedImage, ...]


def read_details(run: Run, warnings: list[str]) -> Details | None:
    """Read the details of a run; None if it has none, or (with a warning) if they are damaged."""
    return _read(run, warnings, lambda c, folder: _details(c, folder / "history.jsonl"))


def read_curve(run: Run, warnings: list[str]) -> Points | None:
    """Read only the seen-unseen curve of a run, (U, S) in percent; see `read_details`."""
    return _read(run, warnings, lambda content, _: _curve(content))


def _read(run: Run, warnings: list[str], check: Callable[[dict[str, Any], Path], T]) -> T | None:
    if run.folder is None or not (run.folder / "details.json").exists():
        return None
    try:
        return check(read_object(run.folder / "details.json"), run.folder)
    except (UserError, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        reason = printable(" ".join(str(error).split()))[:200]
        line = f"No details of {run.path}: details.json is damaged ({reason})."
        warnings += [] if line in warnings else [line]
        return None


def _curve(content: dict[str, Any]) -> Points:
    curve = content.get("curve") or {"S": [], "U": []}
    return tuple(zip(_tuple(curve["U"], _number), _tuple(curve["S"], _number), strict=True))


def _details(content: dict[str, Any], history: Path) -> Details:
    classes = content["classes"]
    names = tuple(printable(_text(name)) for name in classes["name"])
    count = len(names)

    def counts(key: str) -> tuple[int, ...]:
        numbers = _tuple(classes.get(key, []), lambda value: _whole(value, 2**53))
        return _sized(numbers, count) if key in classes else ()

    return Details(
        names,
        _sized(_tuple(classes["seen"], bool), count),
        counts("train"),
        counts("test"),
        counts("hits"),
        tuple(
            (_whole(true, count), _whole(predicted, count), _whole(images, 2**53))
            for true, predicted, images in content.get("confusions", [])
        ),
        _curve(content),
        _label_map(content.get("map"), count),
        _images(content.get("images", []), history, count),
    )


def _label_map(content: Any, count: int) -> LabelMap | None:
    if content is None:
        return None
    ids = _tuple(content["class"], lambda value: _whole(value, count))
    points = (
        tuple((_number(x), _number(y)) for x, y in _sized(content[key], len(ids)))
        for key in ("before", "after")
    )
    return LabelMap(ids, *points)


def _images(content: Any, history: Path, count: int) -> tuple[WatchedImage, ...]:
    epochs = _weights_over_epochs(history)
    watched = []
    for number, image in enumerate(content):
        candidates = _tuple(image["candidates"], lambda value: _whole(value, count))
        steps = [epoch[number] for epoch in epochs if len(epoch) == len(content)]
        weights = tuple(
            _sized(_tuple(step, _number), len(candidates)) for step in [*steps, image["weights"]]
        )
        truth = None if image["truth"] is None else _whole(image["truth"], count)
        watched.append(WatchedImage(_text(image["path"]), truth, candidates, weights))
    return tuple(watched)


def _weights_over_epochs(history: Path) -> list[list[Any]]:
    if not history.exists():
        return []
    lines = history.read_text(encoding="utf-8").splitlines()
    return [epoch["weights"] for epoch in map(parse_json, lines) if "weights" in epoch]


def _tuple(values: Any, check: Callable[[Any], T]) -> tuple[T, ...]:
    return tuple(check(value) for value in values)


def _sized(values: Any, count: int) -> Any:
    if len(values) != count:
        raise ValueError(f"{len(values)} values where {count} belong")
    return values


def _whole(value: Any, below: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < below:
        raise ValueError(f"{value!r} is not a whole number from 0 to {below - 1}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a number")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value
