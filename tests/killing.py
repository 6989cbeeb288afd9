"""Kill a command at some moment, run it again, and compare with a run that nobody killed.

`python tests/killing.py COMMAND FOLDER TRIALS SEED` prints one JSON line a trial. All is imported
once; each run is a fork, which takes milliseconds to start.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pzsl.files import sha256_of

EVENTS = {
    *("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate"),
    *("tempfile.mkstemp", "fcntl.flock", "shutil.copyfile", "os.listdir", "os.scandir"),
}
"""The events that Python reports before it touches a file."""


def run_extract(folder: Path) -> Any:
    from pzsl import extract

    weights = folder / "tiny.safetensors"
    about = {"model": "tiny", "pretrained": weights, "batch_size": 3, "workers": 1}
    return _of_cache(extract("folder", folder / "photos", out=folder / "x.h5", **about)["cache"])


def run_train(folder: Path) -> Any:
    from pzsl import train

    options = {"settings": {"epochs": 3, "min_steps": 6}, "checkpoint_seconds": 0}
    rows = train(
        folder / "c.h5", method="cc", rate=0.1, seeds=2, workers=1, runs=folder / "runs", **options
    )["runs"]
    keep = ("S", "U", "H", "T1", "gamma", "disambiguation", "seed")
    return [[row[name] for name in keep] for row in rows]


def run_merge(folder: Path) -> Any:
    from pzsl.store import merge_parts

    merge_parts(sorted(folder.glob("x.part*.h5")), folder / "x.h5", overwrite=True)
    return _of_cache(folder / "x.h5")


def run_annotate(folder: Path) -> Any:
    from pzsl.annotation import annotate

    annotate(folder / "c.h5", rule="topk", overwrite=True)
    return _of_cache(folder / "c.h5")


def run_import(folder: Path) -> Any:
    from pzsl.exchange import import_npz

    return _of_cache(import_npz(folder / "x.npz", folder / "imported.h5", overwrite=True))


def run_pack(folder: Path) -> Any:
    from pzsl import pack

    pack(_run_in(folder), folder / "packed", overwrite=True)
    return _hashes(folder / "packed")


def run_predict(folder: Path) -> Any:
    from pzsl import predict

    asked = {"out": folder / "answers.csv", "overwrite": True, "batch_size": 3}
    predict(_run_in(folder), [folder / "x.npy"], **asked)
    return [sha256_of(folder / "answers.csv")]


def run_labels(folder: Path) -> Any:
    from pzsl import labels

    labels(_run_in(folder), folder / "labels.csv", overwrite=True)
    return [sha256_of(folder / "labels.csv")]


def run_report(folder: Path) -> Any:
    from pzsl import report

    report(folder / "runs", folder / "report", formats=["md", "csv"])
    return _hashes(folder / "report")


def _run_in(folder: Path) -> Path:
    return next(folder.glob("runs/*/*/metrics.json")).parent


def _hashes(folder: Path) -> list[list[str]]:
    return sorted([file.name, sha256_of(file)] for file in folder.iterdir())


def _of_cache(path: Any) -> Any:
    from pzsl.store import load_cache

    cache = load_cache(Path(path))
    return [cache.fingerprint, cache.images.tolist(), str(cache.candidate_labels)]


RUNS: dict[str, Callable[[Path], Any]] = {
    **{"extract": run_extract, "train": run_train, "merge": run_merge},
    **{"annotate": run_annotate, "import": run_import},
    **{"pack": run_pack, "predict": run_predict, "labels": run_labels, "report": run_report},
}


def forked(command: str, folder: Path, kill_at: int = 0, after: float = 0.0) -> tuple[int, Any]:
    """Run a command in a process of its own.

    Args:
        command: a key of `RUNS`. folder: that it works in, as all of its files do.
        kill_at: number of the event within the folder at which it is killed; 0 for none.
        after: seconds until it is killed from outside; 0 for never.

    Returns:
        The signal that ended it, 0 for none, and `[result, number of events]`.
    """
    answer = folder.with_suffix(".answer")
    answer.unlink(missing_ok=True)
    child = os.fork()
    if not child:
        _be_the_command(command, folder, kill_at, answer)
    if after:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    found = json.loads(answer.read_text()) if answer.exists() else None
    return (os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0), found


def _be_the_command(command: str, folder: Path, kill_at: int, answer: Path) -> None:
    count, here = 0, str(folder)

    def watch(event: str, given: tuple[Any, ...]) -> None:
        nonlocal count
        in_open_folder = event == "os.remove" and given[1] != -1
        anywhere = event == "fcntl.flock" or in_open_folder
        if event in EVENTS and (not given or anywhere or here in str(given[0])):
            count += 1
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    try:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - for as long as the process lives
        result = RUNS[command](folder)
        answer.write_text(json.dumps([result, count]))
    except BaseException as error:
        answer.write_text(json.dumps([f"{type(error).__name__}: {error}", count]))
    finally:
        os._exit(0)


def listing(folder: Path) -> list[str]:
    """All files in a folder, hidden ones too."""
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def main() -> None:
    """Half of the trials are killed at an event, half by the clock."""
    command, source, trials = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    draw = random.Random(f"{command} {sys.argv[4]}")
    work = source.with_name("work")

    def fresh() -> None:
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(source, work)

    fresh()
    forked(command, work)  # imports what is imported late, for the clock
    fresh()
    start = time.monotonic()
    _, (wanted, events) = forked(command, work)
    seconds, files = time.monotonic() - start, listing(work)
    print(json.dumps({"result": wanted if isinstance(wanted, str) else "", "events": events}))
    for trial in range(trials):
        fresh()
        if trial % 2:
            moment = {"after": draw.uniform(0.05, 1.0) * seconds}
        else:
            moment = {"kill_at": 1 + (trial // 2 * events) // max(1, (trials + 1) // 2)}
        ended, _ = forked(command, work, **moment)
        _, again = forked(command, work)
        equal = again is not None and again[0] == wanted
        stale = sorted(set(listing(work)) ^ set(files))
        about = "" if equal else str(again)[:300]
        print(json.dumps({**moment, "killed": ended, "equal": equal, "stale": stale, "is": about}))


if __name__ == "__main__":
    import pzsl.extraction
    import pzsl.inference
    import pzsl.reports
    import pzsl.training  # noqa: F401 - imported once, before any fork

    main()
