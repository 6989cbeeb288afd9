"""Classes of new images, also of classes that are only named now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pzsl import plugins
from pzsl.datasets.names import normal_form, tidy
from pzsl.datasets.own import SUFFIXES
from pzsl.datasets.reading import open_image
from pzsl.encoders import Encoder, encode_classes, load_encoder
from pzsl.errors import UsageError, UserError
from pzsl.inference.restore import Record, Trained, class_names, read_record, restore
from pzsl.progress import progress, say
from pzsl.store import Cache, load_cache

BATCH = 16


def predict(
    run: str | Path,
    images: Sequence[str | Path],
    *,
    classes: Sequence[str] = (),
    top: int = 5,
    cache: str | Path | None = None,
    pretrained: str | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Name the classes of images with a trained run and its frozen encoder.

    Args:
        run: folder of a finished run.
        images: files, or folders that are searched for images at any depth.
        classes: names to add to the run's classes; nothing need be known of them but the name.
        top: how many classes are named for each image.
        cache: the run's cache, where it has moved.
        pretrained: the encoder's weights: a checkpoint file that has moved.
        device: of the encoder.

    Returns:
        `classes` (how many were in question), `images`: one `{path, classes: [{name, score,
        probability, seen}]}` for each, the likeliest first, and `failed`: `{path, reason}`. A score
        is that of the method, less gamma for seen classes; probabilities are its softmax.

    Raises:
        UserError: no such run or image, or the encoder isn't the one that made the cache.
    """
    if top < 1:
        raise UsageError(f"--top should be at least 1, not {top}.")
    files = list(_files(images))
    record = read_record(run, cache)
    features = load_cache(record.cache, check=False)
    encoder = _encoder(features, pretrained, device)
    names = _new_names(features, classes)
    trained = restore(record, names, _embeddings(record, features, encoder, names))
    encoded: list[tuple[list[Path], Tensor]] = []
    failed: list[dict[str, str]] = []
    with progress(len(files), "images") as bar:
        for start in range(0, len(files), BATCH):
            batch = files[start : start + BATCH]
            read, pixels = _read(encoder, batch, failed)
            if read:
                encoded.append((read, encoder.encode_images(torch.stack(pixels))))
            bar.update(len(batch))
    with torch.no_grad():
        trained.method.observe_queries(lambda: [embeddings for _, embeddings in encoded])
    found = [answer for block in encoded for answer in _answers(trained, *block, top)]
    return {"classes": len(trained.names), "images": found, "failed": failed}


def _answers(trained: Trained, paths: list[Path], images: Tensor, top: int) -> list[dict[str, Any]]:
    """The likeliest classes of images (n, D)."""
    with torch.no_grad():
        scores = trained.method.scores(images)
    scores[:, : trained.seen] -= trained.gamma
    shares = scores.softmax(dim=1)
    best = scores.topk(min(top, scores.shape[1]), dim=1).indices
    return [
        {
            "path": str(path),
            "classes": [
                {
                    "name": trained.names[label],
                    "score": round(float(scores[row, label]), 4),
                    "probability": round(float(shares[row, label]), 4),
                    "seen": label < trained.seen,
                }
                for label in best[row].tolist()
            ],
        }
        for row, path in enumerate(paths)
    ]


def _read(
    encoder: Encoder, files: Sequence[Path], failed: list[dict[str, str]]
) -> tuple[list[Path], list[Tensor]]:
    """Open and prepare images; those that can't be read are noted in `failed`."""
    read, pixels = [], []
    for file in files:
        try:
            pixels.append(encoder.preprocess(open_image(file)))
            read.append(file)
        except (OSError, ValueError, SyntaxError) as error:
            failed.append({"path": str(file), "reason": str(error) or type(error).__name__})
    return read, pixels


def _files(images: Sequence[str | Path]) -> Iterator[Path]:
    if not images:
        raise UsageError("Name at least one image, or a folder of some.")
    for path in map(Path, images):
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
            if not inside:
                raise UserError(f"{path} holds no image.")
            yield from inside
        elif path.is_file():
            yield path
        else:
            raise UserError(f"No image '{path}'.")


def _encoder(cache: Cache, pretrained: str | None, device: str) -> Encoder:
    """The encoder that made a cache."""
    model, made_of = str(cache.provenance["model"]), str(cache.provenance["pretrained"])
    weights = pretrained or (None if made_of in ("", "built-in") else made_of)
    plugin = cache.provenance["preprocessing"].get("plugin")
    if plugin:
        plugins.enrol({f"encoders {model}": plugin}, trusted_only=True)
    try:
        encoder = load_encoder(model, weights, device)
    except UserError as error:
        raise UserError(
            f"The encoder of {cache.path}, {model} with weights '{made_of}', can't be loaded: "
            f"{error} A checkpoint file can be named with --pretrained."
        ) from None
    known, found = str(cache.provenance["weights_hash"]), encoder.identity.weights_hash
    if not known:
        say(f"{cache.path} doesn't tell its encoder's weights: '{weights}' is taken on trust.")
    elif known != found:
        raise UserError(
            f"{cache.path} was made with other weights ({known[:12]}) than these of {model} "
            f"({found[:12]}): name theirs with --pretrained."
        )
    return encoder


def _new_names(cache: Cache, classes: Sequence[str]) -> tuple[str, ...]:
    """Class names that are new, each once; of those that the run knows already it says so."""
    known = {normal_form(name) for name in class_names(cache)}
    new: dict[str, str] = {}
    for name in map(tidy, classes):
        if not name:
            raise UsageError("--class should be a name, not nothing.")
        if normal_form(name) in known:
            say(f"'{name}' is a class of the run already.")
        else:
            new.setdefault(normal_form(name), name)
    return tuple(new.values())


def _embeddings(
    record: Record, cache: Cache, encoder: Encoder, names: tuple[str, ...]
) -> Tensor | None:
    """Label embeddings of new classes, by the cache's templates."""
    if not names:
        return None
    templates = [template for template in cache.templates if template.count("{}") == 1]
    if record.config.labels != "text" or not templates:
        raise UserError(
            f"{record.folder} knows its classes by more than prompts: --class can't add to them."
        )
    vectors = encode_classes(encoder, names, templates).mean(dim=1)
    return torch.nn.functional.normalize(vectors, dim=-1)
