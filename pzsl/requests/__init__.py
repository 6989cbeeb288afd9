"""The options of `extract` and `train`, defined once for Python and the command line.

A request is a frozen dataclass of plain values. Each field carries its help, its heading and its
flag, from which the command line is built; a test checks that signature and docstring of the
Python function list the same fields. Nothing here imports torch, numpy or h5py, so that
`pzsl --help` is quick.
"""

from __future__ import annotations

from pzsl.requests.extract import (
    DTYPES,
    ENGINES,
    ON_ERROR,
    OWN,
    OWN_IMAGES,
    PUBLISHED,
    ExtractRequest,
)
from pzsl.requests.option_fields import OUTPUT, Described, described, option
from pzsl.requests.train import LABELS, LAST_SEED, TrainRequest
from pzsl.requests.values import (
    as_list,
    as_lists,
    check_counts,
    check_output,
    is_number,
    is_plain_name,
    is_whole,
    rounded,
    say_unused,
    unless,
    with_paths,
)

__all__ = [
    "DTYPES",
    "ENGINES",
    "LABELS",
    "LAST_SEED",
    "ON_ERROR",
    "OUTPUT",
    "OWN",
    "OWN_IMAGES",
    "PUBLISHED",
    "Described",
    "ExtractRequest",
    "TrainRequest",
    "as_list",
    "as_lists",
    "check_counts",
    "check_output",
    "described",
    "is_number",
    "is_plain_name",
    "is_whole",
    "option",
    "rounded",
    "say_unused",
    "unless",
    "with_paths",
]
