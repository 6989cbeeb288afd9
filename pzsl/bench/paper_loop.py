"""Stage two as papers' code usually writes it, for comparison.

As in those: batches of 64 from a DataLoader, a transformer block of 2.1 million parameters that is
run on all labels at each step, the label embeddings expanded for each instance, candidates and
label weights as dense arrays of images times classes. Nothing is slowed down on purpose: label
weights and cosines are vectorised, the expansion is a view, torch uses all processors, and there is
no calibration and no evaluation. Run as `python -m pzsl.bench.paper_loop CACHE EPOCHS RATE`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from pzsl.candidates import generate
from pzsl.store import Cache, load_cache

BATCH = 64
HIDDEN = 1024
"""Width of the feed-forward part: 2.1 million parameters at 512 dimensions."""


def train_paper_style(cache: Cache, epochs: int, rate: float) -> Tensor:
    """PRODEN on label embeddings that a transformer block refines at each step.

    Args:
        cache: features. epochs: passes over the training images. rate: of wrong labels.

    Returns:
        (N, K) label weights.
    """
    generator = torch.Generator().manual_seed(0)
    rows = np.flatnonzero(cache.splits == "trainval")
    images = torch.from_numpy(np.array(cache.images[rows]))
    text = torch.from_numpy(cache.label_embeddings())
    labels = torch.cat([text[cache.seen], text[~cache.seen]])
    weights = uniform_weights(cache, rows, rate, 0)
    dim, seen = images.shape[1], weights.shape[1]
    block = nn.TransformerEncoderLayer(dim, heads(dim), HIDDEN, 0.0, F.gelu, batch_first=True)
    gate = nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.AdamW([*block.parameters(), gate], lr=1e-3, weight_decay=0.01)
    data = TensorDataset(images, torch.arange(len(images)))
    for _ in range(epochs):
        for batch, index in DataLoader(data, BATCH, shuffle=True, generator=generator):
            refined = F.normalize(labels + gate * block(labels[None])[0], dim=-1)
            expanded = refined[:seen].expand(len(batch), -1, -1)
            logits = cache.logit_scale * torch.bmm(expanded, batch[:, :, None])[:, :, 0]
            log_p = logits.log_softmax(dim=1)
            batch_weights = weights[index]
            loss = -(batch_weights * log_p).sum(dim=1).mean() + 20 * (
                1 - (refined * labels).sum(1).mean()
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            p = log_p.detach().exp() * (batch_weights > 0)
            weights[index] = p / p.sum(dim=1, keepdim=True).clamp_min(1e-12)
    return weights


def uniform_weights(cache: Cache, rows: np.ndarray, rate: float, seed: int) -> Tensor:
    """Equal weights (N, K) on each image's candidates, zero elsewhere."""
    sets = generate(
        "uniform",
        truth=cache.labels[rows],
        ids=[cache.paths[row] for row in rows],
        seen=cache.seen,
        rate=rate,
        seed=seed,
    )
    column = torch.from_numpy(np.cumsum(cache.seen) - 1)
    weights = torch.zeros(len(rows), int(cache.seen.sum()))
    weights[torch.from_numpy(sets.rows()), column[torch.from_numpy(sets.labels).long()]] = 1.0
    return weights / weights.sum(dim=1, keepdim=True)


def heads(dim: int) -> int:
    """The most attention heads, up to 8, that the dimension can be divided by."""
    return next(count for count in (8, 4, 2, 1) if dim % count == 0)


if __name__ == "__main__":
    train_paper_style(load_cache(Path(sys.argv[1])), int(sys.argv[2]), float(sys.argv[3]))
