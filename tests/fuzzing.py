"""Damage files at random, read them, and say of each what came of it: one JSON line a mutant.

Runs as a process of its own, `python tests/fuzzing.py KIND FOLDER FIRST COUNT`, since a reader may
hang or crash; `test_fuzz.py` starts it, and goes on behind the mutant at which it ended.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import re
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

WORDS = (
    *("nan", "-1", "1e999", "99999999999999999999", "4294967296", "null", "true", "[]", "{}", '""'),
    *("[" * 5000, "\\u0000", "\\ud800", "../x", "1970-01-01", "'", '"', "=", ",", "|", "\ufeff"),
)
TEXT = {".json", ".jsonl", ".toml", ".csv"}


def damage(content: bytes, seed: str, text: bool) -> bytes:
    """One to three changes of a file's content; of text half of them change whole words."""
    draw = random.Random(seed)
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 3))):
        at = draw.randrange(max(1, len(data)))
        if text and draw.random() < 0.5:
            words = list(re.finditer(rb"[\w.\-]+", bytes(data)))
            word = draw.choice(words) if words else None
            start, stop = word.span() if word else (at, at)
            data[start:stop] = draw.choice(WORDS).encode()
            continue
        match draw.randrange(7):
            case 0 | 1:
                data[at : at + 1] = bytes([data[at] ^ 1 << draw.randrange(8)]) if data else b""
            case 2:
                data[at : at + 64] = bytes(len(data[at : at + 64]))
            case 3:
                data[at : at + 8] = draw.randbytes(8)
            case 4:
                data[at:at] = draw.randbytes(draw.randrange(1, 9))
            case 5:
                del data[at : at + draw.choice((1, 8, 200))]
            case _:
                del data[at:]
    return bytes(data)


# Each reader gives back what should be equal for equal files, or None where nothing guards them.


def read_cache(path: Path) -> Any:
    from pzsl.extraction.judge_cache import zero_shot
    from pzsl.store import inspect_cache, load_cache

    json.dumps(inspect_cache(path))
    cache = load_cache(path)
    return [cache.fingerprint, zero_shot(cache), cache.provenance["model"]]


def read_part(path: Path) -> Any:
    from pzsl.store import load_cache, merge_parts

    others = sorted(set(path.parent.glob("x.part*.h5")) - {path})
    merge_parts([path, *others], path.parent / "merged.h5", overwrite=True)
    return load_cache(path.parent / "merged.h5").fingerprint


def read_checkpoint(path: Path) -> Any:
    from pzsl import train

    root = path.parent / "again"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(path.parent / "runs", root)
    (run,) = (folder.parent for folder in root.rglob("config.json"))
    shutil.copy(path, run / "checkpoint.safetensors")
    row = train(path.parent / "c.h5", runs=root, **TRAINED)["runs"][0]
    return [row[name] for name in ("S", "U", "H", "T1", "gamma", "disambiguation")]


def read_record(path: Path) -> Any:
    from pzsl import refine, report

    run = path.parent
    refine(run, run.parents[1] / "labels.csv", cache=run.parents[2] / "c.h5", overwrite=True)
    report(run.parent, run.parents[1] / "report", formats=["csv"])


def read_npz(path: Path) -> Any:
    from pzsl.exchange import import_npz
    from pzsl.store import load_cache

    cache = load_cache(import_npz(path, path.parent / "imported.h5", overwrite=True))
    return [cache.split_hash, cache.images.tolist(), cache.text.tolist(), cache.classes]


def read_table(path: Path) -> Any:
    from pzsl.datasets import load_dataset

    load_dataset("table", table=path)


def read_toml(path: Path) -> Any:
    from pzsl.cli import main

    words = ["pzsl", "train", "--config", str(path), "--cache", str(path.parent / "no.h5")]
    sys.argv = words
    try:
        code = main()
    except SystemExit as end:  # click's way out, of wrong usage
        code = int(end.code or 0)
    assert code in (0, 1, 2), code
    if code:
        raise RefusedError


def read_json(path: Path) -> Any:
    from pzsl.datasets import load_dataset

    load_dataset("folder", root=path.parent / "photos", splits=path)


def read_mat(path: Path) -> Any:
    from pzsl.datasets.published.mat_files import read_features, read_image_file, read_split_file

    if path.name == "att_splits.mat":
        read_split_file(path)
    else:
        read_image_file(path)
        read_features(path)


def read_weights(path: Path) -> Any:
    from pzsl.encoders import load_encoder

    load_encoder("tiny", str(path), "cpu")


class RefusedError(Exception):
    """A command ended in a line."""


TRAINED: dict[str, Any] = {
    **{"method": "cc", "rate": 0.1, "seeds": 1, "workers": 1, "device": "cpu"},
    **{"settings": {"epochs": 4, "min_steps": 8}, "checkpoint_seconds": 0},
}
READERS: dict[str, Callable[[Path], Any]] = {
    **{"cache": read_cache, "part": read_part, "checkpoint": read_checkpoint, "npz": read_npz},
    **{"record": read_record, "table": read_table, "toml": read_toml, "json": read_json},
    **{"mat": read_mat, "weights": read_weights},
}


def outcome(kind: str, path: Path) -> dict[str, Any]:
    """What reading a file came to: `refused` or `read`, the answer, and what was said; or a fault.

    A fault is what the command line would call one: any error but a `UserError` or an `OSError`.
    """
    from pzsl.errors import UserError

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            answer = READERS[kind](path)
    except (UserError, OSError) as error:
        return {"refused": str(error)}
    except RefusedError:
        fault = re.search("Traceback|fault in pzsl", said.getvalue())
        return {"fault": said.getvalue()[-2000:]} if fault else {"refused": said.getvalue()}
    except Exception:
        return {"fault": traceback.format_exc()[-2000:]}
    return {"read": answer, "said": said.getvalue()[:500]}


def main() -> None:
    """Read the whole files, then the mutants FIRST to FIRST + COUNT, each at its own place."""
    kind, folder, first, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    paths = [folder / name for name in json.loads((folder / f"{kind}.files").read_text())]
    whole = {path: path.read_bytes() for path in paths}
    print(json.dumps({"whole": outcome(kind, paths[0])}), flush=True)
    for number in range(first, first + count):
        path = paths[number % len(paths)]
        path.unlink()
        path.write_bytes(damage(whole[path], f"{kind} {number}", path.suffix in TEXT))
        print(json.dumps({"mutant": number, **outcome(kind, path)}), flush=True)
        path.unlink(missing_ok=True)
        path.write_bytes(whole[path])


if __name__ == "__main__":
    main()
