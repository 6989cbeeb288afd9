"""Load prompt templates, fill in class names, and encode the prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pzsl.encoders.base import Encoder
from pzsl.errors import UserError
from pzsl.files import read_lines
from pzsl.progress import progress, say

if TYPE_CHECKING:
    from torch import Tensor

FOLDER = Path(__file__).parent / "templates"
HOLE = "{}"
QUOTES = "'\""
BATCH = 256
"""Texts per batch."""


def templates_file(dataset: str, file: Path | None = None) -> Path:
    """The file of a data set's templates: the user's, or else its own, or else the default."""
    dataset_file = FOLDER / f"{dataset}.txt"
    return (
        Path(file) if file else dataset_file if dataset_file.is_file() else FOLDER / "default.txt"
    )


def load_templates(dataset: str, file: Path | None = None) -> tuple[str, ...]:
    """Load prompt templates: the user's, or else the data set's, or else the default ones.

    Args:
        dataset: name of the data set; its own templates, if any, are `templates/<name>.txt`.
        file: the user's templates, one per line, each with one `{}` for the class name.

    Raises:
        UserError: the file can't be read, is empty, or a line hasn't exactly one `{}` or is quoted.
    """
    file = templates_file(dataset, file)
    lines = read_lines(file, "Templates")
    templates, line_of = [], dict[str, int]()
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line:
            continue
        if line.count(HOLE) != 1 or set("{}") & set(line.replace(HOLE, "")):
            raise UserError(
                f"Templates '{file}', line {number}: '{line}' should hold exactly one {HOLE}, "
                "where the class name goes, and no other brace."
            )
        if line[0] in QUOTES and line.rstrip(",")[-1] == line[0]:
            raise UserError(
                f"Templates '{file}', line {number}: {line} has quotes, which prompts would have, "
                "too: write the template alone."
            )
        first = line_of.setdefault(" ".join(line.split()), number)
        if first == number:
            templates.append(line)
        else:
            say(f"Templates '{file}', line {number} is line {first} again: it counts once.")
    if not templates:
        raise UserError(f"Templates '{file}' hold no line: give at least 'a photo of a {HOLE}.'")
    return tuple(templates)


def fill(template: str, name: str) -> str:
    """The prompt of a class: the template with the class name for `{}`."""
    return template.replace(HOLE, name)


def encode_classes(encoder: Encoder, classes: Sequence[str], templates: Sequence[str]) -> Tensor:
    """Text embedding of each class under each template.

    Args:
        encoder: any encoder; its warnings about the prompts are printed on stderr.
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
