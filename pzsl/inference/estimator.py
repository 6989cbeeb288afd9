"""Any method on plain arrays, as a scikit-learn estimator: no cache, no file, no class names."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from pzsl.candidates import CandidateSets
from pzsl.device import cores, cpu_threads, resolve_device, usual_torch
from pzsl.errors import UsageError, UserError, shown
from pzsl.inference.candidate_arrays import (
    as_candidates,
    candidate_arrays,
    class_list,
)
from pzsl.inference.class_means import ClassMeans, class_means
from pzsl.inference.frames import axis, check_columns, check_frames
from pzsl.inference.image_arrays import image_weights, unit_vectors
from pzsl.inference.likeliest_scale import USUAL_SCALE, doubt_scale, likeliest_scale
from pzsl.inference.scikit_learn import ScikitClassifier, UnfittedError
from pzsl.methods import find_method, make_options, unread_options
from pzsl.methods.core import CandidateEntries, Method, Problem
from pzsl.progress import say
from pzsl.requests import LAST_SEED, is_number, is_whole
from pzsl.training import RunConfig
from pzsl.training.calibration import calibrate, refined_labels
from pzsl.training.features_in_blocks import scored_together
from pzsl.training.loop import fit, fit_all
from pzsl.training.make_method import prepared_method
from pzsl.training.task import TRUE_LABELS

Candidates = ArrayLike | Sequence[Collection[int]] | Sequence[Collection[str]]
"""Per image: a row of a mask (N, C), or its candidate classes by number or by name."""


class PartialLabelClassifier(ScikitClassifier):
    """A method of `pzsl methods`, trained on arrays; gives the numbers of a run on the same data.

    Args:
        method: what to train, a name of `pzsl methods`.
        preset: of the method's options.
        options: options of the method that differ from the preset's.
        scale: the encoder's logit scale; None: 100, or without label embeddings the likeliest.
        seed: of all random numbers.
        device: auto, cpu, cuda or mps.
        n_jobs: CPU threads that `fit` computes on; None: 1, -1: all cores, -2: all but one.

    Attributes:
        classes_: (C,) class numbers (the rows of the label embeddings), or names.
        n_features_in_: D.
        scale_: the logit scale.
        seen_: (C,) which classes had candidates.
        labels_: (N,) refined label of each training image.
        confidence_: (N,) its label weight, 0 to 1.
        gamma_: subtracted from the scores of seen classes (calibrated stacking).
        calibration_: the temperature of probabilities, and thresholds of conformal sets.
        method_: the trained method itself.
    """

    def __init__(
        self,
        method: str = "clip-pzsl",
        preset: str = "default",
        options: Mapping[str, Any] | None = None,
        scale: float | None = None,
        seed: int = 0,
        device: str = "auto",
        n_jobs: int | None = None,
    ) -> None:
        self.method = method
        self.preset = preset
        self.options = options
        self.scale = scale
        self.seed = seed
        self.device = device
        self.n_jobs = n_jobs

    @usual_torch()
    def fit(
        self,
        X: ArrayLike,  # noqa: N803 - the name that scikit-learn gives it
        y: Candidates,
        label_embeddings: ArrayLike | None = None,
        seen: ArrayLike | None = None,
        classes: ArrayLike | None = None,
    ) -> Self:
        """Learn from images and their candidate labels.

        Args:
            X: (N, D) image embeddings, of any length but zero; float32 ones within 0.1 % of length
                one are taken as they are, as in a cache.
            y: the candidates: a bool mask (N, C), as an array, a tensor or a sparse matrix; N
                collections of classes; or one class per image (N,).
            label_embeddings: (C, D) of all classes, in the same space; None: the mean image of
                each class, which leaves no class unseen.
            seen: (C,) bool, which classes may be candidates; None: those that occur in some set.
            classes: (C,) names of the classes, used in `y` and in predictions; None: their numbers
                or, without label embeddings, the classes that occur.

        Raises:
            UserError: an array has the wrong shape, a vector is zero, a candidate set is empty or
                names an unknown class, or frames name rows or columns in different orders.
            UsageError: an unknown method, preset or option.
        """
        vars(self).pop("method_", None)  # if this fails, no old method answers with new classes
        names = check_frames(X, y, label_embeddings, classes, seen)
        images, candidates = unit_vectors("X", X), as_candidates(y)
        labels = None if label_embeddings is None else _label_vectors(label_embeddings, images)
        self.classes_ = class_list(candidates, None if labels is None else len(labels), classes)
        sets, self.seen_ = candidate_arrays(candidates, len(images), self.classes_, seen)
        source = ClassMeans() if labels is None else None
        self.scale_ = USUAL_SCALE if self.scale is None else self.scale
        if labels is None:
            labels = class_means(images, sets, len(self.classes_))
            if self.scale is None:
                self.scale_ = likeliest_scale(images, sets, len(self.classes_))
        elif doubt := doubt_scale(images, labels, sets, self.seen_, self.scale_):
            say(doubt)
        self._names = self.classes_.tolist() if names is None else names
        self.n_features_in_, self._columns = images.shape[1], axis(X, "columns")
        self._order = np.argsort(~self.seen_, kind="stable")
        device = resolve_device(self.device)
        problem = replace(self._problem(images, labels, sets, device), label_source=source)
        config = self._config()
        with cpu_threads(device, _threads(self.n_jobs)):
            self.method_: Method = fit(prepared_method(config, problem, config.seed), config.seed)
            self.gamma_, self.calibration_ = fit_all(
                calibrate(self.method_, problem, config, names_may_follow=False)
            )
        self._settle()
        return self

    def decision_function(self, X: ArrayLike) -> NDArray[np.float32]:  # noqa: N803
        """Scores of images (n, D), less gamma for seen classes: (n, C).

        Of two classes, as scikit-learn has it, by how much the second is ahead of the first: (n,).
        """
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    @usual_torch()
    def _scores(self, X: ArrayLike) -> NDArray[np.float32]:  # noqa: N803
        """Scores of images (n, D), less gamma for seen classes: (n, C)."""
        problem = self._fitted().problem
        check_columns(X, self._columns, "X in fit")
        images = unit_vectors("X", X)
        if images.shape[1] != self.n_features_in_:
            raise UserError(
                f"X has {images.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input."
            )
        size = scored_together(len(self.classes_))
        blocks = torch.split(torch.from_numpy(images), size)
        device = problem.seen.device
        scores = np.empty((len(images), len(self.classes_)), dtype=np.float32)
        with torch.no_grad():
            self.method_.observe_queries(lambda: (block.to(device) for block in blocks))
            for start, block in zip(range(0, len(images), size), blocks, strict=False):
                block_scores = self.method_.scores(block.to(device))
                block_scores[:, : len(problem.seen)] -= self.gamma_
                scores[start : start + size, self._order] = block_scores.cpu().numpy()
        return scores

    def predict(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """The class of each image (n, D), seen or unseen, out of `classes_`: (n,)."""
        best = self._scores(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def score(
        self,
        X: ArrayLike,  # noqa: N803
        y: Candidates,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Share of images (n, D) whose predicted class is `y`, or among the candidates `y`.

        Args:
            y: one class per image (n,), or candidates as `fit` takes them.
            sample_weight: (n,) weight of each image; None: all equal.
        """
        self._fitted()
        check_frames(X, y, None, self._names, sample_weight=sample_weight)
        best = self._scores(X).argmax(axis=1)
        sets, _ = candidate_arrays(as_candidates(y), len(best), self.classes_, None)
        weights = None if sample_weight is None else image_weights(sample_weight, len(best))
        return float(np.average(sets.contains(best).astype(np.float64), weights=weights))

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float32]:  # noqa: N803
        """Calibrated softmax of the scores of images (n, D), over all classes: (n, C).

        Where `fit` held no images out, as with method `clip`, it is uncalibrated; a line says so.
        """
        scores = torch.from_numpy(self._scores(X) / self.calibration_.temperature)
        if not self.calibration_.images:
            say("fit held no images out: probabilities are an uncalibrated softmax.")
        return np.asarray(scores.softmax(dim=1).numpy())

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments, as scikit-learn's `clone` asks for them."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> Self:
        """Change the constructor's arguments.

        Raises:
            UsageError: there is no such argument.
        """
        arguments = self.get_params()
        for name, value in params.items():
            if name not in arguments:
                raise UsageError(f"There is no parameter '{name}': use {', '.join(arguments)}.")
            setattr(self, name, value)
        return self

    def _config(self) -> RunConfig:
        """The configuration of the equivalent run, with candidate sets that came with the data."""
        if self.scale is not None and not (is_number(self.scale) and self.scale > 0):
            raise UsageError(f"scale should be None or a number above 0, not {shown(self.scale)}.")
        if not (is_whole(self.seed) and 0 <= self.seed <= LAST_SEED):
            raise UsageError(f"seed should be a whole number from 0, not {shown(self.seed)}.")
        for name in ("method", "preset"):
            if not isinstance(getattr(self, name), str):
                raise UsageError(f"{name} should be a name, not {shown(getattr(self, name))}.")
        if not isinstance(self.options, Mapping | None):
            raise UsageError(f"options should be a mapping, not {shown(self.options)}.")
        options = asdict(make_options(self.method, self.preset, self.options or {}))
        for line in unread_options(self.method, options, self.options or {}):
            say(line)
        if find_method(self.method).needs == TRUE_LABELS:
            raise UsageError(f"Method '{self.method}' needs true labels: it is for `pzsl train`.")
        identity = ("arrays", "", "", self.method, self.preset, "file", None, 0.0, "text")
        return RunConfig(*identity, int(self.seed), options)

    def _problem(
        self,
        images: NDArray[np.float32],
        labels: NDArray[np.float32],
        sets: CandidateSets,
        device: torch.device,
    ) -> Problem:
        column = np.cumsum(self.seen_) - 1
        offsets, entries = sets.offsets, column[sets.labels]
        candidates = CandidateEntries.of(
            *(torch.from_numpy(part).to(device) for part in (offsets, entries))
        )
        text = torch.from_numpy(labels).to(device)
        seen = torch.from_numpy(self.seen_).to(device)
        image_features = torch.from_numpy(images).to(device)
        return Problem(image_features, candidates, text[seen], text[~seen], self.scale_)

    def _settle(self) -> None:
        """Store the refined label of each training image and its confidence."""
        method, candidates = self.method_, self.method_.candidates
        self.labels_ = self.classes_[self._order[refined_labels(method).cpu().numpy()]]
        starts = candidates.offsets[:-1].cpu().numpy()
        self.confidence_ = np.maximum.reduceat(method.weights.detach().cpu().numpy(), starts)

    def _fitted(self) -> Method:
        if not hasattr(self, "method_"):
            raise UnfittedError(f"This {type(self).__name__} is not fitted yet: call fit first.")
        return self.method_


def _label_vectors(label_embeddings: ArrayLike, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Label embeddings (C, D) as unit vectors of the images' dimension."""
    labels = unit_vectors("label_embeddings", label_embeddings)
    if images.shape[1] != labels.shape[1]:
        raise UserError(
            f"X has {images.shape[1]} dimensions and label_embeddings {labels.shape[1]}: "
            "both should be of one encoder."
        )
    return labels


def _threads(n_jobs: int | None) -> int:
    """The number of CPU threads; negative numbers count back from all cores."""
    if n_jobs is None:
        return 1
    if not is_whole(n_jobs) or n_jobs == 0:
        raise UsageError(
            f"n_jobs should be None or a whole number other than 0, not {shown(n_jobs)}."
        )
    return n_jobs if n_jobs > 0 else max(1, cores() + 1 + n_jobs)
