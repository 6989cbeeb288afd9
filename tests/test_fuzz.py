"""Damaged files end in one line or are read as they were: no fault, hang, crash or other number."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import caches
import fuzzing
import numpy as np
import pytest
from PIL import Image
from problems import write_cache
from quick_processes import PythonProcess
from scipy.io import savemat
from standin import cells
from test_merge import write_part

from pzsl import train
from pzsl.exchange import export_any
from pzsl.training import run as training_run

HERE = Path(__file__).parent
MUTANTS, SECONDS = 300, 30
STRICT = ("cache", "part", "checkpoint", "npz")
"""Kinds whose files carry checksums: what is read is what was written, or a line says so."""


def _cache(folder: Path) -> list[str]:
    caches.make(folder / "x.h5", caches.candidates(caches.header()), views=2)
    return ["x.h5"]


def _part(folder: Path) -> list[str]:
    for shard in (1, 2):
        write_part(folder / "x.h5", caches.header(22), shard, of=2)
    return sorted(file.name for file in folder.glob("x.part*.h5"))


def _checkpoint(folder: Path) -> list[str]:
    write_cache(folder / "c.h5", each=6)
    kept, save = [], training_run.Saver.__call__

    def saving(saver: Any, *given: Any, **more: Any) -> None:
        save(saver, *given, **more)
        if saver.path.exists():
            kept.append(saver.path.read_bytes())

    training_run.Saver.__call__ = saving
    try:
        train(folder / "c.h5", runs=folder / "runs", **fuzzing.TRAINED)
    finally:
        training_run.Saver.__call__ = save
    (folder / "x.safetensors").write_bytes(kept[1])
    for name in ("metrics.json", "model.safetensors", "history.jsonl", "details.json"):
        for file in (folder / "runs").rglob(name):
            file.unlink()
    return ["x.safetensors"]


def _record(folder: Path) -> list[str]:
    write_cache(folder / "c.h5", each=6)
    train(folder / "c.h5", runs=folder / "runs", **fuzzing.TRAINED)
    (run,) = (file.parent for file in (folder / "runs").rglob("metrics.json"))
    names = [file for file in run.iterdir() if file.is_file() and not file.name.startswith(".")]
    return sorted(str(file.relative_to(folder)) for file in names)


def _npz(folder: Path) -> list[str]:
    caches.make(folder / "x.h5", caches.candidates(caches.header()))
    export_any(folder / "x.h5", folder / "x.npz", ["npz"])
    return ["x.npz"]


def _photos(folder: Path) -> list[str]:
    for number in range(12):
        file = folder / "photos" / f"class_{number % 3}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number * 20, 9, 200)).save(file)
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*.png"))


def _table(folder: Path) -> list[str]:
    lines = ["path,label,candidates,split"]
    for row, file in enumerate(_photos(folder)):
        split = ("trainval", "trainval", "test_seen")[row % 3]
        lines.append(f"{file},class {row // 4},class 0|class {row // 4},{split}")
    (folder / "x.csv").write_text("\n".join(lines))
    rows = [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]
    (folder / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return ["x.csv", "x.jsonl"]


def _toml(folder: Path) -> list[str]:
    (folder / "x.toml").write_text(
        'method = ["cc", "clip-pzsl"]\nnoise = ["uniform", "instance"]\nrate = [0.1, 0.3]\n'
        'eta = 0.2\nseeds = 2\nfirst_seed = 1\nlabels = "text"\noff = ["mining"]\n'
        "[set]\nepochs = 3\ntemperature = 0.1\n"
    )
    return ["x.toml"]


def _json(folder: Path) -> list[str]:
    _photos(folder)
    tested = [f"class_0/{number}.png" for number in (0, 3)] + ["class_1/1.png"]
    (folder / "x.json").write_text(json.dumps({"unseen": ["class_2"], "test_seen": tested}))
    return ["x.json"]


def _mat(folder: Path) -> list[str]:
    files = [f"/data/JPEGImages/ant/ant_{row}.jpg" for row in range(8)]
    labels = np.arange(8)[:, None] % 2 + 1
    features = np.ones((5, 8))
    for packed in (False, True):
        name = "res101.mat" if packed else "plain.mat"
        fields = {"image_files": cells(files), "labels": labels, "features": features}
        savemat(folder / name, fields, do_compression=packed)
    rows = {
        f"{split}_loc": np.array([[start], [start + 1]])
        for split, start in (("trainval", 1), ("test_seen", 3), ("test_unseen", 5))
    }
    names = {"att": np.ones((3, 2)), "allclasses_names": cells(["ant", "bee"])}
    savemat(folder / "att_splits.mat", {**rows, **names})
    return ["plain.mat", "att_splits.mat", "res101.mat"]


def _weights(folder: Path) -> list[str]:
    import torch
    from safetensors.torch import load_file

    from pzsl.encoders import load_encoder
    from pzsl.encoders.openclip import PRESETS

    content = PRESETS["tiny"].weights.read_bytes()
    (folder / "x.safetensors").write_bytes(content)
    torch.save(load_file(PRESETS["tiny"].weights), folder / "x.pt")
    assert load_encoder("tiny", str(folder / "x.pt"), "cpu").identity.dim > 0
    return ["x.safetensors", "x.pt"]


MAKERS = {
    **{"cache": _cache, "part": _part, "checkpoint": _checkpoint, "record": _record, "npz": _npz},
    **{"table": _table, "toml": _toml, "json": _json, "mat": _mat, "weights": _weights},
}


def outcomes(kind: str, folder: Path, count: int) -> Iterator[dict[str, Any]]:
    """What came of each mutant; a process that hangs or dies is a fault, and is replaced."""
    done = 0
    while done < count:
        for found in _of_one_process(kind, folder, done, count - done):
            done += "mutant" in found
            yield found


def _of_one_process(kind: str, folder: Path, first: int, count: int) -> Iterator[dict[str, Any]]:
    process = PythonProcess(HERE / "fuzzing.py", kind, folder, str(first), str(count))
    at, wait = first, 120  # until all is imported
    while at < first + count:
        try:
            line = process.next_line(wait)
        except TimeoutError:
            process.kill()
            yield {"mutant": at, "fault": f"still reads it after {wait} s"}
            return
        if not line:
            yield {"mutant": at, "fault": f"exit {process.wait().returncode}"}
            return
        found = json.loads(line)
        wait = SECONDS
        at += "mutant" in found
        yield found
    process.wait()


def check(kind: str, folder: Path, count: int) -> None:
    """Hold all mutants of a kind to the promise."""
    (folder / f"{kind}.files").write_text(json.dumps(MAKERS[kind](folder)))
    wrong, refused, whole = [], 0, None
    for found in outcomes(kind, folder, count):
        if "whole" in found:
            whole = found["whole"]
            assert "read" in whole or kind == "toml", whole
        elif "fault" in found:
            wrong.append(found)
        elif "refused" in found:
            refused += 1
            assert found["refused"].strip(), found
        elif kind in STRICT and found["read"] != whole["read"] and not found["said"].strip():
            wrong.append(found)
    assert not wrong, f"{len(wrong)} of {count}: {json.dumps(wrong[:3], indent=1)[:4000]}"
    assert kind in ("toml", "checkpoint") or refused > 0  # such a run starts again, and says so


@pytest.mark.parametrize("kind", ["cache", "npz", "json"])
def test_a_few_damaged_files_end_in_one_line(kind, tmp_path):
    check(kind, tmp_path, 12)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MAKERS)
def test_damaged_files_end_in_one_line(kind, tmp_path):
    check(kind, tmp_path, MUTANTS)
