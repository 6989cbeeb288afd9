"""The purification of candidate sets in POP."""

from __future__ import annotations

from torch import Tensor


def purify(mean: Tensor, rows: Tensor, images: int, theta: float) -> Tensor:
    """Which candidates are kept: those with `p_j >= theta max_k p_k` (Xu et al. 2023).

    Args:
        mean: (M,) label weights averaged over epochs, ragged; zero for a removed candidate.
        rows: (M,) the image of each entry.
        images: number of images.
        theta: below one, so that an image's likeliest label is always kept.

    Returns:
        (M,) bool.
    """
    largest = mean.new_zeros(images).scatter_reduce_(0, rows, mean, "amax")
    return (mean > 0) & (mean >= theta * largest.index_select(0, rows))
