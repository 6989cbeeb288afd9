"""Extract: encode every image and every class prompt of a data set once, into a feature cache."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pzsl.device import usual_torch
from pzsl.errors import UsageError
from pzsl.extraction.encode_cache import Outcome, Shard, check_images, fill
from pzsl.extraction.judge_cache import NAMES, doubts, zero_shot
from pzsl.extraction.load_inputs import prepare, with_root
from pzsl.extraction.views import choose_views
from pzsl.progress import say
from pzsl.remote import FOLDER, RemotePath, as_path, as_remote, fetch, upload
from pzsl.requests import ExtractRequest, as_list, as_lists, check_output, say_unused, unless
from pzsl.store import load_cache, parse_shard

if TYPE_CHECKING:
    import pandas as pd

    from pzsl.datasets import Annotators


@usual_torch()
def extract(
    dataset: str = "shapes",
    root: str | Path | None = None,
    model: str | None = None,
    pretrained: str | None = None,
    out: str | Path | None = None,
    *,
    batch_size: int | None = None,
    workers: int | None = None,
    limit: int | None = None,
    device: str = "auto",
    precision: str | None = None,
    on_error: str = "fail",
    overwrite: bool = False,
    templates: str | Path | None = None,
    descriptions: str | Path | None = None,
    dtype: str = "float32",
    views: int = 0,
    view_policy: str = "mixed",
    view_seed: int = 0,
    shard: str | None = None,
    devices: str | Sequence[str] | None = None,
    engine: str = "local",
    fetch: bool = False,
    splits: str | Path | None = None,
    names: str | Path | None = None,
    table: str | Path | pd.DataFrame | None = None,
    unseen_file: str | Path | None = None,
    classes: str | Path | None = None,
    annotators: Annotators | None = None,
    empty: str | None = None,
    seed: int | None = None,
    unseen: float | None = None,
    test: float | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Encode a data set into a feature cache; an interrupted run is resumed.

    Args:
        dataset: name of a known data set (`pzsl datasets`); `table` if a `table` is given.
        root: folder of its images, which may lie at an address for images of your own; by default
            a published data set is looked for in `$PZSL_DATA/<dataset>`, then in `data/<dataset>`.
        model: `tiny`, an open_clip model, `local-dir:FOLDER` or `hf-hub:OWNER/NAME`; by default
            `tiny` for shapes, ViT-B-32 for the rest.
        pretrained: tag or checkpoint file of its weights; `openai` by default, if it has these.
        out: the cache; by default `cache/<dataset>.h5`. With an address, the cache is made in
            `cache/`, and uploaded when it is complete.
        batch_size: images per batch; the last bits of the embeddings depend on it. By default 32 on
            the CPU, elsewhere what fits into memory.
        workers: threads that read images, and on the CPU encode them; by default one per processor.
        limit: encode only this many images, evenly spread over the data set.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: `fp32`, `fp16`, `bf16` or `int8`.
        on_error: unreadable images are left out and listed (`skip`), or the run fails at the end,
            after encoding all others and keeping them for the next run (`fail`).
        overwrite: start again instead of resuming, and replace a finished cache.
        templates: a file of prompt templates instead of the data set's.
        descriptions: a JSON file of sentences about each class, instead of templates or with them.
        dtype: of the stored embeddings, `float32` or `float16`.
        views: K augmented views to cache per training image, in addition to the clean one.
        view_policy: `weak`, `strong`, or `mixed`: the first half weak, the others strong.
        view_seed: random seed of the views.
        shard: `I/N`: encode only part I of N, into a part file beside the cache, for `merge`.
        devices: several devices, one process for each; `cpu` can be repeated.
        engine: `local`, or `ray` for the machines of a Ray cluster.
        fetch: download a published data set first, if it is missing.
        splits: file or folder with the data set's split.
        names: your own class names: a file of published name, tab, name.
        table: CSV, Parquet or JSON lines of your own images, or a pandas DataFrame.
        unseen_file: names of the table's unseen classes, one per line.
        classes: names of all classes in order, one per line.
        annotators: the table's columns of several annotators, joined into one candidate set.
        empty: images of the table without a label: `skip`, `unlabelled` or `fail`.
        seed: of a randomly drawn split, or of the drawings of shapes.
        unseen: share of classes to make unseen, if the split is drawn.
        test: share of each seen class's images to test on, if the split is drawn.
        options: of a plugin's data set, by the names of its parameters.

    Returns:
        `cache, dataset, model, pretrained, images, classes, resumed, encoded, failed` (list of
        `{path, reason}`), `images_per_second` (None if nothing was left to encode), `seconds`
        (read, encode, write, summed over the threads, and the wall-clock time all) and `zero_shot`
        (S, U, H, T1 in percent; None for a part).

    Raises:
        UserError: one line says what is wrong and what to do; encoded images are kept.
    """
    arguments = dict(locals())  # so far the arguments alone, which are the request's fields
    if isinstance(dataset, Path):  # met with the same message as its text
        arguments["dataset"] = str(dataset)
    return _extract(ExtractRequest(**as_lists(arguments)))


def _extract(request: ExtractRequest) -> dict[str, Any]:
    request.check()
    choose_views(request.views, request.view_policy, request.view_seed)
    _say_unused(request)
    if request.dataset == "shapes" and request.table is not None:
        request = replace(request, dataset="table")
    request = with_root(request)
    target = as_path(request.out or Path("cache") / f"{request.dataset.rpartition(':')[2]}.h5")
    address = as_remote(target)
    if address is not None:
        return _extract_to(address, request)
    table = request.table if isinstance(request.table, str | Path) else None
    check_output(target, (table, request.pretrained, request.classes, request.unseen_file))
    devices = as_list(request.devices or ())
    part = _shard(request.shard, devices, request.engine)
    overwrite = request.overwrite
    if (devices or request.engine == "ray") and (overwrite or not target.exists()):
        from pzsl.extraction.sharded import extract_in_shards

        engine = request.engine
        return _result(target, *extract_in_shards(request, target, devices, engine, overwrite))
    job = prepare(replace(request, device=devices[0]) if devices else request)
    for line in job.about:
        say(line)
    say(f"Cache: {part.path(target) if part else target}, {request.dtype}.")
    outcome = fill(job, target, part, overwrite)
    check_images(job.data.name, [outcome], request.on_error)
    return _result(part.path(target) if part else target, [outcome], outcome.report.seconds["all"])


def _say_unused(request: ExtractRequest) -> None:
    """Warn about options that the others leave without a meaning."""
    usual = ExtractRequest
    if not request.views:
        policy, seed = (
            unless(usual.view_policy, request.view_policy),
            unless(usual.view_seed, request.view_seed),
        )
        say_unused("no --views are asked for", view_policy=policy, view_seed=seed)
    if request.devices:
        say_unused("--devices names them all", device=unless(usual.device, request.device))


def _extract_to(address: RemotePath, request: ExtractRequest) -> dict[str, Any]:
    """Extract into a file of this machine, and upload it when it is complete.

    A file that is already at the address, because another machine has made it, is fetched instead.
    """
    local_cache = FOLDER / address.name
    part = _shard(request.shard, as_list(request.devices or ()), request.engine)
    local_file = part.path(local_cache) if part else local_cache
    remote_file = address.with_name(local_file.name)
    is_there = remote_file.exists() and not request.overwrite
    if is_there:
        fetch(remote_file, local_file)
    result = _extract(replace(request, out=local_cache))
    if not is_there:
        upload(local_file, remote_file)
    return {**result, "cache": str(remote_file)}


def _shard(shard: str | None, devices: Sequence[str] | None, engine: str) -> Shard | None:
    """The requested shard, if any.

    Raises:
        UsageError: it has another form, or is combined with --devices or --engine ray.
    """
    if shard is None:
        return None
    if devices or engine != "local":
        raise UsageError(
            "--shard is for one process, with its --device; --devices and --engine ray divide "
            "the images by themselves."
        )
    return Shard(*parse_shard(shard))


def _result(target: Path, outcomes: Sequence[Outcome], seconds: float) -> dict[str, Any]:
    """The result of `extract`: what was done, and the zero-shot accuracy."""
    cache = load_cache(target, part=True)
    reports = [outcome.report for outcome in outcomes]
    encoded = sum(report.encoded for report in reports)
    reasons = {failure.path: failure.reason for report in reports for failure in report.failures}
    for warning in () if cache.part else doubts(cache):
        say(warning)
    left_out = json.loads(cache.provenance["origin"].get("skipped", "[]"))
    return {
        "cache": str(target),
        "dataset": cache.dataset,
        "model": cache.provenance["model"],
        "pretrained": cache.provenance["pretrained"],
        "images": len(cache.labels),
        "classes": len(cache.classes),
        "resumed": sum(outcome.resumed for outcome in outcomes),
        "encoded": encoded,
        "failed": [
            {"path": path, "reason": reasons.get(path, "left out by an earlier run")}
            for path in left_out
        ],
        "images_per_second": round(encoded / seconds, 1) if encoded else None,
        "seconds": {
            name: round(sum(report.seconds[name] for report in reports), 3)
            for name in reports[0].seconds
        },
        "zero_shot": dict.fromkeys(NAMES) if cache.part else zero_shot(cache),
    }
