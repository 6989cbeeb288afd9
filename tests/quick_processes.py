"""Python processes that start in no time: forks of one that has imported torch and pzsl once.

They stand in for `[sys.executable, ...]` where a test is about a process, but not about what it
imports. Where such forks are not safe, as on macOS, or not there, processes start as usual.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from pzsl import workers

ROOT = Path(__file__).parents[1]
PRELOADED = [
    *("torch", "pzsl.cli.train", "pzsl.annotation", "pzsl.reports"),
    "pzsl.training.engines.on_processes",
]
"""What takes seconds to import, or what imports it; of stage two, whose imports are tested."""


if sys.platform == "linux":

    class QuickProcess(multiprocessing.context.ForkServerProcess):
        """Takes the environment of now along, as other processes do."""

        def __init__(self, *given: Any, **options: Any) -> None:
            super().__init__(*given, **options)
            self.environment = {**os.environ}

        def run(self) -> None:
            os.environ.clear()
            os.environ.update(self.environment)
            super().run()

    class QuickContext(multiprocessing.context.ForkServerContext):
        Process = QuickProcess


def quick_context(_: str | None = None) -> BaseContext:
    """Stands in for `multiprocessing.get_context`."""
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = QuickContext()
    context.set_forkserver_preload(PRELOADED)
    return context


class PythonProcess:
    """`python WORDS` in a folder, with stdout and stderr in files.

    Args:
        words: as Python takes them: a script, `-m module` or `-c code`, and arguments.
        cwd: the folder it works in.
    """

    def __init__(self, *words: str | Path, cwd: Path = ROOT) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="pzsl-process-")
        self.words = [*map(str, words)]
        given = self._folder.name, self.words, str(cwd)
        self._out = Path(self._folder.name, "out").open("x+", encoding="utf-8")  # noqa: SIM115
        self._process = quick_context().Process(target=_be_python, args=given)
        with workers.without_main_module():
            self._process.start()

    def next_line(self, timeout: float = 120) -> str:
        """The next line of stdout, as soon as it is there; nothing where the process has ended.

        Raises:
            TimeoutError: neither came about in so many seconds.
        """
        end, line = time.monotonic() + timeout, ""
        while time.monotonic() < end:
            ended = not self._process.is_alive()
            line += self._out.readline()
            if ended or line.endswith("\n"):
                return line
            time.sleep(0.002)
        raise TimeoutError(f"nothing in {timeout} s")

    def kill(self) -> None:
        self._process.kill()

    def send_signal(self, number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def wait(self, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Its end, as `subprocess.run` gives it.

        Raises:
            subprocess.TimeoutExpired: it has not ended in so many seconds; it is killed.
        """
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            self.kill()
            raise subprocess.TimeoutExpired(self.words, timeout)
        with self._folder as folder, self._out:
            files = [Path(folder) / name for name in ("out", "err")]
            texts = [file.read_text("utf-8") if file.exists() else "" for file in files]
        return subprocess.CompletedProcess(self.words, code, *texts)


def run_python(
    *words: str | Path, cwd: Path = ROOT, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Stands in for `subprocess.run([sys.executable, *words])`; stdout and stderr are text."""
    return PythonProcess(*words, cwd=cwd).wait(timeout)


def train_process(cache: Path, *words: str | Path, cwd: Path = ROOT) -> PythonProcess:
    """`pzsl train` of two seeds on a cache, which saves a checkpoint after each epoch."""
    usual = ["--rate", "0.4", "--seeds", "2", "--checkpoint-seconds", "0"]
    return PythonProcess("-m", "pzsl", "train", "--cache", cache, *usual, *words, cwd=cwd)


def _be_python(folder: str, words: list[str], cwd: str) -> None:
    for number, name in enumerate(("out", "err"), 1):
        with (Path(folder) / name).open("wb") as file:
            os.dup2(file.fileno(), number)
    os.chdir(cwd)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests may run in the background
    workers.get_context = quick_context
    kind, *rest = words
    if kind == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = words
        sys.path.insert(0, str(Path(kind).parent))
        runpy.run_path(kind, run_name="__main__")
