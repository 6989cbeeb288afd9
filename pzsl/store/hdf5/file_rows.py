"""Arrays that stay in files, one or several; rows are read when they are indexed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

from pzsl.errors import UserError
from pzsl.files import state_of


class Section(NamedTuple):
    """An array that lies contiguous in a file.

    Attributes:
        path: of the file.
        offset: of its first byte.
        shape, dtype: of the array.
        state: of the file when it was checked, see `state_of`.
    """

    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    state: tuple[int, int, int, int]

    def check_unchanged(self) -> None:
        """Check that the file is still the one that was checked.

        Raises:
            UserError: it was changed, replaced, moved or deleted since.
        """
        now = state_of(self.path)
        if now != self.state:
            what = "changed or replaced" if any(now) else "moved or deleted"
            raise UserError(
                f"{self.path} was {what} while it was read: run the same command again, when the "
                "file is there and nothing writes into it."
            )

    def mapped(self) -> NDArray[Any]:
        """A map of the array, whose pages are freed with it."""
        self.check_unchanged()
        return np.memmap(self.path, self.dtype, "r", self.offset, self.shape)

    def read_into(self, start: int, rows: NDArray[Any]) -> None:
        """Read rows from `start` on, without a map."""
        self.check_unchanged()
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.offset + start * (rows.nbytes // len(rows)))
            _fill(file, rows)


def _fill(file: Any, rows: NDArray[Any]) -> None:
    """Fill a contiguous array from the current position of an unbuffered file."""
    unread = rows.data.cast("B")
    while unread:
        read = file.readinto(unread)
        if not read:
            raise EOFError(f"{file.name} ends within an array: was it cut off?")
        unread = unread[read:]


class FileRows(NDArrayOperatorsMixin):
    """An array (N, ...) whose rows lie in files, one after the other.

    A slice, a row number or an array of them reads these rows alone. Everything else that arrays
    can do reads the whole array into memory. No file is kept open, as parts may be many.

    Args:
        sections: the rows, in order; of one dtype, and shapes that differ in their first axis.
    """

    def __init__(self, sections: Sequence[Section]) -> None:
        self.sections = tuple(sections)
        self.ends = np.cumsum([section.shape[0] for section in sections])
        self.shape = (int(self.ends[-1]), *sections[0].shape[1:])
        self.dtype, self.ndim = sections[0].dtype, len(self.shape)
        self.nbytes = int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step == 1:
                return self.read(start, max(start, stop))
            return self._gathered(np.arange(start, stop, step))
        if isinstance(key, tuple):
            return np.asarray(np.asarray(self)[key])
        rows = np.asarray(key)
        rows = np.flatnonzero(self._checked_mask(rows)) if rows.dtype == np.bool_ else rows
        values = self._gathered(rows.reshape(-1).astype(np.int64))
        return np.asarray(values.reshape(*rows.shape, *self.shape[1:]))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self.read(0, len(self)).astype(dtype or self.dtype, copy=False)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        arrays = [
            np.asarray(operand) if isinstance(operand, FileRows) else operand for operand in inputs
        ]
        return getattr(ufunc, method)(*arrays, **options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"'FileRows' has no attribute '{name}'")
        return getattr(np.asarray(self), name)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Rows from `start` to before `stop`, read without maps."""
        rows = np.empty((stop - start, *self.shape[1:]), self.dtype)
        self.read_into(start, rows)
        return rows

    def read_into(self, start: int, rows: NDArray[Any]) -> None:
        """Fill a contiguous array with the rows from `start` on."""
        stop = start + len(rows)
        first = int(np.searchsorted(self.ends, start, side="right"))
        for number in range(first, len(self.sections)):
            end, section = int(self.ends[number]), self.sections[number]
            begin = end - section.shape[0]
            if begin >= stop:
                break
            low, high = max(start, begin), min(stop, end)
            if low < high and rows.nbytes:
                section.read_into(low - begin, rows[low - start : high - start])

    def _gathered(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Rows (n,) in any order."""
        if len(rows) and not (-len(self) <= rows.min() and rows.max() < len(self)):
            raise IndexError(f"rows {rows.min()} to {rows.max()} of an array of {len(self)} rows")
        rows = np.where(rows < 0, rows + len(self), rows)
        gathered = np.empty((len(rows), *self.shape[1:]), self.dtype)
        of_row = np.searchsorted(self.ends, rows, side="right")
        for number in np.unique(of_row).tolist():
            section, here = self.sections[number], np.flatnonzero(of_row == number)
            begin = self.ends[number] - section.shape[0]
            gathered[here] = section.mapped()[rows[here] - begin]
        return gathered

    def _checked_mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        if mask.shape != (len(self),):
            raise IndexError(f"a mask {mask.shape} for an array of {len(self)} rows")
        return mask


def in_files(array: Any) -> FileRows | None:
    """The same array as rows in files; None if it lies in memory."""
    if isinstance(array, np.memmap):
        path = Path(str(array.filename))
        place = path, int(array.offset), array.shape, array.dtype, state_of(path)
        return FileRows([Section(*place)])
    return array if isinstance(array, FileRows) else None
