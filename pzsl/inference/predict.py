"""Classes of new images, also of classes that are only named now."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pzsl.datasets.names import normal_form, tidy
from pzsl.datasets.reading import open_image
from pzsl.device import cores, default_batch
from pzsl.encoders import Encoder
from pzsl.errors import UsageError, UserError
from pzsl.exchange.vectors import as_unit
from pzsl.extraction.memory import Halving
from pzsl.extraction.pipeline import Block, encode_blocks
from pzsl.files import digest, sha256_of
from pzsl.inference.answer_file import AnswerFile
from pzsl.inference.answers import Answer, answers
from pzsl.inference.encoder import embed_names, encoder_of
from pzsl.inference.label_table import check_names, check_out
from pzsl.inference.restore import Record, Trained, class_names, read_record, restore
from pzsl.inference.sources import Source, find_images
from pzsl.progress import progress, say
from pzsl.store import Cache, load_cache

VECTORS = 1024
"""Features that are scored at a time."""


def predict(
    run: str | Path,
    images: Sequence[str | Path],
    *,
    classes: Sequence[str] = (),
    top: int = 5,
    out: str | Path | None = None,
    root: str | Path | None = None,
    cache: str | Path | None = None,
    model: str | None = None,
    pretrained: str | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    workers: int | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Name the classes of images with a trained run and its frozen encoder.

    Args:
        run: folder of a finished run.
        images: image files, folders that are searched for images at any depth, and tables with a
            column of paths; or one `.npy` file (N, D) of features that are there already.
        classes: names to add to the run's classes; nothing need be known of them but the name.
        top: how many classes are named for each image.
        out: a table of all answers, `.csv`, `.parquet`, `.json` or `.jsonl`; written as they come
            into `OUT.partial`, and gone on with where that was cut off.
        root: folder that the paths of tables start from; by default that of each table.
        cache: the run's cache, where it has moved.
        model: the encoder, where the cache was imported and doesn't tell.
        pretrained: the encoder's weights: a tag, or a checkpoint file that has moved.
        device: of the encoder.
        batch_size, workers: as of `extract`.
        overwrite: replace a table that is there.

    Returns:
        `classes` (how many were in question), `answered` (images), `resumed` (answers that were
        there before), `images_per_second` (of those encoded now, else None), `failed`: `{path,
        reason}` of those that can't be read, and `images`: one `{path, classes: [{name, score,
        probability, seen}]}` for each, the likeliest first; none where they are in `out`. A score
        is that of the method, less gamma for seen classes; probabilities are its softmax.

    Raises:
        UserError: no such run or image, or the encoder isn't the one that made the cache.
    """
    if top < 1:
        raise UsageError(f"--top should be at least 1, not {top}.")
    if out is not None:
        check_out(Path(out), overwrite)
    source = find_images(images, root)
    record = read_record(run, cache)
    features = load_cache(record.cache, check=False)
    names = _new_names(features, classes)
    if out is not None:
        check_names(Path(out), (*class_names(features), *names))
    encoder = None
    if source.vectors is None or names:
        encoder = encoder_of(features, model, pretrained, device)
    text = embed_names(record, features, encoder, names) if encoder and names else None
    trained = restore(record, names, text)
    blocks = _blocks(source, features, encoder, batch_size, workers)
    if out is None:
        found: list[Answer] = []
        rate = _answer(trained, source, top, blocks(_rows(source)), 0, found.extend)
        failed = [answer.plain() for answer in found if answer.failed]
        listed = [answer.plain() for answer in found if not answer.failed]
        return _result(trained, len(listed), 0, rate, failed, listed)
    asked = _question(record, trained, source, top)
    with AnswerFile(Path(out), asked, not trained.method.transductive) as file:
        start = file.done
        rate = _answer(trained, source, top, blocks(_rows(source)[start:]), start, file.write)
        file.finish()
        good = len(source.names) - len(file.failed)
        return {**_result(trained, good, start, rate, file.failed, []), "out": str(out)}


def _result(
    trained: Trained,
    answered: int,
    resumed: int,
    rate: float | None,
    failed: list[dict[str, Any]],
    listed: list[dict[str, Any]],
) -> dict[str, Any]:
    return {
        "classes": len(trained.names),
        "answered": answered,
        "resumed": resumed,
        "images_per_second": rate,
        "images": listed,
        "failed": failed,
    }


def _rows(source: Source) -> NDArray[np.int64]:
    return np.arange(len(source.names), dtype=np.int64)


def _question(record: Record, trained: Trained, source: Source, top: int) -> str:
    """A hash of all that answers depend on."""
    weights = sha256_of(record.folder / "model.safetensors")
    return digest(
        json.dumps(record.config.as_dict()), weights, *trained.names, str(top), source.digest
    )


Blocks = Callable[[NDArray[np.int64]], Generator[Block]]


def _blocks(
    source: Source,
    cache: Cache,
    encoder: Encoder | None,
    batch_size: int | None,
    workers: int | None,
) -> Blocks:
    """What gives the embeddings of some rows, block by block, in stage one's pipeline."""
    if source.vectors is not None or encoder is None:
        return lambda rows: _given(source, cache, rows)
    size = batch_size or default_batch(encoder.device)
    if size < 1:
        raise UsageError(f"--batch-size should be at least 1, not {size}.")
    threads = cores() if workers is None else max(1, workers)
    identity = encoder.identity
    say(
        f"Model {identity.model}, weights {identity.pretrained} ({identity.weights_hash[:12]}), "
        f"{identity.precision} on {encoder.device}, batches of {size}, {threads} threads."
    )

    def load(file: str) -> Tensor:
        return encoder.preprocess(open_image(Path(file)))

    return lambda rows: encode_blocks(
        load,
        Halving(encoder.encode_images, size),
        source.files,
        rows,
        size,
        threads,
        lanes=None if encoder.device.type == "cpu" else 1,
    )


def _given(source: Source, cache: Cache, rows: NDArray[np.int64]) -> Generator[Block]:
    """Features that are there already, as blocks."""
    vectors, dim = source.vectors, cache.images.shape[1]
    assert vectors is not None
    if vectors.shape[1] != dim:
        raise UserError(
            f"The features have {vectors.shape[1]} dimensions, those of {cache.path} have {dim}: "
            "give features of the encoder that made it."
        )
    for start in range(0, len(rows), VECTORS):
        some = rows[start : start + VECTORS]
        yield Block(some, as_unit(vectors[some]), (), 0.0, 0.0)


def _answer(
    trained: Trained,
    source: Source,
    top: int,
    blocks: Generator[Block],
    done: int,
    write: Callable[[list[Answer]], None],
) -> float | None:
    """Answer block by block; returns images per second."""
    total, before, clock = len(source.names), done, time.perf_counter()
    with closing(blocks), progress(total, "images", done) as bar:
        found: Iterable[Block] = blocks
        if trained.method.transductive:
            found = _looked_at(trained, blocks)
        try:
            for block in found:
                write(_answers_of(trained, source, top, block))
                done += len(block.rows) + len(block.failures)
                bar.update(len(block.rows) + len(block.failures))
        except KeyboardInterrupt:
            say(f"Stopped after {done:,} of {total:,} images.")
            raise
    seconds = time.perf_counter() - clock
    return round((done - before) / seconds, 1) if done > before else None


def _looked_at(trained: Trained, blocks: Iterable[Block]) -> list[Block]:
    """All blocks, once the method has looked at all their images together."""
    held = list(blocks)
    images = [torch.from_numpy(block.features) for block in held if len(block.rows)]
    with torch.no_grad():
        trained.method.observe_queries(lambda: images)
    return held


def _answers_of(trained: Trained, source: Source, top: int, block: Block) -> list[Answer]:
    """The answers of a block, in the order of its rows."""
    of_row = {
        failure.row: Answer(source.names[failure.row], [], failure.reason)
        for failure in block.failures
    }
    if len(block.rows):
        names = [source.names[row] for row in block.rows]
        found = answers(trained, names, torch.from_numpy(block.features), top)
        of_row |= dict(zip(block.rows.tolist(), found, strict=True))
    return [of_row[row] for row in sorted(of_row)]


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
