"""The arrays of a `.npz` file: names, shapes and types."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pzsl.errors import UserError

Arrays = dict[str, NDArray[Any]]
SHAPES = {
    "image_features": "ND",
    "labels": "N",
    "class_names": "C",
    "text_features": "CD",
    "unseen": "C",
    "split": "N",
    "model": "",
    "pretrained": "",
}
"""The required arrays, each with one letter per dimension of its shape."""
OPTIONAL = {
    "paths": "N",
    "templates": "T",
    "attributes": "CA",
    "views": "NKD",
    "candidate_offsets": "P",
    "candidate_labels": "M",
    "dataset": "",
    "split_hash": "",
    "split_check": "",
    "weights_hash": "",
    "precision": "",
    "preprocessing": "",
    "origin": "",
    "annotation": "",
    "augmentation": "",
    "logit_scale": "",
}
"""The optional arrays; with `templates`, `text_features` are (C, T, D)."""
KINDS = {
    "image_features": ("f", "floating-point numbers"),
    "text_features": ("f", "floating-point numbers"),
    "attributes": ("fiu", "numbers"),
    "views": ("f", "floating-point numbers"),
    "logit_scale": ("fiu", "a number"),
    "labels": ("iu", "whole numbers"),
    "candidate_offsets": ("iu", "whole numbers"),
    "candidate_labels": ("iu", "whole numbers"),
    "unseen": ("b", "bool"),
}
"""Array -> NumPy's letters of the allowed types, and their name; all others are text."""


def check_arrays(source: Path, arrays: Arrays) -> None:
    """Check names, shapes and types of a file's arrays.

    Raises:
        UserError: an array is missing or unknown, or has another shape or type.
    """
    shapes = SHAPES | OPTIONAL
    if "templates" in arrays:
        shapes["text_features"] = "CTD"
    _check_names(source, arrays, shapes)
    sizes: dict[str, int] = {}
    for name in [name for name in shapes if name in arrays]:
        array, letters = arrays[name], shapes[name]
        expected = tuple(sizes.get(letter, letter) for letter in letters)
        if array.ndim != len(letters) or any(
            sizes.setdefault(letter, size) != size
            for letter, size in zip(letters, array.shape, strict=True)
        ):
            by_template = name == "text_features" and (array.ndim, len(letters)) == (3, 2)
            raise UserError(
                f"{source}: '{name}' should have shape {_shape(expected)}, but has {array.shape}"
                + (": add 'templates', the text of each of its prompts." if by_template else ".")
            )
        kinds, words = KINDS.get(name, ("U", "text"))
        if array.dtype.kind not in kinds:
            raise UserError(f"{source}: '{name}' should hold {words}, but is {array.dtype}.")


def _check_names(source: Path, arrays: Arrays, shapes: Mapping[str, str]) -> None:
    missing = [f"'{name}' {_shape(SHAPES[name])}" for name in SHAPES if name not in arrays]
    if missing:
        raise UserError(
            f"{source}: it lacks {', '.join(missing)}; it has "
            f"{', '.join(f'{name} {array.shape}' for name, array in arrays.items())}."
        )
    unknown = [f"'{name}' {array.shape}" for name, array in arrays.items() if name not in shapes]
    if unknown:
        raise UserError(
            f"{source}: unknown arrays {', '.join(unknown)}: leave them out; known: "
            f"{', '.join(f'{name} {_shape(letters)}' for name, letters in shapes.items())}."
        )


def _shape(sizes: Any) -> str:
    return f"({', '.join(map(str, sizes))}{',' if len(sizes) == 1 else ''})"
