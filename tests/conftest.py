"""Fixtures that several test files share."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings
from quick_processes import quick_context

from pzsl.cli import main

# Threads that wait must not spin: tests share the cores with each other and with child processes.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# A slow or busy machine is no reason for a property test to fail.
settings.register_profile("pzsl", deadline=None)
settings.load_profile("pzsl")


gc.disable()  # what is imported stays: looking for garbage among it takes seconds


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real features, splits and photographs; not part of the project."""
    given = os.environ.get("PZSL_TEST_DATA")
    folder = Path(given) if given else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real features not found: set PZSL_TEST_DATA or put them at ../shared/data")
    return folder


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory) -> Path:
    """A checkpoint of the architecture `tiny` with random weights and a shortened token table."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    from pzsl.datasets.shapes.dataset import COMPOSITIONS
    from pzsl.encoders import load_templates
    from pzsl.encoders.openclip import PRESETS
    from pzsl.encoders.train_tiny import compact

    if "tiny" not in open_clip.list_models():
        open_clip.add_model_config(PRESETS["tiny"].architecture)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.create_model("tiny", pretrained=None)
    texts = [t.replace("{}", str(c)) for t in load_templates("shapes") for c in COMPOSITIONS]
    file = tmp_path_factory.mktemp("weights") / "tiny-random.safetensors"
    save_file(compact(model.state_dict(), open_clip.get_tokenizer("tiny")(texts)), file)
    return file


@pytest.fixture(autouse=True, scope="session")
def one_process():
    """Train in the test's own process unless it asks for workers: each would import torch anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pzsl.training.engines.sweep.default_workers", lambda *_: 1)
        yield


@pytest.fixture(autouse=True, scope="session")
def quick_workers():
    """Let workers start as forks of one process that has imported torch, where that is safe."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pzsl.workers.get_context", quick_context)
        yield


@pytest.fixture(autouse=True, scope="session")
def no_waits_for_the_disk():
    """Files that live as long as a test need not be on the disk; `fstat` refuses closed ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)
        yield


@pytest.fixture
def pzsl(monkeypatch, capsys):
    """Run a command in this process: (exit code, stdout, stderr)."""

    def run(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pzsl", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        out, err = capsys.readouterr()
        return code, out, err

    return run
