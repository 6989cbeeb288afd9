"""Put images into batches, each at its position in a block; views have batches of their own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def embedded(
    images: list[Tensor], positions: Tensor, size: int, encode: Callable[[Tensor], Tensor]
) -> Tensor:
    """Embeddings (k, D) of k images at their positions in a batch that is zero elsewhere."""
    return encode(_collate(images, positions, size))[positions]


def _collate(images: list[Tensor], positions: Tensor, size: int) -> Tensor:
    batch = torch.zeros(size, *images[0].shape, dtype=images[0].dtype)
    batch[positions] = torch.stack(images)
    return batch


def with_views(
    clean: Tensor,
    images: list[Tensor],
    positions: Tensor,
    has_views: Tensor,
    count: int,
    encode: Callable[[Tensor], Tensor],
) -> Tensor:
    """Embeddings of images and their views; an image without views has its own in their place.

    The n-th views of a block form one batch, with a position for every image that has views.

    Args:
        clean: (k, D) of the images.
        images: k images with their views, or alone.
        positions: (k,) of the images in the block.
        has_views: (size,) which images of the block have views.
        count: K views.
        encode: batch (n, 3, h, w) -> unit embeddings (n, D).

    Returns:
        (k, 1 + K, D).
    """
    features = clean[:, None].repeat(1, 1 + count, 1)
    with_views = torch.nonzero(has_views[positions]).flatten()
    if len(with_views):
        slots = (has_views.cumsum(0) - 1)[positions[with_views]]
        for view in range(1, 1 + count):
            view_images = [images[index][view] for index in with_views.tolist()]
            features[with_views, view] = embedded(view_images, slots, int(has_views.sum()), encode)
    return features
