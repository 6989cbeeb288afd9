"""Prompt templates as data files, and class names put through them into an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pzsl.encoders.base import Encoder
from pzsl.errors import UserError
from pzsl.files import read_text
from pzsl.progress import progress, say

if TYPE_CHECKING:
    from torch import Tensor

FOLDER = Path(__file__).parent / "templates"
HOLE = "{}"
BATCH = 256
"""Texts that are encoded at a time."""


def templates_file(dataset: str, file: Path | None = None) -> Path:
    """Where a data set's templates come from: the user's file, else its own, else the default."""
    dataset_file = FOLDER / f"{dataset}.txt"
    return (
        Path(file) if file else dataset_file if dataset_file.is_file() else FOLDER / "default.txt"
    )


def load_templates(dataset: str, file: Path | None = None) -> tuple[str, ...]:
    """Prompt templates: the user's file, else the data set's, else the default ones.

    Args:
        dataset: name of the data set; its templates are `templates/<name>.txt`, if it has some.
        file: the user's own, one template per line, each with one `{}` for the class name.

    Raises:
        UserError: the file can't be read, is empty, or a line hasn't exactly one `{}`.
    """
    file = templates_file(dataset, file)
    try:
        lines = read_text(file, "utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UserError(f"Templates '{file}' can't be read: {reason}.") from None
    templates = []
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line:
            continue
        if line.count(HOLE) != 1 or set("{}") & set(line.replace(HOLE, "")):
            raise UserError(
                f"Templates '{file}', line {number}: '{line}' should hold exactly one {HOLE}, "
                "where the class name goes, and no other brace."
            )
        templates.append(line)
    if not templates:
        raise UserError(f"Templates '{file}' hold no line: give at least 'a photo of a {HOLE}.'")
    return tuple(templates)


def fill(template: str, name: str) -> str:
    """The prompt of a class: the template with the class name in its hole."""
    return template.replace(HOLE, name)


def encode_classes(encoder: Encoder, classes: Sequence[str], templates: Sequence[str]) -> Tensor:
    """Text embedding of each class under each template.

    Args:
        encoder: any encoder; what it has to say about the prompts goes to stderr.
        classes: C class names.
        templates: T templates.

    Returns:
        (C, T, D) float32 unit vectors; a class's label embedding is their mean, renormalised.
    """
    import torch

    prompts = [fill(template, name) for name in classes for template in templates]
    for line in encoder.check_texts(prompts):
        say(line)
    parts = []
    with progress(len(prompts), "prompts") as bar:
        for start in range(0, len(prompts), BATCH):
            parts.append(encoder.encode_texts(prompts[start : start + BATCH]))
            bar.update(len(parts[-1]))
    return torch.cat(parts).view(len(classes), len(templates), -1)
