"""Fill a cache or a shard of one: encode the missing images, block by block."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pzsl.datasets import Dataset
from pzsl.encoders.descriptions import encode_prompts
from pzsl.encoders.image_warnings import say_image_doubts
from pzsl.errors import UserError
from pzsl.extraction.header import header_of
from pzsl.extraction.image_files import image_files
from pzsl.extraction.load_inputs import Job
from pzsl.extraction.views import ImageReader
from pzsl.files import digest
from pzsl.progress import progress, say
from pzsl.store import CacheHeader, CacheWriter, Part, candidates_digest, part_path, shard_rows
from pzsl.store.validation import alike_in_text

if TYPE_CHECKING:
    from pzsl.extraction.pipeline import Block, Report

SHOWN = 3
"""Most unreadable images that a message lists."""


@dataclass(frozen=True)
class Shard:
    """Part `number` (from 1) of `of` parts of a cache."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def path(self, cache: Path) -> Path:
        """The file of this part of a cache."""
        return part_path(cache, self.number, self.of)


@dataclass(frozen=True)
class Outcome:
    """The result of filling a cache or one of its parts.

    Attributes:
        images: number of its images.
        resumed: images that were already encoded.
        report: of the run; if it lists failures that are not skipped, the cache is not finished.
    """

    images: int
    resumed: int
    report: Report


def fill(
    job: Job,
    target: Path,
    shard: Shard | None = None,
    overwrite: bool = False,
    after: Callable[[int], None] | None = None,
) -> Outcome:
    """Encode the images that a cache lacks, and finish it.

    Args:
        job: what to encode, and with which encoder.
        target: the complete cache.
        shard: encode only this part, into a file of its own beside the cache.
        overwrite: start again instead of resuming, and replace a finished cache.
        after: called with the number of images of each written block; nothing is printed then. By
            default a progress bar and messages are shown.

    Raises:
        UserError: an existing cache has other settings, or can't be written; encoded images are
            kept.
    """
    request, data = job.request, job.data
    header = header_of(data, job.encoder.identity, job.prompts.columns, job.augmentation)
    if shard is not None:
        data, header = _restrict_to_shard(job, header, shard)
        target = shard.path(target)
    header = replace(header, files=image_files(data, header.part))
    with CacheWriter(
        target, header, dtype=request.dtype, overwrite=overwrite, views=request.views
    ) as writer:
        _report_existing(writer, len(data.paths), request.on_error, quiet=after is not None)
        if writer.text_pending:
            texts = _texts(job, header)
            if alike := alike_in_text(texts, header.classes):
                say(alike)
            writer.write_text(texts)
        resumed = writer.resumed
        report = _encode(job, data, writer, after)
        if not report.failures or request.on_error == "skip":
            writer.finish(skip=[failure.row for failure in report.failures])
    return Outcome(len(data.paths), resumed, report)


def _restrict_to_shard(job: Job, header: CacheHeader, shard: Shard) -> tuple[Dataset, CacheHeader]:
    """Images and header of a part, from those of the cache; only part 1 gets text embeddings."""
    images, batch_size = len(job.data.paths), job.batch_size
    rows = shard_rows(shard.number, shard.of, images, batch_size)
    data = job.data.subset(np.arange(rows.start, rows.stop, dtype=np.int64))
    columns = job.prompts.columns if shard.number == 1 else ()
    part = Part(
        shard=shard.number,
        of=shard.of,
        start=rows.start,
        stop=rows.stop,
        images=images,
        batch_size=batch_size,
        split_hash=header.split_hash,
        prompts=digest(*job.prompts.columns),
        candidates=candidates_digest(header),
    )
    part_header = header_of(data, job.encoder.identity, columns, job.augmentation)
    return data, replace(part_header, split_hash=header.split_hash, part=part.to_dict())


def _texts(job: Job, header: CacheHeader) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    if not header.templates:
        return np.empty((len(header.classes), 0, header.dim), np.float32)
    vectors = encode_prompts(job.encoder, job.data.classes, job.prompts)
    return np.asarray(vectors.numpy(), np.float32)


def _report_existing(writer: CacheWriter, images: int, on_error: str, quiet: bool) -> None:
    """Say how many images are already encoded.

    Raises:
        UserError: the finished cache lacks unreadable images, which should not be skipped.
    """
    if writer.whole and writer.resumed < images and on_error == "fail":
        raise UserError(
            f"{writer.path} exists already, without {images - writer.resumed} of {images} images "
            "that couldn't be read: replace it with --overwrite, or use it as it is with "
            "--on-error skip."
        )
    if quiet:
        return
    if writer.whole:
        say(f"{writer.path} is already complete, nothing is encoded; --overwrite starts again.")
    elif writer.resumed:
        say(f"Resuming: {writer.resumed} of {images} images are already encoded.")


def _encode(
    job: Job, data: Dataset, writer: CacheWriter, after: Callable[[int], None] | None
) -> Report:
    """Encode the missing rows of a cache."""
    from pzsl.extraction.pipeline import run

    reader = ImageReader(data, job.encoder.preprocess, job.augmentation)
    total, pending, has_views = len(data.paths), writer.pending, job.augmentation is not None
    blocks = _blocks(job, data, reader, pending)
    with closing(blocks), progress(total, "images", total - len(pending)) as bar:
        report_images: Callable[[int], object] = after or bar.update

        def write(rows: NDArray[np.int64], features: NDArray[np.float32]) -> None:
            if has_views:  # an image's own embedding, then those of its views
                writer.write(rows, features[:, 0], features[:, 1:])
            else:
                writer.write(rows, features)

        def report_written(block: Block) -> None:
            report_images(len(block.rows) + len(block.failures))

        try:
            return replace(run(blocks, write, report_written), oddities=reader.oddities.counts)
        except BaseException as error:
            if after is None:  # resuming, the command doesn't look at these images again
                say_image_doubts(reader.oddities.counts)
            if isinstance(error, KeyboardInterrupt):
                kept = f"{total - len(writer.pending)} of {total} images are kept"
                say(f"Stopped; {kept}: run the same command to resume.")
            raise


def _blocks(
    job: Job, data: Dataset, reader: ImageReader, pending: NDArray[np.int64]
) -> Generator[Block, None, None]:
    """Embeddings of the pending rows, and of their views if there are any, block by block."""
    from pzsl.extraction.pipeline import Views, encode_blocks
    from pzsl.extraction.smaller_batches import Halving

    encoder, augmentation = job.encoder, job.augmentation
    return encode_blocks(
        reader,
        Halving(encoder.encode_images, job.batch_size),
        data.paths,
        pending,
        job.batch_size,
        job.threads,
        lanes=None if encoder.device.type == "cpu" else 1,
        views=Views(len(augmentation.kinds), reader.viewed) if augmentation else None,
        fetch_ahead=getattr(data.reader, "fetch_ahead", None),
        upload=getattr(encoder, "upload", None),  # plugins have none
    )


def check_images(name: str, outcomes: Sequence[Outcome], on_error: str) -> None:
    """Warn about images that may look otherwise than expected, once all of them are encoded.

    Raises:
        UserError: some images can't be read, and are not to be skipped.
    """
    say_image_doubts(sum((outcome.report.oddities for outcome in outcomes), Counter()))
    failures = [failure for outcome in outcomes for failure in outcome.report.failures]
    if not failures or on_error != "fail":
        return
    total = sum(outcome.images for outcome in outcomes)
    named = ", ".join(f"'{failure.path}' ({failure.reason})" for failure in failures[:SHOWN])
    others = f" and {len(failures) - SHOWN} more" if len(failures) > SHOWN else ""
    raise UserError(
        f"{name}: {len(failures)} of {total} images can't be read: {named}{others}. The other "
        f"{total - len(failures)} are encoded and kept: leave these out with --on-error skip, or "
        "repair them and run again: it resumes from here."
    )
