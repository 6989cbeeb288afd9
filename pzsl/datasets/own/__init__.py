"""Your own images: class folders, tables, tar files."""

from __future__ import annotations

from pzsl.datasets.own.drawn_split import TEST_WORDS, TRAIN_WORDS
from pzsl.datasets.own.folder import load_folder
from pzsl.datasets.own.folder_files import (
    SUFFIXES,
    is_hidden,
    is_named_image,
    kinds_of,
    say_other_kinds,
)
from pzsl.datasets.own.row_checks import folder_of
from pzsl.datasets.own.rows import CANDIDATES, plain_path, read_paths, read_rows
from pzsl.datasets.own.same_image import check_once
from pzsl.datasets.own.table import load_rows, load_table
from pzsl.datasets.own.table_files import read_parquet
from pzsl.datasets.own.tar import load_tar

__all__ = [
    "CANDIDATES",
    "SUFFIXES",
    "TEST_WORDS",
    "TRAIN_WORDS",
    "check_once",
    "folder_of",
    "is_hidden",
    "is_named_image",
    "kinds_of",
    "load_folder",
    "load_rows",
    "load_table",
    "load_tar",
    "plain_path",
    "read_parquet",
    "read_paths",
    "read_rows",
    "say_other_kinds",
]
