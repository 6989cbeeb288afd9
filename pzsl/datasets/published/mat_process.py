"""Read MATLAB files in a separate process, because SciPy's reader crashes on some damaged files."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from math import prod
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import numpy as np

from pzsl.files import check_regular, check_unpacked
from pzsl.workers import check_may_start, end_with_parent, without_main_module

TOO_NEW = "it is in MATLAB's HDF5 format: save it again as version 7 (save -v7)"


def load_apart(path: Path, fields: Sequence[str]) -> dict[str, Any]:
    """Read fields of a MATLAB file that may be damaged.

    Args:
        path: of the file.
        fields: names of the fields to read; missing ones are left out.

    Returns:
        Each field as an array of numbers, or of text (cell arrays and characters); and
        `__header__`, the text in the file's header.

    Raises:
        OSError: the file can't be opened.
        ValueError: it is not a complete MATLAB file.
    """
    check_regular(path)
    path.open("rb").close()
    try:
        return _process().submit(_load, str(path.resolve()), list(fields)).result()
    except BrokenProcessPool:
        _process.cache_clear()
        raise ValueError("reading it ends the process that does so") from None


@cache
def _process() -> ProcessPoolExecutor:
    """One process for all files, as starting it takes most of the time."""
    check_may_start()
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(1, context, initializer=end_with_parent)
    with without_main_module():  # the first task starts the process
        executor.submit(abs, 0).result()
    # A process of multiprocessing waits for its own ones before it ends their executors, whose
    # queues it closes at priority 10.
    Finalize(executor, executor.shutdown, exitpriority=100)
    return executor


def _load(path: str, fields: list[str]) -> dict[str, Any]:
    from scipy.io import loadmat, whosmat

    try:
        sizes = [prod(map(int, shape)) * 8 for name, shape, _ in whosmat(path) if name in fields]
        check_unpacked(sum(sizes), Path(path))
        contents = loadmat(path, variable_names=fields, appendmat=False, chars_as_strings=True)
        values = {name: _plain(contents[name]) for name in fields if name in contents}
        header = contents["__header__"].decode("latin-1")
    except NotImplementedError:
        raise ValueError(TOO_NEW) from None
    except Exception as error:  # SciPy answers damaged files with half a dozen kinds
        raise ValueError(str(error) or type(error).__name__) from None
    return {**values, "__header__": header}


def _plain(value: Any) -> np.ndarray[Any, Any]:
    """Numbers as they are; cell arrays (each cell an array of a text) and characters as text."""
    array = np.asarray(value)
    if array.dtype.kind in "OU":
        return np.array([_text(cell) for cell in array.ravel()], dtype=np.str_)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"a field of it holds {array.dtype}")
    return np.array(array, order="K")


def _text(cell: Any) -> str:
    while isinstance(cell, np.ndarray):
        if not cell.size:
            return ""
        cell = cell.ravel()[0]
    return str(cell)
