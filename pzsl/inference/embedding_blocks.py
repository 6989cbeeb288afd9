"""Embeddings of the images to classify, block by block, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pzsl.datasets.reading import open_image
from pzsl.device import cores, default_batch
from pzsl.encoders import Encoder
from pzsl.encoders.image_warnings import Oddities, say_image_doubts
from pzsl.encoders.preprocessing import eight_bits
from pzsl.exchange.vectors import as_unit
from pzsl.extraction.pipeline import Block, encode_blocks
from pzsl.extraction.smaller_batches import Halving
from pzsl.inference.sources import Source
from pzsl.progress import say

VECTORS = 1024
"""Features scored at a time."""
Blocks = Callable[[NDArray[np.int64]], Generator[Block]]


def embedding_blocks(
    source: Source,
    encoder: Encoder | None,
    batch_size: int | None,
    workers: int | None,
) -> Blocks:
    """A function from row numbers to blocks of embeddings, by the pipeline of stage one."""
    if source.vectors is not None or encoder is None:
        return lambda rows: _given(source, rows)
    size, threads = batch_size or default_batch(encoder.device), workers or cores()
    identity = encoder.identity
    say(
        f"Model {identity.model}, weights {identity.pretrained} ({identity.weights_hash[:12]}), "
        f"{identity.precision} on {encoder.device}, batches of {size}, {threads} threads."
    )

    oddities = Oddities()

    def load(file: str) -> Tensor:
        return encoder.preprocess(eight_bits(open_image(Path(file)), oddities))

    def blocks(rows: NDArray[np.int64]) -> Generator[Block]:
        try:
            yield from encode_blocks(
                load,
                Halving(encoder.encode_images, size),
                source.files,
                rows,
                size,
                threads,
                lanes=None if encoder.device.type == "cpu" else 1,
                upload=getattr(encoder, "upload", None),  # plugins have none
            )
        finally:  # also after an interruption: resuming, the command doesn't look at them again
            say_image_doubts(oddities.counts)

    return blocks


def _given(source: Source, rows: NDArray[np.int64]) -> Generator[Block]:
    """Precomputed features, as blocks."""
    vectors = source.vectors
    assert vectors is not None
    for start in range(0, len(rows), VECTORS):
        block_rows = rows[start : start + VECTORS]
        yield Block(block_rows, as_unit(vectors[block_rows]), (), 0.0, 0.0)
