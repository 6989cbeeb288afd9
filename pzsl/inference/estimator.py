"""Any method on plain arrays, in the manner of scikit-learn: no cache, no file, no class names."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from operator import index
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from pzsl.candidates import CandidateSets, validate
from pzsl.device import resolve_device
from pzsl.errors import UsageError, UserError
from pzsl.exchange.vectors import as_unit, check_vectors
from pzsl.methods import METHODS, make_options
from pzsl.methods.core import CandidateEntries, Method, Problem
from pzsl.training import RunConfig
from pzsl.training.loop import fit, fit_all
from pzsl.training.run import calibrate, make_method, one_thread, refined_labels
from pzsl.training.task import BLOCK, TRUE_LABELS

Candidates = NDArray[np.bool_] | Sequence[Collection[int]]
"""Of each image: a row of a mask (N, C), or the numbers of its candidate classes."""


class PartialLabelClassifier:
    """A method of `pzsl methods`, trained on arrays; the same numbers as a run on the same data.

    Args:
        method, preset: what is trained.
        options: options of the method that differ from the preset's.
        scale: the encoder's logit scale.
        seed: of all that is drawn.
        device: auto, cpu, cuda or mps.

    Attributes:
        classes_: (C,) class numbers: the rows of the label embeddings.
        seen_: (C,) which classes had candidates.
        labels_: (N,) the class that was settled on for each training image.
        confidence_: (N,) its label weight, 0 to 1.
        gamma_: what is taken off the scores of seen classes.
        method_: the trained method itself.
    """

    def __init__(
        self,
        method: str = "clip-pzsl",
        preset: str = "default",
        options: Mapping[str, Any] | None = None,
        scale: float = 100.0,
        seed: int = 0,
        device: str = "auto",
    ) -> None:
        self.method = method
        self.preset = preset
        self.options = options
        self.scale = scale
        self.seed = seed
        self.device = device

    def fit(
        self,
        X: ArrayLike,  # noqa: N803 - the name that scikit-learn gives it
        candidates: Candidates,
        label_embeddings: ArrayLike,
        seen: ArrayLike | None = None,
    ) -> Self:
        """Learn from images and their candidate labels.

        Args:
            X: (N, D) image embeddings, of any length but zero.
            candidates: a bool mask (N, C), or N collections of class numbers.
            label_embeddings: (C, D) of all classes, in the same space.
            seen: (C,) bool, which classes may be candidates; None: those that occur in some set.

        Raises:
            UserError: an array's shape, a vector without length, a set that is empty or names a
                class that is none. UsageError: an unknown method, preset or option.
        """
        images, labels = _vectors("X", X), _vectors("label_embeddings", label_embeddings)
        if images.shape[1] != labels.shape[1]:
            raise UserError(
                f"X has {images.shape[1]} dimensions and label_embeddings {labels.shape[1]}: "
                "both should be of one encoder."
            )
        sets, self.seen_ = _candidates(candidates, len(images), len(labels), seen)
        self.classes_ = np.arange(len(labels))
        self._order = np.argsort(~self.seen_, kind="stable")
        device = resolve_device(self.device)
        problem = self._problem(images, labels, sets, device)
        config = self._config()
        with one_thread(device):
            self.method_: Method = fit(make_method(config, problem, self.seed), self.seed)
            self.gamma_ = fit_all(calibrate(self.method_, problem, config))
        self._settle()
        return self

    def decision_function(self, X: ArrayLike) -> NDArray[np.float32]:  # noqa: N803
        """Scores of images (n, D), less gamma for seen classes: (n, C)."""
        images = _vectors("X", X)
        problem = self._fitted().problem
        if images.shape[1] != problem.seen.shape[1]:
            raise UserError(
                f"X should have shape (n, {problem.seen.shape[1]}), but has {images.shape}."
            )
        blocks = torch.split(torch.from_numpy(images), BLOCK)
        device = problem.seen.device
        scores = np.empty((len(images), len(self.classes_)), dtype=np.float32)
        with torch.no_grad():
            self.method_.observe_queries(lambda: (block.to(device) for block in blocks))
            for start, block in zip(range(0, len(images), BLOCK), blocks, strict=False):
                found = self.method_.scores(block.to(device))
                found[:, : len(problem.seen)] -= self.gamma_
                scores[start : start + BLOCK, self._order] = found.cpu().numpy()
        return scores

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:  # noqa: N803
        """The class number of each image (n, D), seen or unseen: (n,)."""
        return np.asarray(self.decision_function(X).argmax(axis=1))

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float32]:  # noqa: N803
        """Softmax of the scores of images (n, D), over all classes: (n, C)."""
        scores = torch.from_numpy(self.decision_function(X))
        return np.asarray(scores.softmax(dim=1).numpy())

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments, as scikit-learn's `clone` asks for them."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> Self:
        """Change the constructor's arguments.

        Raises:
            UsageError: there is no such argument.
        """
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise UsageError(f"There is no parameter '{name}': use {', '.join(known)}.")
            setattr(self, name, value)
        return self

    def _config(self) -> RunConfig:
        """The run that this is, of candidate sets that came with the data."""
        options = asdict(make_options(self.method, self.preset, self.options or {}))
        if METHODS[self.method].needs == TRUE_LABELS:
            raise UsageError(f"Method '{self.method}' needs true labels: it is for `pzsl train`.")
        what = ("arrays", "", "", self.method, self.preset, "file", None, 0.0, "text")
        return RunConfig(*what, self.seed, options)

    def _problem(
        self,
        images: NDArray[np.float32],
        labels: NDArray[np.float32],
        sets: CandidateSets,
        device: torch.device,
    ) -> Problem:
        column = np.cumsum(self.seen_) - 1
        offsets, entries = sets.offsets, column[sets.labels]
        support = CandidateEntries.of(
            *(torch.from_numpy(part).to(device) for part in (offsets, entries))
        )
        text = torch.from_numpy(labels).to(device)
        seen = torch.from_numpy(self.seen_).to(device)
        pixels = torch.from_numpy(images).to(device)
        return Problem(pixels, support, text[seen], text[~seen], self.scale)

    def _settle(self) -> None:
        """Keep the label of each training image, and how sure that is."""
        method, support = self.method_, self.method_.support
        self.labels_ = self._order[refined_labels(method).cpu().numpy()]
        starts = support.offsets[:-1].cpu().numpy()
        self.confidence_ = np.maximum.reduceat(method.weights.detach().cpu().numpy(), starts)

    def _fitted(self) -> Method:
        if not hasattr(self, "method_"):
            raise UserError(f"This {type(self).__name__} is not fitted yet: call fit first.")
        return self.method_


def _vectors(name: str, given: ArrayLike) -> NDArray[np.float32]:
    """Unit vectors (n, D) of an argument, checked."""
    array = np.asarray(given)
    if array.ndim != 2 or not array.size or array.dtype.kind not in "fiu":
        raise UserError(
            f"{name} should be an array (n, D) of numbers, but is {array.shape} {array.dtype}."
        )
    check_vectors(name, array, normalise=True)
    return as_unit(array)


def _candidates(
    given: Candidates, images: int, classes: int, seen: ArrayLike | None
) -> tuple[CandidateSets, NDArray[np.bool_]]:
    """Candidate sets of an argument, and which classes are seen, both checked."""
    if isinstance(given, np.ndarray) and given.ndim == 2:
        expected: tuple[int, ...] = (images, classes)
        shape: tuple[int, ...] = given.shape
    else:
        expected, shape = (images,), (len(given),)
    if shape != expected:
        raise UserError(f"candidates should have shape {expected}, but have {shape}.")
    if len(shape) == 1:
        sets = CandidateSets.from_lists([_numbers(row, each) for row, each in enumerate(given)])
    else:
        mask = np.asarray(given)
        if mask.dtype != np.bool_:
            raise UserError(f"candidates should be a mask of bool, but are {mask.dtype}.")
        sets = CandidateSets.from_masks([mask], np.arange(classes))
    if seen is None:
        allowed = np.isin(np.arange(classes), sets.labels)
    else:
        allowed = np.asarray(seen)
        if allowed.shape != (classes,) or allowed.dtype != np.bool_:
            raise UserError(
                f"seen should be ({classes},) bool, but is {allowed.shape} {allowed.dtype}."
            )
    return validate(sets.offsets, sets.labels, allowed, "candidates"), allowed


def _numbers(row: int, candidates: Collection[int]) -> list[int]:
    try:
        return [index(each) for each in candidates]
    except TypeError:
        raise UserError(
            f"candidates: row {row} should be a collection of class numbers, but is {candidates!r}."
        ) from None
