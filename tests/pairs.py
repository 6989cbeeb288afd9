"""Start one command twice at about the same time, in one folder, and compare with one alone.

`python tests/pairs.py COMMAND FOLDER TRIALS SEED` prints one JSON line a pair: what each answered,
whether that is the answer of one alone, and which files are there in the end that one alone does
not leave. All is imported once; each run is a fork.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from killing import RUNS, listing


def run_export(folder: Path) -> Any:
    from pzsl.exchange import export_any

    files = export_any(folder / "c.h5", folder / "out.npz", ["npz"], overwrite=True)["files"]
    return [Path(file).name for file in files]


def run_merge_virtual(folder: Path) -> Any:
    from pzsl.store import load_cache, merge_parts

    parts = sorted(folder.glob("x.part*.h5"))
    merge_parts(parts, folder / "v.h5", virtual=True, overwrite=True)
    return load_cache(folder / "v.h5").fingerprint


def _run_of(folder: Path) -> Path:
    return next(folder.glob("runs/*/*/metrics.json")).parent


def run_report(folder: Path) -> Any:
    from pzsl import report

    found = report(folder / "runs", folder / "report", formats=["csv", "md"])
    return [row["H_mean"] for row in found["rows"]]


def run_labels(folder: Path) -> Any:
    from pzsl import refine

    refine(_run_of(folder), folder / "labels.csv", cache=folder / "c.h5", overwrite=True)
    return (folder / "labels.csv").read_text()


def run_predict(folder: Path) -> Any:
    from pzsl import predict

    where = {"out": folder / "answers.csv", "cache": folder / "c.h5", "overwrite": True}
    predict(_run_of(folder), [folder / "new.npy"], **where)
    return (folder / "answers.csv").read_text()


def run_pack(folder: Path) -> Any:
    from pzsl import pack

    pack(_run_of(folder), folder / "model", cache=folder / "c.h5", overwrite=True)
    return "packed"


WRITERS: dict[str, Callable[[Path], Any]] = RUNS | {
    **{"export": run_export, "virtual": run_merge_virtual, "report": run_report},
    **{"labels": run_labels, "predict": run_predict, "pack": run_pack},
}
NEEDS = {
    **{"extract": ["extraction", "encoders"], "train": ["training"], "annotate": ["annotation"]},
    **{"import": ["exchange"], "export": ["exchange"], "report": ["reports"]},
    **{name: ["inference", "training"] for name in ("labels", "predict", "pack")},
}
KINDS = ("UserError", "UsageError", "SeveralError", "FileExistsError", "FileNotFoundError")
"""Errors that end in one line."""


def start(command: str, folder: Path, answer: Path) -> int:
    """Fork a process that runs a command and writes what came of it; its id."""
    answer.unlink(missing_ok=True)
    child = os.fork()
    if child:
        return child
    try:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - for as long as the process lives
        answer.write_text(json.dumps({"result": WRITERS[command](folder)}))
    except BaseException as error:
        answer.write_text(json.dumps({"error": type(error).__name__, "line": str(error)}))
    finally:
        os._exit(0)


def finish(child: int, answer: Path) -> dict[str, Any]:
    """Wait for a process; its answer, or the signal that ended it."""
    status = os.waitpid(child, 0)[1]
    return json.loads(answer.read_text()) if answer.exists() else {"signal": status}


def is_right(found: dict[str, Any], wanted: Any) -> bool:
    """Whether a process has the answer of one alone, or says in one line why it hasn't."""
    if "result" in found:
        return bool(found["result"] == wanted)
    return found.get("error") in KINDS and 0 < len(found["line"].splitlines()) < 2


def main() -> None:
    """Run the pairs; the second starts at some moment within the time that one alone takes."""
    command, source, trials = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    draw, work = random.Random(f"{command} {sys.argv[4]}"), source.with_name("work")

    def fresh() -> None:
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(source, work)

    one, other = (source.with_name(f"{name}.answer") for name in ("one", "other"))
    fresh()
    before = time.monotonic()
    alone = finish(start(command, work, one), one)
    seconds = time.monotonic() - before
    files = set(listing(work))
    print(json.dumps({"alone": "result" in alone or alone}), flush=True)
    for _ in range(trials):
        fresh()
        first = start(command, work, one)
        time.sleep(draw.choice((0, 0, draw.uniform(0, 0.9) * seconds)))
        found = [finish(start(command, work, other), other), finish(first, one)]
        again = finish(start(command, work, one), one)
        right = [is_right(each, alone["result"]) for each in found]
        done = any("result" in each for each in found) and again == alone
        stale = sorted(set(listing(work)) ^ files)
        about = "" if all(right) and done else str([*found, again])[:900]
        print(json.dumps({"right": all(right) and done, "stale": stale, "is": about}), flush=True)


if __name__ == "__main__":
    for room in NEEDS.get(sys.argv[1], ["store"]):
        import_module(f"pzsl.{room}")  # once, before any fork
    main()
