"""Classify new images, also into classes that were not known in training."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pzsl.device import resolve_device, usual_torch
from pzsl.encoders import Encoder
from pzsl.errors import UsageError, UserError
from pzsl.evaluation import level_of, noise_doubt
from pzsl.extraction.pipeline import Block
from pzsl.files import digest
from pzsl.inference.answer_file import AnswerFile
from pzsl.inference.answers import Answer, AnswerOptions, answers
from pzsl.inference.embedding_blocks import Blocks, embedding_blocks
from pzsl.inference.encoder import check_texts, embed_names, encoder_of
from pzsl.inference.feature_check import check_features
from pzsl.inference.label_table import check_names, check_out
from pzsl.inference.model import Model, open_model
from pzsl.inference.new_names import new_names
from pzsl.inference.restore import Scorer
from pzsl.inference.sources import Source, find_images
from pzsl.progress import counted, progress, say
from pzsl.record_hashes import REMEDY
from pzsl.requests import as_list, check_counts, check_output, is_number, say_unused, with_paths


@with_paths
@usual_torch()
def predict(
    run: str | Path,
    images: str | Path | Sequence[str | Path],
    *,
    classes: str | Sequence[str] = (),
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
            column of paths; or one `.npy` file (N, D) of precomputed features.
        classes: names to add to the run's classes; only the name need be known.
        top: how many classes to name for each image.
        error_rate: 0 to below 1; each image gets a set of likely classes, which misses the true
            class for about this share of images; an image is unsure if its set has several, or
            has none but for the likeliest.
        out: a table of all answers, `.csv`, `.parquet`, `.json` or `.jsonl`; answers are first
            written to `OUT.partial`, from which an interrupted call resumes.
        root: folder that the paths of tables are relative to; by default that of each table.
        cache: the run's cache, if it has moved.
        model: the encoder, if the cache was imported and doesn't record it.
        pretrained: the encoder's weights: a tag, or a checkpoint file that has moved.
        device: of the encoder.
        batch_size: images per batch; what fits by default.
        workers: threads that read images; one per processor by default.
        overwrite: replace an existing table.

    Returns:
        `classes` (their number), `answered` (images), `resumed` (images answered by an earlier
        call), `images_per_second` (of the images encoded now, else None), `failed`: `{path,
        reason}` of images that can't be read, and `images`: one `{path, classes: [{name, score,
        probability, seen}]}` per image, the likeliest class first; empty if they are in `out`. A
        score is that of the method, less gamma for seen classes; probabilities are its softmax at
        the temperature that fits held-out images. With an error rate each image also has `unsure`
        and `likely`. `calibration` holds `temperature`, `held_out` images, `error_rate`,
        `threshold` (lowest probability in a set) and `coverage` (percent of held-out images).

    Raises:
        UserError: no such run or image, or the encoder isn't the one that made the cache.
    """
    images, classes = as_list(images), as_list(classes)
    check_counts(top=top, batch_size=batch_size, workers=workers)
    _check_error_rate(error_rate)
    if out is not None:
        check_out(Path(out), overwrite)
        check_output(Path(out), images)
    resolve_device(device)
    source = find_images(images, root)
    if not source.tables:
        say_unused("no table of paths is given", root=root)
    run_model = open_model(run, cache)
    names = new_names(run_model.classes, classes)
    if out is not None:
        check_names(Path(out), (*run_model.classes, *names))
    encoder = None
    if source.vectors is None or names:
        encoder = encoder_of(run_model, model, pretrained, device)
    else:
        say_unused("features (.npy) need no encoder", model=model, pretrained=pretrained)
    scorer = _scorer_of(run_model, encoder, names, bool(model or pretrained))
    calibration = _calibration_of(run_model, scorer, error_rate, len(names))
    options = AnswerOptions(top, calibration["threshold"])
    check_features(run_model, source)
    blocks = embedding_blocks(source, encoder, batch_size, workers)
    if out is None:
        result = _answer_in_memory(scorer, source, options, blocks)
    else:
        question = _question_digest(run_model, names, source, options, encoder)
        result = _answer_in_file(Path(out), question, scorer, source, options, blocks)
    return {"classes": len(scorer.names), "calibration": calibration, **result}


def _check_error_rate(error_rate: float | None) -> None:
    if error_rate is not None and not (is_number(error_rate) and 0 <= error_rate < 1):
        raise UsageError(f"--error-rate is a share from 0 to below 1, not {error_rate}.")


def _scorer_of(run: Model, encoder: Encoder | None, names: tuple[str, ...], named: bool) -> Scorer:
    """The trained method with the added names; an encoder `named` by the user is checked with it.

    Raises:
        UserError: the encoder isn't the one that made the run's label embeddings.
    """
    text = embed_names(run, encoder, names) if encoder and names else None
    scorer = run.scorer(names, text)
    if encoder is not None and named:
        check_texts(run, encoder, scorer.method.problem.seen)
    return scorer


def _answer_in_memory(
    scorer: Scorer, source: Source, options: AnswerOptions, blocks: Blocks
) -> dict[str, Any]:
    """Answer all images; returns the answers themselves."""
    all_answers: list[Answer] = []
    rate = _answer(scorer, source, options, blocks(_rows(source)), 0, all_answers.extend)
    listed = [answer.plain() for answer in all_answers if not answer.failed]
    return {
        "answered": len(listed),
        "resumed": 0,
        "images_per_second": rate,
        "images": listed,
        "failed": [answer.plain() for answer in all_answers if answer.failed],
    }


def _answer_in_file(
    out: Path,
    question: str,
    scorer: Scorer,
    source: Source,
    options: AnswerOptions,
    blocks: Blocks,
) -> dict[str, Any]:
    """Write the answers that a table of the same question still lacks."""
    with AnswerFile(out, question, not scorer.method.transductive) as file:
        start = file.done
        rate = _answer(scorer, source, options, blocks(_rows(source)[start:]), start, file.write)
        file.finish()
    return {
        "answered": len(source.names) - len(file.failed),
        "resumed": start,
        "images_per_second": rate,
        "images": [],
        "failed": file.failed,
        "out": str(out),
    }


def _calibration_of(
    run: Model, scorer: Scorer, error_rate: float | None, added: int
) -> dict[str, Any]:
    """The calibration of the probabilities, and of the sets at an error rate; doubts are said.

    Args:
        run, scorer: with its calibration. error_rate: of the sets, if any.
        added: how many classes are added to those that the calibration knows.

    Raises:
        UserError: an error rate is given, but no image was held out in training.
    """
    calibration = scorer.calibration
    if not calibration.images:
        if error_rate is not None:
            raise UserError(
                f"{run.folder} was trained without held-out images, so --error-rate can't be kept: "
                "train with --set calibrate=true on two seen classes or more, or anew if it is old."
            )
        say(f"{run.folder} held no images out: probabilities are CLIP's uncalibrated softmax.")
    unadjusted = run.calibration.added is None and len(scorer.method.problem.unseen) == added
    if added and unadjusted and scorer.method.options.calibrate:
        say(
            f"{run.folder} is of an older version, without the gamma of added classes: they may be "
            f"answered too rarely; {REMEDY}."
        )
    doubt = noise_doubt(None, annotated=run.noise == "annotated")
    if doubt:
        say(doubt)
    with_sets = error_rate is not None
    if with_sets and added:
        count = counted(added, "added class", "added classes")
        say(f"The sets are calibrated without the {count}: they may miss more than asked for.")
    return {
        "temperature": round(calibration.temperature, 4),
        "held_out": calibration.images,
        "error_rate": error_rate,
        "threshold": calibration.threshold(error_rate) if error_rate is not None else None,
        "coverage": round(100 * calibration.coverage[level_of(error_rate or 0)], 2)
        if with_sets
        else None,
    }


def _rows(source: Source) -> NDArray[np.int64]:
    return np.arange(len(source.names), dtype=np.int64)


def _question_digest(
    run: Model,
    names: tuple[str, ...],
    source: Source,
    options: AnswerOptions,
    encoder: Encoder | None,
) -> str:
    """A hash of everything the answers depend on."""
    # The run of an imported cache may not tell its encoder: then any that fits is taken on trust.
    identity = encoder and encoder.identity
    weights = (identity.weights_hash or identity.pretrained) if identity else ""
    encoded = (identity.model, weights, repr(identity.preprocessing)) if identity else ()
    return digest(run.identity, *names, repr(options), source.digest, *encoded)


def _answer(
    scorer: Scorer,
    source: Source,
    options: AnswerOptions,
    blocks: Generator[Block],
    done: int,
    write: Callable[[list[Answer]], None],
) -> float | None:
    """Answer block by block; returns images per second."""
    total, before, clock = len(source.names), done, time.perf_counter()
    with closing(blocks), progress(total, "images", done) as bar:
        queried_blocks: Iterable[Block] = blocks
        if scorer.method.transductive:
            queried_blocks = _observed(scorer, blocks)
        try:
            for block in queried_blocks:
                write(_answers_of(scorer, source, options, block))
                done += len(block.rows) + len(block.failures)
                bar.update(len(block.rows) + len(block.failures))
        except KeyboardInterrupt:
            say(f"Stopped after {done:,} of {total:,} images.")
            raise
    seconds = time.perf_counter() - clock
    return round((done - before) / seconds, 1) if done > before else None


def _observed(scorer: Scorer, blocks: Iterable[Block]) -> list[Block]:
    """Show a transductive method all images together; returns all blocks."""
    all_blocks = list(blocks)
    images = [torch.from_numpy(block.features) for block in all_blocks if len(block.rows)]
    with torch.no_grad():
        if images:  # none, where not one can be read
            scorer.method.observe_queries(lambda: images)
    return all_blocks


def _answers_of(
    scorer: Scorer, source: Source, options: AnswerOptions, block: Block
) -> list[Answer]:
    """The answers of a block, in the order of its rows."""
    of_row = {
        failure.row: Answer(source.names[failure.row], [], failed=failure.reason)
        for failure in block.failures
    }
    if len(block.rows):
        names = [source.names[row] for row in block.rows]
        block_answers = answers(scorer, names, torch.from_numpy(block.features), options)
        of_row |= dict(zip(block.rows.tolist(), block_answers, strict=True))
    return [of_row[row] for row in sorted(of_row)]
