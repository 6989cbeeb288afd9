"""A named pipe in place of a file that is read: one line, and no waiting for who never writes."""

from __future__ import annotations

import os

import pytest
from PIL import Image
from problems import write_cache

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")

FOLDER = "extract --dataset folder --root {photos} --model tiny --out x.h5"


@pytest.mark.parametrize(
    "line",
    [
        "inspect {pipe}.h5",
        "train --cache {cache} --config {pipe}.toml",
        "train --cache {cache} --config {pipe}.json",
        "extract --dataset table --table {pipe}.csv --model tiny --out x.h5",
        "extract --dataset table --table {pipe}.jsonl --model tiny --out x.h5",
        "extract --dataset table --table {pipe}.parquet --model tiny --out x.h5",
        "import {npy} --table {pipe}.csv --out x.h5",
        FOLDER + " --splits {pipe}.json",
        FOLDER + " --templates {pipe}.txt",
        FOLDER + " --descriptions {pipe}.json",
        "review --cache {cache} --apply {pipe}.csv --out o.csv",
    ],
)
def test_a_pipe_is_no_file_to_read(line, pzsl, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("ash", "elm"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (8, 8)).save(tmp_path / "photos" / name / f"{number}.png")
    for ending in ("h5", "toml", "json", "csv", "jsonl", "parquet", "txt"):
        os.mkfifo(tmp_path / f"pipe.{ending}")
    (tmp_path / "x.npy").write_bytes(b"")
    cache = write_cache(tmp_path / "c.h5")
    places = {"photos": "photos", "pipe": "pipe", "cache": cache, "npy": "x.npy"}
    code, _, told = pzsl(*line.format(**places).split())
    assert code in (1, 2)
    assert "a pipe or a device" in told.splitlines()[-1], told
