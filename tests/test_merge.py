"""Parts of a cache and what becomes of them: every row once, one origin, nothing read from afar."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import caches
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pzsl.cli import main
from pzsl.errors import UsageError, UserError
from pzsl.files import digest
from pzsl.store import (
    CacheHeader,
    CacheWriter,
    Part,
    candidates_digest,
    find_parts,
    inspect_cache,
    load_cache,
    merge_parts,
    parse_shard,
    part_path,
    shard_rows,
)
from pzsl.store.hdf5 import write_checksums
from pzsl.store.shards import merge as merging

COUNT, BATCH, OF = 22, 3, 4
PLAIN = ("dataset", "split_hash", "classes", "templates", "paths", "logit_scale")
ARRAYS = ("seen", "labels", "splits", "images", "text", "attributes", "views")
RAGGED = ("candidate_offsets", "candidate_labels")


def share(head: CacheHeader, shard: int, of: int, batch: int) -> tuple[CacheHeader, range]:
    """The header and the rows of a part."""
    rows = shard_rows(shard, of, len(head.paths), batch)
    prompts, images = digest(*head.templates), len(head.paths)
    hashes = head.split_hash, prompts, candidates_digest(head)
    part = Part(shard, of, rows.start, rows.stop, images, batch, *hashes)
    some = slice(rows.start, rows.stop)
    changes: dict[str, Any] = {"part": part.to_dict(), "paths": head.paths[some]}
    changes |= {"labels": head.labels[some], "splits": head.splits[some]}
    if head.candidate_offsets is not None and head.candidate_labels is not None:
        ends = head.candidate_offsets[rows.start : rows.stop + 1]
        changes["candidate_offsets"] = ends - ends[0]
        changes["candidate_labels"] = head.candidate_labels[ends[0] : ends[-1]]
    if shard > 1:
        changes["templates"] = ()
    return replace(head, **changes), rows


def write_part(
    cache: Path,
    head: CacheHeader,
    shard: int,
    of: int = OF,
    batch: int = BATCH,
    skip: tuple[int, ...] = (),
    finish: bool = True,
    **options: Any,
) -> Path:
    """A part as stage one writes it; `skip` are rows of the whole."""
    count, each = len(head.paths), options.get("views", 0)
    some, rows = share(head, shard, of, batch)
    path = part_path(cache, shard, of)
    with CacheWriter(path, some, **options) as writer:
        writer.write_text(caches.text()[:, : len(some.templates)])
        keep = np.array([row for row in rows if row not in skip], np.int64)
        views = caches.views(count, each)[keep] if each else None
        given = keep if finish else keep[:2]
        writer.write(given - rows.start, caches.images(count)[given], views)
        if finish:
            writer.finish(skip=[row - rows.start for row in skip if row in rows])
    return path


def write_parts(cache: Path, head: CacheHeader, of: int = OF, **options: Any) -> list[Path]:
    """All parts of a cache."""
    return [write_part(cache, head, shard, of, **options) for shard in range(1, of + 1)]


def assert_same(one: Path, other: Path) -> None:
    """Two caches hold the same bit for bit, and say the same of where it comes from."""
    a, b = load_cache(one), load_cache(other)
    for name in PLAIN:
        assert getattr(a, name) == getattr(b, name), name
    for name in (*ARRAYS, *RAGGED):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None and y is None) or np.array_equal(x, y), name
    assert a.fingerprint == b.fingerprint
    others = {"created", "sources"}
    assert {k: v for k, v in a.provenance.items() if k not in others} == {
        k: v for k, v in b.provenance.items() if k not in others
    }


def complaint(*args: Any, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        merge_parts(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_parts(tmp_path_factory.mktemp("parts") / "x.h5", caches.header(COUNT))


@pytest.fixture
def parts(written: list[Path], tmp_path: Path) -> list[Path]:
    return [Path(shutil.copy(part, tmp_path)) for part in written]


# --- how images are divided ----------------------------------------------------------------------


@given(st.data())
def test_shards_are_whole_batches_and_hold_every_row_once(data: st.DataObject) -> None:
    images, batch = data.draw(st.integers(1, 300)), data.draw(st.integers(1, 40))
    batches = -(-images // batch)
    of = data.draw(st.integers(1, batches))
    rows = [shard_rows(shard, of, images, batch) for shard in range(1, of + 1)]
    assert [row for part in rows for row in part] == list(range(images))
    assert all(len(part) and part.start % batch == 0 for part in rows)
    sizes = [-(-len(part) // batch) for part in rows]
    assert max(sizes) - min(sizes) <= 1


def test_more_shards_than_batches_are_refused_by_all_shards() -> None:
    for shard in (1, 9):
        with pytest.raises(UsageError, match="at most 8 shards"):
            shard_rows(shard, 9, COUNT, BATCH)


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "a/b", "-1/4", "1/4/2", ""])
def test_a_shard_is_one_of_n_counted_from_1(text: str) -> None:
    assert parse_shard(" 3/4") == (3, 4)
    with pytest.raises(UsageError, match="from 1 to N"):
        parse_shard(text)


def test_parts_beside_a_cache_are_found_by_name_finished_or_not(tmp_path: Path) -> None:
    names = ["x.part-10-of-12.h5", "x.part-2-of-12.h5.partial", "x.part-1-of-2.h5", "x.h5"]
    for name in [*names, "y.part-1-of-2.h5", "x.part-1-of-2.h5.lock", "x.part-1-of-2.npz"]:
        (tmp_path / name).touch()
    found = find_parts(tmp_path / "x.h5")
    assert {of: [path.name for path in paths] for of, paths in found.items()} == {
        2: ["x.part-1-of-2.h5"],
        12: ["x.part-2-of-12.h5", "x.part-10-of-12.h5"],
    }


# --- the merged cache is that of a single run ----------------------------------------------------

KINDS = {
    "plain": (lambda head: head, {}),
    "candidates": (caches.candidates, {}),
    "half floats and views": (lambda head: head, {"dtype": "float16", "views": 2}),
    "attributes": (
        lambda head: replace(head, attributes=np.eye(4, 6, dtype=np.float32)),
        {},
    ),
}


@pytest.mark.parametrize("virtual", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_merged_cache_is_that_of_a_single_run(tmp_path: Path, kind: str, virtual: bool) -> None:
    change, options = KINDS[kind]
    head = change(caches.header(COUNT))
    whole = caches.make(tmp_path / "whole.h5", head, **options)
    parts = write_parts(tmp_path / "x.h5", head, **options)
    files = merge_parts(parts[::-1], tmp_path / "x.h5", virtual=virtual)
    assert files == parts
    assert_same(tmp_path / "x.h5", whole)
    with CacheWriter(tmp_path / "x.h5", head, **options) as writer:
        assert writer.whole  # the very command of a single run would take it as its own


@settings(max_examples=10)
@given(st.data())
def test_any_division_with_any_rows_left_out_merges_to_the_single_run(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("merge")
    count, batch = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 4))
    of = data.draw(st.integers(1, -(-count // batch)))
    rows = st.integers(0, count - 1)
    skip = tuple(sorted(data.draw(st.sets(rows, max_size=count - 1))))
    head = caches.candidates(caches.header(count))
    with CacheWriter(folder / "whole.h5", head) as writer:
        writer.write_text(caches.text())
        keep = np.setdiff1d(np.arange(count), skip)
        writer.write(keep, caches.images(count)[keep])
        writer.finish(skip=skip)
    write_parts(folder / "x.h5", head, of, batch=batch, skip=skip)
    merge_parts([], folder / "x.h5", virtual=data.draw(st.booleans()))
    assert_same(folder / "x.h5", folder / "whole.h5")


def test_a_merge_that_was_cut_off_is_gone_on_with(
    tmp_path: Path, parts: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, write, written = tmp_path / "x.h5", CacheWriter.write, []

    def cut_off(writer: CacheWriter, rows: Any, *given: Any) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(rows)
        write(writer, rows, *given)

    with monkeypatch.context() as patch:
        patch.setattr(CacheWriter, "write", cut_off)
        with pytest.raises(KeyboardInterrupt):
            merge_parts(parts, out)
    assert not out.exists()
    rest: list[Any] = []
    monkeypatch.setattr(
        CacheWriter, "write", lambda w, rows, *g: (rest.append(rows), write(w, rows, *g))
    )
    merge_parts(parts, out)
    assert np.concatenate([*written, *rest]).tolist() == list(range(COUNT))
    assert_same(out, caches.make(tmp_path / "whole.h5", caches.header(COUNT)))


def write_anew(part: Path) -> None:
    """The part with other embeddings, as of other images."""
    stored = load_cache(part, part=True)
    texts, embeddings = np.array(stored.text), np.array(stored.images)[::-1].copy()
    head = replace(share(caches.header(COUNT), 1, OF, BATCH)[0])
    with CacheWriter(part, head, overwrite=True) as writer:
        writer.write_text(texts)
        writer.write(np.arange(len(embeddings)), embeddings)
        writer.finish()


def test_a_merge_that_was_cut_off_takes_a_part_that_was_extracted_anew_since(
    tmp_path: Path, parts: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(CacheWriter, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            merge_parts(parts, tmp_path / "x.h5")
    write_anew(parts[0])
    merge_parts(parts, tmp_path / "x.h5")
    merge_parts(parts, tmp_path / "anew.h5")
    assert_same(tmp_path / "x.h5", tmp_path / "anew.h5")


def test_a_merge_that_was_done_before_does_not_pass_for_that_of_parts_extracted_anew(
    tmp_path: Path, parts: list[Path]
) -> None:
    merge_parts(parts, tmp_path / "x.h5")
    write_anew(parts[0])
    assert "other embeddings than the parts" in complaint(parts, tmp_path / "x.h5")
    merge_parts(parts, tmp_path / "x.h5", overwrite=True)
    merge_parts(parts, tmp_path / "x.h5")


def test_memory_is_bounded_by_a_block(
    tmp_path: Path, parts: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, write = [], CacheWriter.write
    monkeypatch.setattr(merging, "CHUNK", 4)
    monkeypatch.setattr(
        CacheWriter, "write", lambda w, rows, *g: (sizes.append(len(rows)), write(w, rows, *g))
    )
    merge_parts(parts, tmp_path / "x.h5")
    assert max(sizes) == 4 and sum(sizes) == COUNT


def test_a_cache_that_exists_is_only_replaced_when_told(tmp_path: Path, parts: list[Path]) -> None:
    out = caches.make(tmp_path / "x.h5")
    before = load_cache(out).fingerprint
    for virtual in (False, True):
        assert "--overwrite" in complaint(parts, out, virtual=virtual)
        assert load_cache(out).fingerprint == before
        merge_parts(parts, out, virtual=virtual, overwrite=True)
        assert len(load_cache(out).images) == COUNT
        caches.make(out, overwrite=True)


def test_a_merge_that_was_done_before_is_reported(
    tmp_path: Path, parts: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for told in (0, 1):
        merge_parts(parts, tmp_path / "x.h5")
        assert capsys.readouterr().err.count("nothing is merged; --overwrite") == told


def test_a_part_is_no_cache_to_train_on_but_can_be_inspected(parts: list[Path]) -> None:
    with pytest.raises(UserError, match=r"part of a cache.*pzsl merge"):
        load_cache(parts[1])
    found = inspect_cache(parts[1])
    assert found["problems"] == []
    assert found["provenance"]["part"]["shard"] == 2
    assert found["counts"]["images"] == 6


# --- what is refused -----------------------------------------------------------------------------


def test_a_missing_shard_is_named_with_what_makes_it(tmp_path: Path, parts: list[Path]) -> None:
    line = complaint([parts[0], parts[1], parts[3]], tmp_path / "x.h5")
    assert "shard 3/4 is missing" in line and "--shard 3/4" in line
    parts[1].unlink()
    line = complaint([parts[0], parts[3]], tmp_path / "x.h5")
    assert "shards 2/4, 3/4 are missing" in line
    assert not (tmp_path / "x.h5").exists()


def test_without_any_part_it_is_said_how_to_make_them(tmp_path: Path) -> None:
    assert "--shard 1/4" in complaint([], tmp_path / "x.h5")


@pytest.mark.parametrize("named", [True, False])
def test_an_unfinished_shard_is_named_with_its_rows(
    tmp_path: Path, parts: list[Path], named: bool
) -> None:
    parts[2].unlink()
    write_part(tmp_path / "x.h5", caches.header(COUNT), 3, finish=False)
    rest = [parts[0], parts[1], parts[3]]
    given = [*rest, parts[2].with_name(parts[2].name + ".partial")] if named else rest
    line = complaint(given, tmp_path / "x.h5")
    assert "shard 3/4 is not finished (4 of 6 rows are not filled" in line
    assert "--shard 3/4" in line


def test_parts_that_overlap_are_named(tmp_path: Path, parts: list[Path]) -> None:
    twin = tmp_path / "copy.h5"
    shutil.copy(parts[1], twin)
    line = complaint([*parts, twin], tmp_path / "x.h5")
    assert "overlap: both are shard 2/4, rows 6 to 11" in line
    assert str(twin) in line and str(parts[1]) in line


def test_parts_of_two_divisions_are_refused(tmp_path: Path, parts: list[Path]) -> None:
    other = write_part(tmp_path / "x.h5", caches.header(COUNT), 1, of=2)
    assert "rows overlap" in complaint([*parts[1:], other], tmp_path / "x.h5")
    assert "parts of 2 and of 4" in complaint([], tmp_path / "x.h5")
    small = write_part(tmp_path / "y.h5", caches.header(COUNT), 1, batch=2)
    assert "batch_size" in complaint([small, *parts[1:]], tmp_path / "x.h5")


def test_a_cache_that_is_no_part_is_refused(tmp_path: Path, parts: list[Path]) -> None:
    whole = caches.make(tmp_path / "whole.h5")
    assert "this is not a part" in complaint([*parts, whole], tmp_path / "x.h5")


OTHERS = {
    "model": {"model": "ViT-B-32"},
    "weights_hash": {"weights_hash": "v" * 64},
    "preprocessing": {"preprocessing": {"size": 32}},
    "precision": {"precision": "fp16"},
    "dataset": {"dataset": "cars"},
    "split_hash": {"split_hash": "6" * 64},
    "prompts": {"templates": ("a drawing of a {}.", "{}")},
    "/class/name": {"classes": ("black cat", "white dog", "鳥", "fish")},
    "/class/seen": {"seen": np.array([True, True, False, False])},
    "regions": {"origin": {"regions": "3 boxes, 19 whole images"}},
}


@pytest.mark.parametrize("name", OTHERS)
def test_parts_of_another_origin_are_refused_and_named(
    tmp_path: Path, parts: list[Path], name: str
) -> None:
    head = caches.header(COUNT, **OTHERS[name])
    if name == "/class/seen":
        head = replace(head, splits=np.where(head.labels >= 2, "test_unseen", head.splits))
    odd = write_part(tmp_path / "odd.h5", head, 2)
    line = complaint([parts[0], odd, *parts[2:]], tmp_path / "x.h5")
    assert f"{odd} differs from {parts[0]}" in line and name in line


def test_parts_with_other_candidate_sets_are_refused(tmp_path: Path) -> None:
    head = caches.candidates(caches.header(COUNT))
    parts = write_parts(tmp_path / "x.h5", head)
    assert head.candidate_labels is not None
    edited = replace(
        head, candidate_labels=np.where(head.candidate_labels == 2, 1, head.candidate_labels)
    )
    odd = write_part(tmp_path / "odd.h5", edited, 2)
    assert "(candidates " in complaint([parts[0], odd, *parts[2:]], tmp_path / "y.h5")
    merge_parts(parts, tmp_path / "x.h5")
    assert "candidates" not in Part(1, 4, 0, 6, 22, 3, "", "").to_dict()


def test_parts_of_another_type_are_refused(tmp_path: Path, parts: list[Path]) -> None:
    odd = write_part(tmp_path / "odd.h5", caches.header(COUNT), 2, dtype="float16")
    assert "/image/features" in complaint([parts[0], odd, *parts[2:]], tmp_path / "x.h5")


def test_other_package_versions_are_reported_and_those_of_the_parts_are_kept(
    tmp_path: Path, parts: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for part, torch in zip(parts, ("1.0", "1.0", "2.0", "1.0"), strict=True):
        with h5py.File(part, "r+") as file:
            file.attrs["versions"] = json.dumps({"torch": torch})
        write_checksums(part)
    merge_parts(parts, tmp_path / "x.h5")
    assert "torch 2.0" in capsys.readouterr().err
    assert load_cache(tmp_path / "x.h5").provenance["versions"] == {"torch": "1.0"}


@pytest.mark.parametrize("virtual", [False, True])
def test_a_damaged_row_is_named_with_its_part(
    tmp_path: Path, parts: list[Path], virtual: bool
) -> None:
    with h5py.File(parts[2], "r+") as file:
        file["/image/features"][1] = 0
    line = complaint(parts, tmp_path / "x.h5", virtual=virtual)
    assert f"{parts[2]}: row 1 of /image/features is all zero" in line
    assert not (tmp_path / "x.h5").exists()


@pytest.mark.parametrize(
    "told", [{"shard": 1}, {**Part(1, 4, 0, 6, 22, 3, "", "").to_dict(), "of": "4"}, ["shard"]]
)
def test_what_a_file_says_of_its_part_is_checked(
    tmp_path: Path, parts: list[Path], told: Any
) -> None:
    with h5py.File(parts[0], "r+") as file:
        file.attrs["part"] = json.dumps(told)
    line = complaint(parts, tmp_path / "x.h5")
    assert line.startswith(f"{parts[0]}: ")
    assert "attribute 'part' is damaged" in line or "'part' should be a JSON object" in line


def test_the_command_prints_one_document_or_fails_in_one_line(
    tmp_path: Path,
    parts: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["pzsl", "merge", "--out", str(tmp_path / "x.h5"), "--json"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as done:
        main()
    told = json.loads(capsys.readouterr().out)
    assert not done.value.code
    assert set(told) == {"cache", "parts", "images", "classes", "virtual", "zero_shot"}
    assert (told["parts"], told["images"], told["virtual"]) == ([*map(str, parts)], COUNT, False)
    monkeypatch.setattr(sys, "argv", [*words, "--overwrite", str(parts[0])])
    with pytest.raises(SystemExit) as done:
        main()
    said = capsys.readouterr()
    assert done.value.code == 1 and not said.out
    assert said.err.count("\n") == 1 and "shards 2/4, 3/4, 4/4 are missing" in said.err


# --- virtual caches ------------------------------------------------------------------------------


@pytest.fixture
def virtual(tmp_path: Path) -> Iterator[Path]:
    """A folder with a virtual cache `x.h5`, and its parts in `deep/ß`."""
    folder = tmp_path / "here"
    write_parts(folder / "deep" / "ß" / "x.h5", caches.header(COUNT), views=2)
    parts = find_parts(folder / "deep" / "ß" / "x.h5")[OF]
    merge_parts(parts, folder / "x.h5", virtual=True)
    return folder


def unread(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_cache(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_virtual_cache_can_be_moved_with_its_folder(tmp_path: Path, virtual: Path) -> None:
    assert (virtual / "x.h5").stat().st_size < sum(
        path.stat().st_size for path in (virtual / "deep" / "ß").iterdir()
    )
    there = virtual.rename(tmp_path / "there")
    whole = caches.make(tmp_path / "whole.h5", caches.header(COUNT), views=2)
    assert_same(there / "x.h5", whole)
    assert inspect_cache(there / "x.h5")["problems"] == []
    with h5py.File(there / "x.h5") as file:  # and other tools find the parts by themselves
        assert np.array_equal(file["/image/features"][()], caches.images(COUNT))


def test_a_part_that_is_gone_is_named(virtual: Path) -> None:
    part = virtual / "deep" / "ß" / "x.part-3-of-4.h5"
    part.rename(virtual / "x.part-3-of-4.h5")
    assert f"its part {part} was moved or deleted" in unread(virtual / "x.h5")
    assert "was moved or deleted" in inspect_cache(virtual / "x.h5")["problems"][0]


def test_a_part_that_was_made_anew_is_named(virtual: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    part = write_part(
        virtual / "deep" / "ß" / "x.h5", caches.header(COUNT), 2, overwrite=True, views=2
    )
    assert f"its part {part} is not the one that was merged" in unread(virtual / "x.h5")


def test_parts_outside_the_folder_are_refused(tmp_path: Path, parts: list[Path]) -> None:
    line = complaint(parts, tmp_path / "elsewhere" / "x.h5", virtual=True)
    assert "lies outside" in line and "--virtual" in line


def point_to(path: Path, names: list[str], told: dict[str, Any] | None) -> None:
    """Make the features of a cache a virtual data set over some files."""
    with h5py.File(path, "r+") as file:
        shape = file["/image/features"].shape
        del file["/image/features"]
        layout, share = h5py.VirtualLayout(shape, "<f4"), shape[0] // len(names)
        for i, name in enumerate(names):
            source = h5py.VirtualSource(name, "/image/features", (share, shape[1]), "<f4")
            layout[i * share : (i + 1) * share] = source
        file.create_virtual_dataset("/image/features", layout)
        if told is not None:
            file.attrs["sources"] = json.dumps(told)


def secret(path: Path) -> tuple[Path, str]:
    """A part that lies elsewhere, and its time."""
    path.parent.mkdir(exist_ok=True)
    part = write_part(path, caches.header(7), 1, of=1)
    with h5py.File(part) as file:
        return part, str(file.attrs["created"])


@pytest.mark.parametrize(
    "how", ["absolute", "upwards", "symlink", "untold", "no part", "told wrong"]
)
def test_a_virtual_cache_reads_nothing_but_what_merge_wrote(tmp_path: Path, how: str) -> None:
    (tmp_path / "here").mkdir()
    cache = caches.make(tmp_path / "here" / "x.h5")
    part, created = secret(tmp_path / "secret" / "s.h5")
    name = {"absolute": str(part), "symlink": "link.h5"}.get(how, f"../secret/{part.name}")
    if how == "symlink":
        (tmp_path / "here" / "link.h5").symlink_to(part)
    if how == "no part":
        name = "plain.h5"
        caches.make(tmp_path / "here" / name)
    told: dict[str, Any] | None = {name: {"rows": 7, "created": created}}
    if how == "untold":
        told = None
    if how == "told wrong":
        told = {"other.h5": {"rows": 7, "created": created}}
    point_to(cache, [name], told)
    words = {
        "untold": "not as 'pzsl merge --virtual' writes it",
        "told wrong": "not as 'pzsl merge --virtual' writes it",
        "no part": "is not the one that was merged",
    }
    assert words.get(how, "lies outside its folder, so it isn't read") in unread(cache)


@pytest.mark.parametrize("told", [["x"], {"x.h5": 3}, {"x.h5": {"rows": "many"}}, "x", None])
def test_damaged_words_on_the_parts_end_in_one_line(virtual: Path, told: Any) -> None:
    with h5py.File(virtual / "x.h5", "r+") as file:
        file.attrs["sources"] = json.dumps(told)
    assert str(virtual / "x.h5") in unread(virtual / "x.h5")


def test_a_virtual_cache_of_itself_does_not_go_round_in_circles(tmp_path: Path) -> None:
    cache = caches.make(tmp_path / "x.h5")
    with h5py.File(cache, "r+") as file:
        file.attrs["part"] = "{}"
        created = str(file.attrs["created"])
    point_to(cache, ["x.h5"], {"x.h5": {"rows": 7, "created": created}})
    assert "x.h5" in unread(cache)


def test_labels_are_never_virtual(tmp_path: Path) -> None:
    cache = caches.make(tmp_path / "x.h5")
    with h5py.File(cache, "r+") as file:
        del file["/image/label"]
        layout = h5py.VirtualLayout((7,), "<i8")
        layout[:] = h5py.VirtualSource("y.h5", "/image/label", (7,), "<i8")
        file.create_virtual_dataset("/image/label", layout)
    assert "/image/label lies in another file" in unread(cache)
