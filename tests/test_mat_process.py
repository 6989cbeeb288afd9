"""Reading MATLAB files in a separate process."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
from scipy.io import savemat

from pzsl.datasets.published.mat_process import load_apart


def read(path: Path) -> None:
    assert load_apart(path, ["att"])["att"].shape == (2, 2)


def test_a_process_of_multiprocessing_ends_after_it_has_read_a_file(tmp_path):
    """It waits for its child processes before their executors are told to end."""
    savemat(tmp_path / "x.mat", {"att": np.eye(2)})
    process = multiprocessing.get_context("spawn").Process(target=read, args=(tmp_path / "x.mat",))
    process.start()
    process.join(60)
    exit_code = process.exitcode
    process.kill()
    assert exit_code == 0
