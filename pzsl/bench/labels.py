"""`pzsl bench labels`: wrong labels found by the default, beside cleanlab on the same features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pzsl.bench.arguments import check_bench
from pzsl.errors import UsageError, UserError
from pzsl.evaluation import expected_calibration_error, log_softmax
from pzsl.inference.labelling import UNSURE, LabelRow, label_rows
from pzsl.inference.record import read_record
from pzsl.inference.restore import Trained, restore
from pzsl.progress import say
from pzsl.training import train

SEEDS, WRONG = 3, 0.2
FOLDS = 5
"""Parts of the images that cleanlab's classifier is cross-validated on, as its guide has it."""
FEWEST = 50
"""Training images below which no finder is compared."""
REGULARISATION, STEPS = 0.01, 200
"""Of that classifier, on standardised features: of 0.0001 to 0.1 what suits cleanlab best."""
LEAST_SURE = 0.05
"""Share of the images that a person would look at."""
FIGURES = (
    *("images", "wrong", "precision", "recall", "AUROC"),
    *("ECE", "wrong after", "of these least sure"),
)


class Findings(NamedTuple):
    """A finder's result on n given labels.

    Attributes:
        flagged: (n,) whether it considers the label wrong.
        doubt: (n,) how wrong the label looks, in any unit.
    """

    flagged: NDArray[np.bool_]
    doubt: NDArray[np.float64]


class LabelledImages(NamedTuple):
    """What every finder gets, and the true labels that its findings are compared with.

    Attributes:
        features: (n, D) unit image embeddings. text: (K, D) those of the classes' names.
        scale: CLIP's logit scale.
        label: (n,) the given labels, 0..K-1. truth: (n,) the true ones.
    """

    features: NDArray[np.float32]
    text: NDArray[np.float32]
    scale: float
    label: NDArray[np.int64]
    truth: NDArray[np.int64]

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """(n,) which of the given labels are wrong."""
        return np.asarray(self.label != self.truth)


def bench_labels(
    caches: Sequence[str | Path],
    runs: str | Path = "runs/bench-labels",
    seeds: int | None = None,
    wrong: float = WRONG,
    workers: int | None = None,
) -> dict[str, Any]:
    """Replace some of a cache's labels by wrong ones, and compare methods that find them.

    Each training image has one label, which is replaced by a random other one with probability
    `wrong`. The default is trained on these labels, and the result of `labels` is compared with the
    truth; cleanlab gets the same features and labels.

    Args:
        caches: with true labels of their training images.
        runs: folder of the run records; finished runs are not done again.
        seeds: draws of the wrong labels; 3 when None.
        wrong: share of the labels that are made wrong, above 0 and below 1.
        workers: processes; one per core when None.

    Returns:
        `rows`: of each cache and finder the means over the seeds, in percent but the calibration
        error (0 to 1): `precision`, `recall` and `AUROC` of finding wrong labels; of the labels
        that `labels` gives instead `ECE`, share `wrong after`, and how many `of these` are among
        the 5 % `least sure`.

    Raises:
        UsageError: no cache, or a share out of range. UserError: a cache is not as it should be.
    """
    check_bench("labels", caches, seeds, workers)
    if not 0 < wrong < 1:
        raise UsageError(f"--wrong should be above 0 and below 1, not {wrong:g}.")
    finders = _cleanlab_finders()
    rows = []
    for cache in caches:
        trained_runs = train(
            cache,
            noise="noisy",
            rate=0.0,
            eta=wrong,
            seeds=SEEDS if seeds is None else seeds,
            runs=runs,
            workers=workers,
        )["runs"]
        verdicts: dict[str, list[dict[str, Any]]] = {}
        for run in trained_runs:
            trained = restore(read_record(run["path"]))
            for finder, figures in _finders_on(trained, finders):
                verdicts.setdefault(finder, []).append(figures)
        rows += [_row(Path(cache).stem, finder, figures) for finder, figures in verdicts.items()]
    return {"rows": rows}


Finder = Callable[[LabelledImages], Findings]


def _finders_on(
    trained: Trained, finders: dict[str, Finder]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The figures of each finder on a run's labels, by its name; those of `labels` first."""
    data = _labelled_images(trained)
    if len(data.wrong) < FEWEST or data.wrong.all() or not data.wrong.any():
        raise UserError(
            f"{trained.cache.path}: {int(data.wrong.sum())} of {len(data.wrong)} labels came out "
            f"wrong, which says nothing: give a cache of at least {FEWEST} training images."
        )
    rows = {row.row: row for row in label_rows(trained)}
    ordered = [rows[int(row)] for row in trained.task.rows]
    yield (
        "pzsl labels",
        verdict(_findings_of_labels(ordered), data.wrong) | _confidence_figures(ordered),
    )
    for name, finder in finders.items():
        yield name, verdict(finder(data), data.wrong)


def _labelled_images(trained: Trained) -> LabelledImages:
    problem = trained.task.problem
    rows, seen = trained.task.rows, trained.cache.seen
    return LabelledImages(
        features=np.asarray(trained.cache.images[rows], np.float32),
        text=trained.cache.label_embeddings()[seen],
        scale=trained.cache.logit_scale,
        label=problem.candidates.labels.cpu().numpy(),
        truth=trained.task.truth,
    )


def _findings_of_labels(rows: Sequence[LabelRow]) -> Findings:
    """Labels that are marked for review, as more likely wrong than right, count as flagged."""
    doubt = np.array([row.doubt for row in rows])
    return Findings(doubt >= UNSURE, doubt)


def verdict(findings: Findings, wrong: NDArray[np.bool_]) -> dict[str, Any]:
    """Precision, recall and area under the ROC curve of a finder, in percent.

    Args:
        findings: on n labels. wrong: (n,) which are wrong; some, and not all.
    """
    hits = int((findings.flagged & wrong).sum())
    return {
        "images": len(wrong),
        "wrong": 100 * float(wrong.mean()),
        "precision": 100 * hits / max(1, int(findings.flagged.sum())),
        "recall": 100 * hits / int(wrong.sum()),
        "AUROC": 100 * area_under_roc(findings.doubt, wrong),
    }


def area_under_roc(score: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Chance that a positive scores above a negative, ties counting half (Mann and Whitney).

    Args:
        score: (n,). positive: (n,) some, and not all.
    """
    from scipy.stats import rankdata

    count = int(positive.sum())
    above = rankdata(score)[positive].sum() - count * (count + 1) / 2
    return float(above / (count * (len(score) - count)))


def _confidence_figures(rows: Sequence[LabelRow]) -> dict[str, Any]:
    """How far the confidences of the corrected labels can be trusted."""
    confidence = np.array([row.confidence for row in rows])
    right = np.array([bool(row.right) for row in rows])
    least = np.argsort(confidence, kind="stable")[: max(1, round(LEAST_SURE * len(rows)))]
    wrong = int((~right).sum())
    return {
        "ECE": expected_calibration_error(confidence, right),
        "wrong after": 100 * wrong / len(rows),
        "of these least sure": 100 * int((~right[least]).sum()) / wrong if wrong else None,
    }


def _row(problem: str, finder: str, verdicts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over the seeds."""
    row: dict[str, Any] = {"problem": problem, "finder": finder, "runs": len(verdicts)}
    for name in FIGURES:
        values = [figures[name] for figures in verdicts if figures.get(name) is not None]
        row[name] = mean(values) if values else None
    return row


def _cleanlab_finders() -> dict[str, Finder]:
    """cleanlab on two kinds of probabilities, by name; none if it isn't installed."""
    if find_spec("cleanlab") is None:
        say("cleanlab isn't installed, so there is no comparison: pip install 'pzsl[bench]'")
        return {}
    return {
        "cleanlab, classifier": lambda data: _cleanlab(data, _cross_validated(data)),
        "cleanlab, frozen CLIP": lambda data: _cleanlab(data, _by_names(data)),
    }


def _cleanlab(data: LabelledImages, probabilities: NDArray[np.float64]) -> Findings:
    """cleanlab's answer, as it is without options, to probabilities (n, K)."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    flagged = find_label_issues(data.label, probabilities, n_jobs=1)
    quality = get_label_quality_scores(data.label, probabilities)
    return Findings(np.asarray(flagged, bool), 1.0 - np.asarray(quality))


def _by_names(data: LabelledImages) -> NDArray[np.float64]:
    """Frozen CLIP's probabilities, which depend on no label."""
    return np.exp(log_softmax(data.scale * data.features @ data.text.T))


def _cross_validated(data: LabelledImages) -> NDArray[np.float64]:
    """Probabilities of each image by a logistic regression fitted without it, as cleanlab asks."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import KFold

    probabilities = np.full((len(data.label), len(data.text)), 1e-12)
    standard = (data.features - data.features.mean(0)) / (data.features.std(0) + 1e-6)
    for train_rows, rows in KFold(FOLDS, shuffle=True, random_state=0).split(standard):
        model = LogisticRegression(C=REGULARISATION, max_iter=STEPS)
        model.fit(standard[train_rows], data.label[train_rows])
        probabilities[np.ix_(rows, model.classes_)] = model.predict_proba(standard[rows])
    return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True))
