"""Class descriptions in addition to, or instead of, templates, in the format of CuPL.

In CuPL (Pratt et al., ICCV 2023) a language model writes sentences about each class; the class's
label embedding is the mean of its sentences' embeddings. The file is a JSON object of lists of
sentences:

    {"fire lily": ["A fire lily is an orange flower with dark spots.", ...], ...}

Classes can have different numbers of sentences, so their mean (unit length) is stored as one more
text embedding per class, named after the file and its hash.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pzsl.datasets import SOURCES
from pzsl.datasets.names import normal_form
from pzsl.datasets.published import clean_name, known_names
from pzsl.encoders.base import Encoder
from pzsl.encoders.prompts import encode_classes, fill, load_templates, templates_file
from pzsl.errors import UsageError, UserError, nearest
from pzsl.files import digest, parse_json, read_text

if TYPE_CHECKING:
    from torch import Tensor

SHOWN = 3
"""Most classes that a message lists."""


@dataclass(frozen=True)
class Prompts:
    """All texts that stand for the classes of a data set.

    Attributes:
        templates: (T,); may be empty if there are descriptions.
        sentences: C tuples, one per class; None without descriptions.
        columns: name of each text embedding of a class: the templates, then `(descriptions: ...)`.
        source: the files they come from, for messages.
    """

    templates: tuple[str, ...]
    sentences: tuple[tuple[str, ...], ...] | None
    columns: tuple[str, ...]
    source: str


def choose_prompts(
    dataset: str,
    classes: Sequence[str],
    templates: Path | None = None,
    descriptions: Path | None = None,
) -> Prompts:
    """Choose the prompts: the user's, or else the data set's, or else the default ones.

    Args:
        dataset: name of the data set.
        classes: (C,) class names.
        templates: the user's file of templates, see `load_templates`.
        descriptions: the user's file of descriptions; used alone, or with `templates` if given.

    Raises:
        UserError: a file is missing or invalid.
    """
    if descriptions is None:
        chosen = load_templates(dataset, templates)
        return Prompts(chosen, None, chosen, str(templates_file(dataset, templates)))
    file = Path(descriptions)
    sentences = load_descriptions(file, classes)
    title = f"(descriptions: {file.name}, {digest(file.read_bytes())[:12]})"
    chosen = load_templates(dataset, templates) if templates else ()
    source = ", ".join(str(path) for path in (templates, file) if path)
    return Prompts(chosen, sentences, (*chosen, title), source)


def load_descriptions(file: Path, classes: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Read the sentences of each class, in the order of the classes.

    Classes can have their names in prompts or their publisher's names, in any spelling that reads
    alike.

    Raises:
        UserError: the file isn't a JSON object of lists of sentences, or a class in it is unknown,
            duplicate or missing.
    """
    row = {normal_form(name): i for i, name in enumerate(classes)}
    sentences: dict[int, tuple[str, ...]] = {}
    unknown = []
    for name, texts in _read(file).items():
        place = row.get(normal_form(name), row.get(normal_form(clean_name(name))))
        if place is None:
            unknown.append(name)
        elif place in sentences:
            raise UserError(f"Descriptions '{file}': '{classes[place]}' is described twice.")
        else:
            sentences[place] = _sentences(file, name, texts)
    missing = [name for i, name in enumerate(classes) if i not in sentences]
    for names, fault in ((unknown, "are no classes of this data set"), (missing, "are missing")):
        if names:
            remaining = ", ..." if len(names) > SHOWN else ""
            raise UserError(
                f"Descriptions '{file}': {len(names)} of the names {fault}: "
                f"{', '.join(names[:SHOWN])}{remaining}. Each of the {len(classes)} classes needs "
                "its sentences."
            )
    return tuple(sentences[i] for i in range(len(classes)))


def encode_prompts(encoder: Encoder, classes: Sequence[str], prompts: Prompts) -> Tensor:
    """Text embeddings of each class, (C, len(columns), D) float32 unit vectors."""
    import torch

    parts = []
    if prompts.templates:
        parts.append(encode_classes(encoder, classes, prompts.templates))
    if prompts.sentences:
        texts = [text for sentences in prompts.sentences for text in sentences]
        vectors = encode_classes(encoder, texts, ["{}"])[:, 0]
        counts = [len(sentences) for sentences in prompts.sentences]
        means = torch.stack([part.mean(dim=0) for part in torch.split(vectors, counts)])
        parts.append(torch.nn.functional.normalize(means, dim=-1)[:, None])
    return torch.cat(parts, dim=1)


def _read(file: Path) -> dict[str, Any]:
    try:
        content = parse_json(read_text(file))
    except OSError as error:
        raise UserError(f"Descriptions '{file}' can't be read: {error.strerror}.") from None
    except ValueError as error:
        raise UserError(f"Descriptions '{file}' are not JSON: {error}.") from None
    if not isinstance(content, dict):
        raise UserError(
            f"Descriptions '{file}' should be a JSON object: class name -> list of sentences."
        )
    return content


def _sentences(file: Path, name: str, texts: Any) -> tuple[str, ...]:
    if not isinstance(texts, list) or not all(isinstance(t, str) and t.strip() for t in texts):
        raise UserError(f"Descriptions '{file}': '{name}' should have a list of sentences.")
    if not texts:
        raise UserError(f"Descriptions '{file}': '{name}' has no sentence: give it at least one.")
    return tuple(" ".join(text.split()) for text in texts)


def show_prompts(
    dataset: str, templates: Path | None = None, descriptions: Path | None = None
) -> dict[str, Any]:
    """Show the prompts of a data set, without needing its files.

    Args:
        dataset: a known data set.
        templates: see `choose_prompts`.
        descriptions: see `choose_prompts`; checked against the class names if these are known.

    Returns:
        `dataset, source, templates` and `examples`, a few prompts of known classes.

    Raises:
        UsageError: unknown data set.
        UserError: a file is missing or invalid.
    """
    if dataset not in SOURCES:
        raise UsageError(f"Unknown data set '{dataset}'.{nearest(dataset, list(SOURCES))}")
    names = known_names(dataset)
    whole = dataset in ("shapes", "flo")
    described = list(_read(Path(descriptions))) if descriptions and not whole else names
    prompts = choose_prompts(dataset, described, templates, descriptions)
    few = [int(i * len(names) / SHOWN) for i in range(min(SHOWN, len(names)))]
    examples = [fill(template, names[i]) for i in few for template in prompts.templates]
    if prompts.sentences:
        examples += [text for sentences in prompts.sentences[:SHOWN] for text in sentences[:1]]
    return {
        "dataset": dataset,
        "source": prompts.source,
        "templates": list(prompts.columns),
        "examples": examples,
    }
