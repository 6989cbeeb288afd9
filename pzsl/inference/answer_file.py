"""Answers in a file that is written as they come, resumed if interrupted, and ends as a table."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from pzsl.cells import SEPARATOR
from pzsl.errors import UserError
from pzsl.files import replacing
from pzsl.inference.answers import Answer
from pzsl.locks import unlock
from pzsl.progress import counted, say
from pzsl.store.hdf5 import locked

ROWS = 10_000
"""Rows written to a Parquet file at a time."""
COLUMNS = (
    *("path", "label", "probability", "seen", "classes", "probabilities", "unsure", "likely"),
    "failed",
)


class AnswerFile:
    """`OUT.partial`: a line that identifies the question, then one JSON line per image, in order.

    Only the last line can be incomplete, so the number of complete lines says where to resume. When
    every image has its line, the file becomes the table OUT.

    Args:
        out: the table: `.csv`, `.parquet`, `.json` or `.jsonl`, already checked by `check_out`.
        question: identifies run, images and options; answers to another question are discarded.
        resumable: whether the answer for one image is independent of later images.

    Attributes:
        done: how many images were answered before.
        failed: images so far that could not be read, `{path, reason}`.
    """

    def __init__(self, out: Path, question: str, resumable: bool = True) -> None:
        self.out, self.partial = out, out.with_name(out.name + ".partial")
        self.done = 0
        self.failed: list[dict[str, str]] = []
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _not_written(out, error) from None
        self._lock = locked(out)
        try:
            self._file = self._open(json.dumps({"asked": question}), resumable)
        except BaseException:
            unlock(self._lock)
            raise

    def _open(self, head: str, resumable: bool) -> IO[str]:
        end = self._whole_lines(head) if resumable and self.partial.exists() else 0
        if not end and self.partial.exists():
            say(f"{self.partial} holds answers to another question: starting again.")
        file = self.partial.open("r+" if end else "w", encoding="utf-8", newline="\n")
        if end:
            file.seek(end)
            file.truncate()
            say(f"Resuming: {counted(self.done, 'image')} answered already.")
        else:
            file.write(head + "\n")
        return file

    def _whole_lines(self, head: str) -> int:
        """Where the last complete line ends, in bytes; 0 if the file is for another question."""
        with self.partial.open("rb") as file:
            if file.readline() != (head + "\n").encode("utf-8"):
                return 0
            end = file.tell()
            for line in file:
                try:
                    answer = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    answer = None
                if not isinstance(answer, dict) or "path" not in answer:
                    break
                self.done += 1
                end += len(line)
                if "reason" in answer:
                    self.failed.append(answer)
        return end

    def write(self, answers: Iterable[Answer]) -> None:
        """Add the answers of the next images."""
        try:
            for answer in answers:
                self._file.write(json.dumps(answer.plain()) + "\n")
                if answer.failed:
                    self.failed.append({"path": answer.path, "reason": answer.failed})
            self._file.flush()
        except OSError as error:
            raise UserError(
                f"{self.partial} can't be written: {error.strerror or error}."
            ) from None

    def finish(self) -> None:
        """Write the table of all answers and delete the partial file."""
        self._file.close()
        try:
            with replacing(self.out) as temporary:
                _WRITERS[self.out.suffix.lower()](temporary, self._rows())
        except OSError as error:
            raise _not_written(self.out, error) from None
        self.partial.unlink()

    def _rows(self) -> Iterator[dict[str, Any]]:
        with self.partial.open(encoding="utf-8") as file:
            next(file)
            for line in file:
                yield _row(json.loads(line))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        unlock(self._lock)


def _not_written(file: Path, error: OSError) -> UserError:
    return UserError(f"{file} can't be written: {error.strerror or error}.")


def _row(answer: dict[str, Any]) -> dict[str, Any]:
    """One answer as a row of the table."""
    classes = answer.get("classes", [])
    best = classes[0] if classes else {"name": "", "probability": None, "seen": None}
    values = (
        answer["path"].encode("utf-8", "backslashreplace").decode("utf-8"),
        best["name"],
        best["probability"],
        best["seen"],
        [entry["name"] for entry in classes],
        [entry["probability"] for entry in classes],
        answer.get("unsure"),
        answer.get("likely"),
        answer.get("reason", ""),
    )
    return dict(zip(COLUMNS, values, strict=True))


def _write_csv(file: Path, rows: Iterator[dict[str, Any]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows([_cell(value) for value in row.values()] for row in rows)


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return SEPARATOR.join(map(str, value)) if isinstance(value, list) else value


def _write_lines(file: Path, rows: Iterator[dict[str, Any]]) -> None:
    with file.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _write_list(file: Path, rows: Iterator[dict[str, Any]]) -> None:
    with file.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write("[")
        for number, row in enumerate(rows):
            stream.write(",\n " if number else "\n ")
            stream.write(json.dumps(row, ensure_ascii=False))
        stream.write("\n]\n")


def _write_parquet(file: Path, rows: Iterator[dict[str, Any]]) -> None:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    kinds = (
        *(pa.string(), pa.string(), pa.float64(), pa.bool_()),
        *(pa.list_(pa.string()), pa.list_(pa.float64()), pa.bool_(), pa.list_(pa.string())),
        pa.string(),
    )
    schema = pa.schema(list(zip(COLUMNS, kinds, strict=True)))
    with ParquetWriter(file, schema) as table:
        while block := list(islice(rows, ROWS)):
            table.write_table(pa.Table.from_pylist(block, schema))


_WRITERS = {
    ".csv": _write_csv,
    ".parquet": _write_parquet,
    ".json": _write_list,
    ".jsonl": _write_lines,
}
