"""Turn cached embeddings into candidate sets, and write them into a cache or a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pzsl.annotation.annotators import Annotator, label_doubt, open_annotator
from pzsl.annotation.table import write_table
from pzsl.candidates import CandidateSets, check_rule, join, statistics
from pzsl.errors import UsageError, UserError
from pzsl.progress import say
from pzsl.requests import with_paths
from pzsl.store import Cache, utc_now, write_candidates


@with_paths
def annotate(
    cache: str | Path,
    *,
    rule: str = "union",
    templates: str | None = None,
    k: int | None = None,
    others: Sequence[tuple[str | Path, float]] = (),
    weight: float = 1.0,
    agree: float | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Give each training image a candidate set: the seen classes that the encoders predict.

    Args:
        cache: of the images. Its true labels are not used; they only serve to report accuracy.
        rule: `union` (of the templates' top classes), `topk` or `ratio`.
        templates: which of the cache's templates to use: numbers such as `0,3-5`, or a file with
            one per line; None for all.
        k: size of the sets for the rules `topk` and `ratio`; None for 3 and 5.
        others: caches of the same images by other encoders, each with its weight.
        weight: weight of the cache's own encoder beside those.
        agree: keep a label if the weights of the encoders that name it sum up to this; None keeps
            every label.
        out: another cache (for an annotated copy) or a `.csv` table; None writes into `cache`.
        overwrite: replace existing candidate sets or files.

    Returns:
        `cache, out, images, classes, rule, k, templates, agree, annotators, mean_candidates,
        smallest, largest, truth_outside, truth_outside_by_class` (mean over classes), `worst_class`
        (`name, truth_outside`) and `never_named`, the number of seen classes in no set. Shares in
        percent over the training images whose truth is known, None where there are none.

    Raises:
        UsageError: a rule, template, weight or file name that isn't one.
        UserError: a cache is incomplete, lacks an image or a class, or already has candidate sets.
    """
    source = Path(cache)
    target = source if out is None else Path(out)
    _check_votes(agree, weight, others)
    annotator = open_annotator(source, weight, templates)
    _check_target(annotator.cache, target, overwrite)
    annotators = [annotator, *_open_others(annotator.cache, others)]
    k = check_rule(rule, k, int(annotator.cache.seen.sum()))
    options = {"rule": rule, "k": k or None, "agree": agree}
    _announce(annotators, options, target)
    sets, rows = _candidate_sets(annotators, rule, k, agree)
    result = {
        "cache": str(source),
        "out": str(target),
        "images": len(rows),
        "classes": int(annotator.cache.seen.sum()),
        **options,
        "templates": len(annotator.columns),
        "annotators": [annotator.record() for annotator in annotators],
        **_report(annotator.cache, sets, rows),
    }
    if target.suffix.lower() == ".csv":
        write_table(target, annotator.cache, sets, rows)
        return result
    record = {**options, "annotators": result["annotators"], "created": utc_now()}
    offsets = _offsets(sets, rows, len(annotator.cache.labels))
    del annotator, annotators  # not every system replaces a file that is mapped
    write_candidates(source, target, offsets, sets.labels, record)
    return result


def _check_votes(agree: float | None, weight: float, others: Sequence[object]) -> None:
    if agree is not None and not (math.isfinite(agree) and agree > 0):
        raise UsageError(f"--agree should be a sum of weights above 0, not {agree:g}.")
    if not others and (agree is not None or weight != 1):
        raise UsageError("--agree and --weight need a second annotator: give --with FILE.")


def _open_others(cache: Cache, others: Sequence[tuple[str | Path, float]]) -> list[Annotator]:
    """Open the caches of the other encoders; a doubt that they hold the same images is said."""
    annotators = [open_annotator(Path(other), weight) for other, weight in others]
    for doubt in (label_doubt(cache, annotator.cache) for annotator in annotators):
        if doubt:
            say(doubt)
    return annotators


def _check_target(cache: Cache, target: Path, overwrite: bool) -> None:
    """Refuse to overwrite candidate sets or files unless the user asked for it."""
    if target.suffix.lower() not in (".csv", ".h5", ".hdf5"):
        raise UsageError(f"--out {target}: give a cache (.h5) or a table (.csv).")
    if overwrite or not target.exists():
        return
    if not target.samefile(cache.path):
        raise UserError(f"{target} exists already: replace it with --overwrite.")
    if cache.candidate_labels is not None:
        whose = "of an earlier annotation" if cache.annotation else "that came with the data"
        raise UserError(
            f"{target} holds candidate sets {whose}: replace them with --overwrite, or write an "
            "annotated copy with --out OTHER.h5."
        )


def _announce(annotators: Sequence[Annotator], options: dict[str, Any], target: Path) -> None:
    rule = f"rule {options['rule']}" + (f" with k = {options['k']}" if options["k"] else "")
    say(f"annotate by {rule} -> {target}")
    for annotator in annotators:
        about = annotator.cache.provenance
        say(
            f"  {annotator.cache.path}: {about['model']} ({about['pretrained']}), "
            f"{len(annotator.columns)} of {len(annotator.cache.templates)} templates, "
            f"weight {annotator.weight:g}"
        )
    if options["rule"] == "union" and all(len(annotator.columns) == 1 for annotator in annotators):
        say("  one template gives one answer: sets of more labels need --rule topk or ratio")


def _candidate_sets(
    annotators: Sequence[Annotator], rule: str, k: int, agree: float | None
) -> tuple[CandidateSets, NDArray[np.int64]]:
    """Candidate sets of the first cache's training images, and the rows of these images."""
    cache = annotators[0].cache
    rows = np.flatnonzero(cache.splits == "trainval")
    if not len(rows):
        raise UserError(f"{cache.path}: no image is in the split trainval: nothing to annotate.")
    seen = np.flatnonzero(cache.seen)
    images = tuple(cache.paths[row] for row in rows)
    names = [cache.classes[label] for label in seen]
    answers = [annotator.sets(images, names, rule, k) for annotator in annotators]
    sets = answers[0]
    if len(answers) > 1:
        sets = join(answers, [annotator.weight for annotator in annotators], agree)
    return CandidateSets(sets.offsets, seen[sets.labels].astype(np.int32)), rows


def _offsets(sets: CandidateSets, rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """(count + 1,) offsets over all rows of the cache; test images have empty sets."""
    sizes = np.zeros(count + 1, dtype=np.int64)
    sizes[rows + 1] = sets.sizes()
    return np.cumsum(sizes)


def _report(cache: Cache, sets: CandidateSets, rows: NDArray[np.int64]) -> dict[str, Any]:
    """Statistics of the candidate sets, overall and by class."""
    truth = cache.labels[rows]
    has_truth = truth >= 0
    named = np.bincount(sets.labels, minlength=len(cache.classes)) > 0
    report: dict[str, Any] = {
        **statistics(sets, truth),
        "truth_outside_by_class": None,
        "worst_class": None,
        "never_named": int((cache.seen & ~named).sum()),
    }
    if not has_truth.any():
        return report
    images = np.bincount(truth[has_truth], minlength=len(cache.classes))
    outside = np.bincount(truth[has_truth & ~sets.contains(truth)], minlength=len(cache.classes))
    share = 100 * outside / np.maximum(images, 1)
    worst = int(share.argmax())
    report["truth_outside_by_class"] = float(share[images > 0].mean())
    report["worst_class"] = {"name": cache.classes[worst], "truth_outside": float(share[worst])}
    return report
