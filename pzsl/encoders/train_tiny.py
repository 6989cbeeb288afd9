"""Train the built-in `tiny` CLIP: `python -m pzsl.encoders.train_tiny --out tiny.safetensors`.

The training data are image-text pairs of *seen* compositions only, drawn with a seed of their own
(no image of the `shapes` data set is among them). All compositions of a batch differ, so there are
no false negatives; the loss is CLIP's (Radford et al. 2021).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from pzsl.datasets.shapes import COMPOSITIONS, draw_indexed, seen_mask
from pzsl.encoders.weights import TOKEN_ROWS, TOKEN_TABLE

HERE = Path(__file__).parent
DRAW_SEED = 77
"""Seed of the training pictures; differs from the data set's."""


def draw_class(job: tuple[int, int]) -> NDArray[np.uint8]:
    """All training pictures of one composition, (count, 3, 64, 64) uint8."""
    index, count = job
    pictures = [
        draw_indexed(COMPOSITIONS[index], DRAW_SEED, index * 100_000 + n) for n in range(count)
    ]
    return np.stack(pictures).transpose(0, 3, 1, 2)


def draw_pictures(classes: Sequence[int], count: int, workers: int) -> Tensor:
    """Training pictures, (classes, count, 3, 64, 64) uint8."""
    with ProcessPoolExecutor(workers) as pool:
        pictures = list(pool.map(draw_class, [(index, count) for index in classes]))
    return torch.from_numpy(np.stack(pictures))


def prompt_tokens(classes: Sequence[int]) -> Tensor:
    """Tokens of each composition under each template, (classes, templates, length)."""
    templates = (HERE / "templates" / "shapes.txt").read_text("utf-8").splitlines()
    tokenizer = open_clip.get_tokenizer("tiny")
    texts = [[t.format(COMPOSITIONS[c]) for t in templates] for c in classes]
    return torch.stack([tokenizer(lines) for lines in texts])


def clip_loss(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    """Cross-entropy of image to text and of text to image, whose rows (n, D) belong together."""
    logits = scale * image @ text.T
    target = torch.arange(len(logits))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def augment(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Shift the batch by up to four pixels and mirror half of it; float in [-1, 1]."""
    images = pictures.float().div_(127.5).sub_(1)
    dx, dy = torch.randint(-4, 5, (2,), generator=generator).tolist()
    images = torch.roll(images, (dy, dx), dims=(2, 3))
    flip = torch.rand(len(images), generator=generator) < 0.5
    images[flip] = images[flip].flip(3)
    return images


def train(args: argparse.Namespace) -> dict[str, Tensor]:
    """Train the model of `tiny.json`; return its state dict."""
    generator = torch.Generator().manual_seed(args.seed)
    classes = np.flatnonzero(seen_mask()).tolist()
    open_clip.add_model_config(HERE / "tiny.json")
    tokens = prompt_tokens(classes)
    pictures = draw_pictures(classes, args.pictures, args.workers)
    with torch.random.fork_rng():  # open_clip initialises from the global generator
        torch.manual_seed(args.seed)
        model = open_clip.create_model("tiny", pretrained=None)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(1.0, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / args.steps)),
    )
    started = time.time()
    for step in range(args.steps):
        rows = torch.randperm(len(classes), generator=generator)[: args.batch]
        picture = torch.randint(args.pictures, (len(rows),), generator=generator)
        form = torch.randint(tokens.shape[1], (len(rows),), generator=generator)
        images = augment(pictures[rows, picture], generator)
        loss = clip_loss(*model(images, tokens[rows, form]))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        if step % 50 == 49 or step + 1 == args.steps:
            seconds = time.time() - started
            print(f"step {step + 1} loss {loss.item():.3f} {seconds:.0f} s", file=sys.stderr)
    return compact(model.state_dict(), tokens)


def compact(state: dict[str, Tensor], tokens: Tensor) -> dict[str, Tensor]:
    """Convert to half floats and keep only the token rows in use, listed in `token_rows`."""
    rows = torch.unique(tokens)
    small = {n: v.half() if v.is_floating_point() else v for n, v in state.items()}
    small[TOKEN_TABLE] = small[TOKEN_TABLE][rows]
    small[TOKEN_ROWS] = rows
    return {name: value.contiguous() for name, value in small.items()}


def main() -> None:
    """Parse the options, train, write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "tiny.safetensors")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--pictures", type=int, default=64, help="pictures per seen class")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    state = train(args)
    config = {name: value for name, value in vars(args).items() if name not in ("out", "workers")}
    save_file(state, args.out, metadata={"training": json.dumps(config)})


if __name__ == "__main__":
    main()
