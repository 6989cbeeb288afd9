"""A folder that holds what README and docs speak of, in small, and a pzsl that is quick in it.

The built-in encoder stands for every model, the drawings are of a few classes, and training takes
a few steps: what is tested is that each line does what it says, not what comes out.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from documents import ROOT, Block, blocks_of
from PIL import Image
from problems import unit
from safetensors.numpy import save_file
from standin import make_sun

from pzsl.datasets.shapes import dataset as shapes
from pzsl.encoders import openclip
from pzsl.training import config
from pzsl.training.engines import sweep

CLASSES = ("dingo", "red_fox", "snow_leopard", "timber_wolf", "wolverine", "zebra")
EACH = 6
EXTEND = ROOT / "docs" / "extend.md"
DIM = 128
"""Of the built-in encoder's embeddings."""
QUICK = {"epochs": 1, "min_steps": 2, "calibrate": False}
BEFORE = {
    "annotation.md": ["pzsl extract --dataset shapes"],
    "extend.md": ["pzsl extract --dataset shapes"],
    "method.md": ["pzsl extract --dataset shapes --out cache/NAME.h5"],
    "results.md": ["pzsl extract --dataset shapes --out cache/NAME.h5"],
    "rivals.md": ["pzsl extract --dataset shapes --out cache/NAME.h5"],
    "deviations.md": ["pzsl extract --dataset shapes --views 4 --out cache/NAME.h5"],
    "co-reg.md": ["pzsl extract --dataset shapes --views 4 --out cache/NAME.h5"],
    "report.md": [
        "pzsl extract --dataset sun",
        "pzsl train --cache cache/sun.h5 --method clip,clip-pzsl --seeds 2 --rate 0.1",
    ],
    "use.md": [
        "pzsl extract --dataset sun",
        "pzsl train --cache cache/sun.h5 --seeds 1 --rate 0.1",
        "pzsl extract --dataset folder --root photos --splits photos.json --out cache/photos.h5",
        "pzsl train --cache cache/photos.h5 --seeds 1 --rate 0.1",
        "pzsl train --cache cache/photos.h5 --seeds 1 --rate 0.1 --name imported",
    ],
}
"""What has to be there before a document's first line, where it begins in the middle."""


def make_world(folder: Path) -> None:
    """Images, tables, texts and features by the names that the documents give them."""
    rows = list(_photos(folder))
    make_sun(folder / "data" / "sun", per_class=EACH)
    make_sun(folder / "SUN", per_class=EACH)
    drawn = [f"drawings/{name}-{number}.png" for name in CLASSES[:3] for number in (1, 2, 3)]
    for place in ("new-photos/1.png", "new-photos/2.png", "more/photo.jpg", *drawn):
        _draw(folder / place, len(place))
    _table(folder / "images.csv", rows)
    with (folder / "archive.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["path"], *([row[0]] for row in rows[:4])])
    names = [name.replace("_", " ") for name in CLASSES]
    (folder / "names.txt").write_text("\n".join(names))
    (folder / "classes.txt").write_text("\n".join(names))
    (folder / "names.tsv").write_text("abbey\told abbey\n")
    (folder / "prompts.txt").write_text("a photo of a {}.\na drawing of a {}.\n")
    split = {"unseen": ["zebra"], "test_seen": [f"{name}/006.jpg" for name in CLASSES[:-1]]}
    (folder / "photos.json").write_text(json.dumps(split))
    (folder / "corrections.csv").write_text("path,label\ndingo/001.jpg,dingo\n")
    method = next(block.text for block in blocks_of(EXTEND) if block.mark == "sharpen.py")
    (folder / "mine.py").write_text(method.replace("class Sharpen(", "class Mine("))
    sentences = {name: [f"A {name} is an animal."] for name in names}
    (folder / "sentences.json").write_text(json.dumps(sentences))
    _features(folder, rows, names)
    _shards(folder, rows)


def _photos(folder: Path) -> Any:
    """A folder for each class, and the rows of a table about them."""
    for shade, name in enumerate(CLASSES):
        for number in range(1, EACH + 1):
            path = f"{name}/{number:03d}.jpg"
            _draw(folder / "photos" / path, 40 * shade + number)
            label = name.replace("_", " ")
            unseen = name == CLASSES[-1]
            split = "test_unseen" if unseen else "test_seen" if number > 4 else "trainval"
            other = CLASSES[(shade + 1) % (len(CLASSES) - 1)].replace("_", " ")
            yield path, label, "" if unseen else f"{label}|{other}", split, label, other, label


def _draw(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(shade).integers(0, 56, (64, 64, 3)) + min(shade, 199)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def _table(file: Path, rows: list[tuple[str, ...]]) -> None:
    heads = ["path", "label", "candidates", "split", "anna", "ben", "cleo"]
    with file.open("w", encoding="utf-8", newline="") as target:
        csv.writer(target).writerows([heads, *rows])


def _features(folder: Path, rows: list[tuple[str, ...]], names: list[str]) -> None:
    """Features in each form in which they are imported."""
    rng = np.random.default_rng(0)
    images, text = (unit(rng.standard_normal((n, DIM))) for n in (len(rows), len(names)))
    np.save(folder / "features.npy", images)
    np.save(folder / "text.npy", text)
    save_file({"features": images}, folder / "features.safetensors")
    labels = np.array([names.index(row[1]) for row in rows])
    np.savez(
        folder / "arrays.npz",
        image_features=images,
        text_features=text,
        labels=labels,
        class_names=np.array(names),
        unseen=np.arange(len(names)) == len(names) - 1,
        split=np.array([row[3] for row in rows]),
        model="ViT-B-32",
        pretrained="openai",
    )
    import pyarrow
    from pyarrow import parquet

    for sub in ("img_emb", "metadata"):
        (folder / "embeddings" / sub).mkdir(parents=True)
    np.save(folder / "embeddings" / "img_emb" / "img_emb_0.npy", images)
    about = {"image_path": [f"/all/{row[0]}" for row in rows]}
    parquet.write_table(
        pyarrow.table(about), folder / "embeddings" / "metadata" / "metadata_0.parquet"
    )


def _shards(folder: Path, rows: list[tuple[str, ...]]) -> None:
    """Ten tar files in the layout of webdataset."""
    (folder / "shards").mkdir()
    for part in range(10):
        with tarfile.open(folder / "shards" / f"data-{part:03d}.tar", "w") as archive:
            for number, row in enumerate(rows[part::10]):
                image = (folder / "photos" / row[0]).read_bytes()
                for end, content in (("jpg", image), ("cls", row[1].encode())):
                    entry = tarfile.TarInfo(f"{part}{number:03d}.{end}")
                    entry.size = len(content)
                    archive.addfile(entry, io.BytesIO(content))


def make_quick(monkeypatch: Any) -> None:
    """Let every model be the built-in one, the drawings few, and training short."""
    mask, load, options = shapes.seen_mask()[:12], openclip.load_openclip, config.options_of
    counts = {"trainval": 4, "test_seen": 2, "test_unseen": 2}
    monkeypatch.setattr(shapes, "seen_mask", lambda: mask)
    monkeypatch.setattr(shapes, "IMAGES", counts)
    monkeypatch.setattr(
        openclip, "load_openclip", lambda _, __, device, ___: load("tiny", None, device, None)
    )
    monkeypatch.setattr(
        config,
        "options_of",
        lambda methods, preset, settings: options(methods, preset, {**settings, **QUICK}),
    )
    monkeypatch.setattr(sweep, "cores", lambda: 1)


class Reader:
    """Does what a document says, block by block, in the folder where it is."""

    def __init__(self, pzsl: Callable[..., tuple[int, str, str]]) -> None:
        self.pzsl = pzsl
        self.names = given_names()

    def do(self, block: Block) -> None:
        """Run a block; write it, where it is a file."""
        if block.kind == "file":
            Path(block.mark).write_text(block.text, encoding="utf-8")
        elif block.kind == "shell":
            for line in block.text.splitlines():
                self.run(line, str(block))
        elif block.kind == "python":
            exec(compile(self._filled(block.text), str(block), "exec"), self.names)

    def run(self, line: str, where: str = "before") -> None:
        """Run a command line of pzsl's; `RUN` is the first run of its sweep."""
        _, *words = shlex.split(self._filled(line), comments=True)
        found = [sorted(Path().glob(word)) if "*" in word else [word] for word in words]
        code, out, err = self.pzsl(*(word for each in found for word in each))
        assert code == 0, f"{where}: {line}\n{out}{err}"

    def _filled(self, text: str) -> str:
        def first(match: re.Match[str]) -> str:
            return min(Path(match[1]).glob("*/metrics.json")).parent.as_posix()

        return re.sub(r"(runs/\w+)/RUN\b", first, text)


def given_names() -> dict[str, Any]:
    """Arrays that documents speak of without making them."""
    rng = np.random.default_rng(1)
    labels = unit(rng.standard_normal((5, 16)))
    images = unit(labels[np.arange(40) % 4] + 0.1 * rng.standard_normal((40, 16)))
    candidates = [{row % 4, (row + 1) % 4} for row in range(40)]
    names = {"images": images, "candidates": candidates, "labels": labels}
    return {**names, "label_embeddings": labels, "new_images": images[:3], "__name__": "__main__"}
