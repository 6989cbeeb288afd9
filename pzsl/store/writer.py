"""Write a feature cache so that a kill at any moment loses at most the current block."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from pzsl.errors import UserError
from pzsl.locks import unlock
from pzsl.store.hdf5 import (
    FILES,
    CacheHeader,
    explained,
    lay_out,
    locked,
    put_rows,
    read_stored,
    sync_folder,
    write_checksums,
)
from pzsl.store.reader import partial_path
from pzsl.store.resume import finished, unfinished, without_rows
from pzsl.store.unit_length import CHUNK, not_unit
from pzsl.store.validation import check_header, fault_of, feature_problems


class CacheWriter:
    """Fills a cache in blocks of rows; `NAME.partial` becomes `NAME` when no row is missing.

    A context manager that holds a lock on the file while it is open. If the block ends without
    `finish`, the rows written so far are kept, and the next writer resumes there. Ours.

    Attributes:
        whole: the cache was already finished with the same header; nothing is left to do.
        resumed: number of images that were written before.
    """

    whole: bool
    resumed: int

    def __init__(
        self,
        path: str | Path,
        header: CacheHeader,
        *,
        dtype: str = "float32",
        overwrite: bool = False,
        views: int = 0,
    ) -> None:
        """Create a cache, or resume an existing one with the same header.

        If it is already finished, nothing is pending, and `finish` returns its path.

        Args:
            path: of the finished file; a missing folder is created.
            header: all that is known before the first image is encoded.
            dtype: of the stored image embeddings: `float32` or `float16`.
            overwrite: start again; a finished cache is kept until the new one replaces it.
            views: K, augmented views of each image; 0 for none.

        Raises:
            UserError: the header is invalid, an existing cache has other settings, another process
                is writing the cache, or the folder can't be written.
        """
        self.path = Path(path)
        self.partial = partial_path(self.path)
        self._scratch = self.partial.with_name(self.partial.name + ".new")
        check_header(header, dtype, views, self.path)
        self._header, self._dtype, self._views = header, dtype, views
        with explained(self.path):
            if self.path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = locked(self.path)
        try:
            with explained(self.path):
                self._open(overwrite)
        except BaseException:
            unlock(self._lock)
            raise

    def _open(self, overwrite: bool) -> None:
        settings = self._header, self._dtype, self._views
        if overwrite:
            self.partial.unlink(missing_ok=True)
        self.whole = self.path.exists() and not self.partial.exists() and not overwrite
        if self.whole:
            stored = finished(self.path, *settings)
        elif (unfinished_cache := unfinished(self.partial, *settings)) is not None:
            stored = unfinished_cache
        else:
            lay_out(self._scratch, *settings)
            self._scratch.replace(self.partial)
            stored = read_stored(self.partial)
        self._arrays: dict[str, NDArray[Any]] = stored.arrays
        self._done: NDArray[np.bool_] = np.array(stored.arrays["/image/done"], dtype=np.bool_)
        self._text_done = bool(stored.arrays["/text/done"].all())
        if self.whole:
            self._file: BinaryIO = self.path.open("rb", buffering=0)
        else:
            self._file = self.partial.open("r+b", buffering=0)
            self._recheck()
            if FILES in self._arrays and self._header.files is not None:
                self._put(FILES, self.pending, self._header.files[self.pending])
        self.resumed = int(self._done.sum())

    def _recheck(self) -> None:
        """Check the rows marked as done: a power cut can lose data written before the mark."""
        if self._done.any():
            lost = np.zeros_like(self._done)
            for name in self._embedding_names:
                lost[not_unit(self._arrays[name])] = True
            rows = np.flatnonzero(lost & self._done)
            self._put("/image/done", rows, np.zeros(len(rows), np.uint8))
            self._done[rows] = False
        if self._text_done:
            self._text_done = not len(not_unit(self._arrays["/text/features"]))

    @property
    def _embedding_names(self) -> list[str]:
        return ["/image/features", "/image/views"] if self._views else ["/image/features"]

    @property
    def pending(self) -> NDArray[np.int64]:
        """Rows still to be written, ascending."""
        return np.flatnonzero(~self._done)

    @property
    def text_pending(self) -> bool:
        """Whether the text embeddings are still to be written."""
        return not self._text_done

    def write_text(self, features: NDArray[np.float32]) -> None:
        """Write all text embeddings, (C, T, D) float32 unit vectors.

        Raises:
            UserError: wrong shape, not finite, not of length one; a finished cache or a full disk.
        """
        self._check_unfinished()
        features = np.asarray(features, dtype=np.float32)
        self._expect("text features", features, self._arrays["/text/features"].shape)
        for problem in feature_problems("text features", features, self._header.classes):
            raise UserError(f"{self.path}: {problem}: the encoder's answer can't be used.")
        rows = np.arange(len(features))
        self._put("/text/done", rows, np.zeros(len(rows), np.uint8))
        if features.size:  # without templates there are no bytes to write
            self._put("/text/features", rows, features)
        self._put("/text/done", rows, np.ones(len(rows), np.uint8))
        self._text_done = True

    def write(
        self,
        rows: NDArray[np.int64],
        features: NDArray[np.float32],
        views: NDArray[np.float32] | None = None,
    ) -> None:
        """Write the embeddings of some images; once this returns, a kill can't lose them.

        Args:
            rows: (n,) of the images, in any order.
            features: (n, D) float32 unit vectors.
            views: (n, K, D) float32 unit vectors, if the cache has views.

        Raises:
            UserError: wrong shapes or rows, not finite, not of length one; finished; a full disk.
        """
        self._check_unfinished()
        rows = np.asarray(rows, dtype=np.int64)
        arrays = [features] if views is None else [features, views]
        if len(arrays) != len(self._embedding_names):
            raise UserError(f"{self.path}: it holds {self._views} views per image: give as many.")
        outside = rows[(rows < 0) | (rows >= len(self._done))]
        if len(outside):
            raise UserError(f"{self.path}: row {outside[0]} is outside 0..{len(self._done) - 1}.")
        blocks = dict(zip(self._embedding_names, map(np.asarray, arrays), strict=True))
        for name, block in blocks.items():
            self._expect(name, block, (len(rows), *self._arrays[name].shape[1:]))
            if len(wrong := not_unit(block)):
                image = self._header.paths[rows[wrong[0]]]
                raise UserError(
                    f"{self.path}: the embedding of image '{image}' (row {rows[wrong[0]]}) "
                    f"{fault_of(block[wrong[0]])}: look at that image and at the encoder's weights."
                )
        for name, block in blocks.items():
            self._put(name, rows, block)
        self._put("/image/done", rows, np.ones(len(rows), np.uint8))
        self._done[rows] = True

    def _check_unfinished(self) -> None:
        if self.whole or self._file.closed:
            raise UserError(f"{self.path}: it is finished: overwrite=True starts it again.")

    def _expect(self, label: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
        if array.shape != shape:
            raise UserError(f"{self.path}: {label} should be {shape}, but are {array.shape}.")

    def _put(self, name: str, rows: NDArray[np.int64], block: NDArray[Any]) -> None:
        with explained(self.path):
            put_rows(self._file, self._arrays[name], rows, block)

    def finish(self, skip: Sequence[int] = ()) -> Path:
        """Validate the cache, rename it to its final name, and close the writer.

        Args:
            skip: rows to leave out, because their images couldn't be read.

        Returns:
            The path of the finished cache.

        Raises:
            UserError: a row that isn't skipped is missing, or the disk is full; the rows written
                so far are kept.
        """
        if self.whole:
            self._leave()
            return self.path
        skipped = np.unique(np.asarray(skip, dtype=np.int64))
        self._check_whole(skipped)
        with explained(self.path):
            complete = self._without(skipped) if len(skipped) else self.partial
            write_checksums(complete)
            with complete.open("rb+") as file:
                os.fsync(file.fileno())
            self._close_file()
            complete.replace(self.path)
            for leftover in (self.partial, self._scratch):
                leftover.unlink(missing_ok=True)
            sync_folder(self.path.parent)
        self._leave()
        return self.path

    def _check_whole(self, skipped: NDArray[np.int64]) -> None:
        if self.text_pending:
            raise UserError(f"{self.path}: the text embeddings are not written yet.")
        missing = np.setdiff1d(self.pending, skipped)
        if len(missing):
            raise UserError(
                f"{self.path}: {len(missing):,} of {len(self._done):,} rows are not filled, the "
                f"first is {missing[0]} ('{self._header.paths[missing[0]]}'): run the same "
                "command again."
            )
        for name in self._embedding_names:
            if len(wrong := np.setdiff1d(not_unit(self._arrays[name]), skipped)):
                fault = fault_of(self._arrays[name][wrong[0]])
                raise UserError(
                    f"{self.path}: row {wrong[0]} of {name} {fault}, but was valid "
                    "when it was written: check the disk, then run the same command again."
                )

    def _without(self, skipped: NDArray[np.int64]) -> Path:
        """Write a second file without these rows; the first stays until the second is renamed."""
        kept_rows = np.setdiff1d(np.arange(len(self._done)), skipped)
        lay_out(self._scratch, without_rows(self._header, skipped), self._dtype, self._views)
        arrays = read_stored(self._scratch).arrays
        with self._scratch.open("r+b", buffering=0) as file:
            for start in range(0, len(kept_rows), CHUNK):
                source_rows = kept_rows[start : start + CHUNK]
                target_rows = np.arange(start, start + len(source_rows))
                for name in [*self._embedding_names, "/image/done"]:
                    put_rows(file, arrays[name], target_rows, self._arrays[name][source_rows])
            for name in ("/text/features", "/text/done"):
                values = self._arrays[name]
                if values.size:
                    put_rows(file, arrays[name], np.arange(len(values)), values)
        return self._scratch

    def _close_file(self) -> None:
        self._file.close()
        self._arrays = {}  # some systems can't rename a mapped file

    def _leave(self) -> None:
        """Close the file and remove the lock's file, which a finished cache doesn't need."""
        self._close_file()
        unlock(self._lock)

    def close(self) -> None:
        """Close the file and release its lock; the rows written so far are kept."""
        self._close_file()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
