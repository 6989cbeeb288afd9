"""What unpacks to far more than its file holds is refused in one line, before it is unpacked."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from problems import write_cache
from scipy.io import savemat

from pzsl import files
from pzsl.datasets import reading
from pzsl.datasets.fetching.archives import unpack
from pzsl.datasets.own import read_parquet
from pzsl.datasets.own.tar import load_tar
from pzsl.datasets.published.mat_process import _load
from pzsl.datasets.reading import open_image
from pzsl.encoders.weights import read_weights
from pzsl.exchange import import_any
from pzsl.store import load_cache

ZEROS = 2**22


def _npz(folder: Path) -> object:
    np.savez_compressed(folder / "x.npz", image_features=np.zeros((ZEROS // 512, 128), np.float32))
    return import_any(folder / "x.npz", folder / "c.h5")


def _zip(folder: Path) -> object:
    with zipfile.ZipFile(folder / "x.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.jpg", bytes(ZEROS))
    return unpack(folder / "x.zip", folder)


def _tar(folder: Path, kind: bytes = tarfile.REGTYPE) -> object:
    with (
        gzip.open(folder / "x.tgz", "wb") as packed,
        tarfile.open(fileobj=packed, mode="w") as file,
    ):
        member = tarfile.TarInfo("a.jpg")
        member.size, member.type = ZEROS, kind
        file.addfile(member, io.BytesIO(bytes(ZEROS)))
    return unpack(folder / "x.tgz", folder)


def _name_in_tar(folder: Path) -> object:
    return _tar(folder, tarfile.GNUTYPE_LONGNAME)


def _checkpoint(folder: Path) -> object:
    torch.save({"w": torch.zeros(ZEROS // 4)}, folder / "plain.pt")
    with (
        zipfile.ZipFile(folder / "plain.pt") as plain,
        zipfile.ZipFile(folder / "x.pt", "w", zipfile.ZIP_DEFLATED) as file,
    ):
        for name in plain.namelist():
            file.writestr(name, plain.read(name))
    return read_weights(folder / "x.pt")


def _repeated_tensor(folder: Path) -> object:
    torch.save({"w": torch.zeros(1, dtype=torch.half).expand(ZEROS)}, folder / "x.pt")
    return read_weights(folder / "x.pt")


def _parquet(folder: Path) -> object:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pa.table({"path": np.zeros(ZEROS // 8, np.int64)}), folder / "x.parquet")
    return read_parquet(folder / "x.parquet")


def _cache(folder: Path) -> object:
    write_cache(folder / "x.h5", each=6)
    with h5py.File(folder / "x.h5", "r+") as file:
        shape = (len(file["class/name"]), ZEROS // 16)
        file.create_dataset("class/attributes", data=np.zeros(shape, "f4"), compression="gzip")
    return load_cache(folder / "x.h5")


def _mat(folder: Path) -> object:
    savemat(folder / "x.mat", {"features": np.zeros((ZEROS // 8, 1))}, do_compression=True)
    return _load(str(folder / "x.mat"), ["features"])


MAKERS = (*(_npz, _zip, _tar, _name_in_tar, _checkpoint, _repeated_tensor, _parquet, _cache, _mat),)


@pytest.mark.parametrize("make", MAKERS)
def test_a_bomb_is_refused_in_one_line(make, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "SLACK", 2**19)
    with pytest.raises(
        ValueError, match=r"decompression bomb|not a complete archive|a name of"
    ) as error:
        make(tmp_path)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob(".*unpacking"))


def test_an_image_file_of_gigabytes_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "LARGEST", 1000)
    (tmp_path / "a.webp").write_bytes(b"RIFF" + bytes(2000))
    with pytest.raises(OSError, match="too much for a photograph"):
        open_image(tmp_path / "a.webp")
    with tarfile.open(tmp_path / "x.tar", "w") as file:
        for name in ("a", "b"):
            file.add(tmp_path / "a.webp", f"{name}.webp")
            label = tarfile.TarInfo(f"{name}.cls")
            label.size = 1
            file.addfile(label, io.BytesIO(name.encode()))
    data = load_tar(tmp_path / "x.tar")
    with pytest.raises(OSError, match="too much for a photograph"):
        data.reader(data.paths[0])
