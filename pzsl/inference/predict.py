"""Classes of new images, also of classes that are only named now."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pzsl.datasets.names import normal_form, tidy
from pzsl.errors import UsageError, UserError
from pzsl.evaluation import level_of
from pzsl.extraction.pipeline import Block
from pzsl.files import digest, unfit_text
from pzsl.inference.answer_file import AnswerFile
from pzsl.inference.answers import Answer, Wanted, answers
from pzsl.inference.embedding_blocks import embedding_blocks
from pzsl.inference.encoder import embed_names, encoder_of
from pzsl.inference.label_table import check_names, check_out
from pzsl.inference.model import Model, open_model
from pzsl.inference.restore import Scorer
from pzsl.inference.sources import Source, find_images
from pzsl.progress import printable, progress, say
from pzsl.requests import check_counts


def predict(
    run: str | Path,
    images: Sequence[str | Path],
    *,
    classes: Sequence[str] = (),
    top: int = 5,
    error_rate: float | None = None,
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
        run: folder of a finished run, or one that `pack` wrote, by path or `hf-hub:OWNER/NAME`.
        images: image files, folders that are searched for images at any depth, and tables with a
            column of paths; or one `.npy` file (N, D) of features that are there already.
        classes: names to add to the run's classes; nothing need be known of them but the name.
        top: how many classes are named for each image.
        error_rate: 0 to below 1; each image gets a set of likely classes which lacks the true one
            for so many images, and is unsure where that holds several.
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
        is that of the method, less gamma for seen classes; probabilities are its softmax at the
        temperature that fits held-out images. With an error rate each also has `unsure` and
        `likely`. `calibration` tells `temperature`, `held_out` images, `error_rate`, `threshold`
        (least probability in a set) and `coverage` (percent of held-out images).

    Raises:
        UserError: no such run or image, or the encoder isn't the one that made the cache.
    """
    check_counts(top=top, batch_size=batch_size, workers=workers)
    if error_rate is not None and not 0 <= error_rate < 1:
        raise UsageError(f"--error-rate is a share from 0 to below 1, not {error_rate}.")
    if out is not None:
        check_out(Path(out), overwrite)
    source = find_images(images, root)
    opened = open_model(run, cache)
    names = _new_names(opened, classes)
    if out is not None:
        check_names(Path(out), (*opened.classes, *names))
    encoder = None
    if source.vectors is None or names:
        encoder = encoder_of(opened, model, pretrained, device)
    text = embed_names(opened, encoder, names) if encoder and names else None
    scorer = opened.scorer(names, text)
    calibration = _told(opened, error_rate)
    wanted = Wanted(top, calibration["threshold"])
    blocks = embedding_blocks(source, opened.dim, encoder, batch_size, workers)
    if out is None:
        found: list[Answer] = []
        rate = _answer(scorer, source, wanted, blocks(_rows(source)), 0, found.extend)
        failed = [answer.plain() for answer in found if answer.failed]
        listed = [answer.plain() for answer in found if not answer.failed]
        return _result(scorer, calibration, len(listed), 0, rate, failed, listed)
    asked = _question(opened, names, source, wanted)
    with AnswerFile(Path(out), asked, not scorer.method.transductive) as file:
        start = file.done
        rate = _answer(scorer, source, wanted, blocks(_rows(source)[start:]), start, file.write)
        file.finish()
        good = len(source.names) - len(file.failed)
        return {
            **_result(scorer, calibration, good, start, rate, file.failed, []),
            "out": str(out),
        }


def _result(
    scorer: Scorer,
    calibration: dict[str, Any],
    answered: int,
    resumed: int,
    rate: float | None,
    failed: list[dict[str, Any]],
    listed: list[dict[str, Any]],
) -> dict[str, Any]:
    return {
        "classes": len(scorer.names),
        "answered": answered,
        "resumed": resumed,
        "images_per_second": rate,
        "calibration": calibration,
        "images": listed,
        "failed": failed,
    }


def _told(run: Model, error_rate: float | None) -> dict[str, Any]:
    """What is known of the probabilities, and of the sets at an error rate.

    Raises:
        UserError: sets are asked for, and nothing was held out in training.
    """
    found = run.calibration
    if not found.images:
        if error_rate is not None:
            raise UserError(
                f"{run.folder} was trained without held-out images, so --error-rate can't be "
                "kept: train with the method's calibrate=true, or again if it is of an old version."
            )
        say(f"{run.folder} held no images out: probabilities are CLIP's softmax as it is.")
    sets = error_rate is not None
    return {
        "temperature": round(found.temperature, 4),
        "held_out": found.images,
        "error_rate": error_rate,
        "threshold": found.threshold(error_rate) if error_rate is not None else None,
        "coverage": round(100 * found.coverage[level_of(error_rate or 0)], 2) if sets else None,
    }


def _rows(source: Source) -> NDArray[np.int64]:
    return np.arange(len(source.names), dtype=np.int64)


def _question(run: Model, names: tuple[str, ...], source: Source, wanted: Wanted) -> str:
    """A hash of all that answers depend on."""
    return digest(run.identity, *names, repr(wanted), source.digest)


def _answer(
    scorer: Scorer,
    source: Source,
    wanted: Wanted,
    blocks: Generator[Block],
    done: int,
    write: Callable[[list[Answer]], None],
) -> float | None:
    """Answer block by block; returns images per second."""
    total, before, clock = len(source.names), done, time.perf_counter()
    with closing(blocks), progress(total, "images", done) as bar:
        found: Iterable[Block] = blocks
        if scorer.method.transductive:
            found = _looked_at(scorer, blocks)
        try:
            for block in found:
                write(_answers_of(scorer, source, wanted, block))
                done += len(block.rows) + len(block.failures)
                bar.update(len(block.rows) + len(block.failures))
        except KeyboardInterrupt:
            say(f"Stopped after {done:,} of {total:,} images.")
            raise
    seconds = time.perf_counter() - clock
    return round((done - before) / seconds, 1) if done > before else None


def _looked_at(scorer: Scorer, blocks: Iterable[Block]) -> list[Block]:
    """All blocks, once the method has looked at all their images together."""
    held = list(blocks)
    images = [torch.from_numpy(block.features) for block in held if len(block.rows)]
    with torch.no_grad():
        if images:  # none, where not one can be read
            scorer.method.observe_queries(lambda: images)
    return held


def _answers_of(scorer: Scorer, source: Source, wanted: Wanted, block: Block) -> list[Answer]:
    """The answers of a block, in the order of its rows."""
    of_row = {
        failure.row: Answer(source.names[failure.row], [], failed=failure.reason)
        for failure in block.failures
    }
    if len(block.rows):
        names = [source.names[row] for row in block.rows]
        found = answers(scorer, names, torch.from_numpy(block.features), wanted)
        of_row |= dict(zip(block.rows.tolist(), found, strict=True))
    return [of_row[row] for row in sorted(of_row)]


def _new_names(run: Model, classes: Sequence[str]) -> tuple[str, ...]:
    """Class names that are new, each once; of those that the run knows already it says so."""
    known = {normal_form(name) for name in run.classes}
    new: dict[str, str] = {}
    for name in map(tidy, classes):
        if not name:
            raise UsageError("--class should be a name, not nothing.")
        if unfit := unfit_text([name]):
            raise UsageError(f"--class {printable(name)!r} holds {unfit[1]}: type the name anew.")
        if normal_form(name) in known:
            say(f"'{name}' is a class of the run already.")
        else:
            new.setdefault(normal_form(name), name)
    return tuple(new.values())
