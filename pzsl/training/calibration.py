"""Calibrate a trained method on folds of its problem: gamma, the share, and probabilities."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from pzsl.evaluation import COLDEST, AddedClasses, Calibration, Summary, calibration_of
from pzsl.methods.core import Method, Problem
from pzsl.training.config import RunConfig
from pzsl.training.fold_samples import FoldSample, sample_fold
from pzsl.training.folds import SHARES, fold_fits
from pzsl.training.gamma_and_share import Choice, choose, gamma_at
from pzsl.training.loop import Fit
from pzsl.training.make_method import prepared_method


class Calibrated(NamedTuple):
    """The folds' results: gamma of calibrated stacking, and the calibration of probabilities."""

    gamma: float
    probabilities: Calibration


def calibrate(
    method: Method, problem: Problem, config: RunConfig, names_may_follow: bool = True
) -> Generator[Fit, None, Calibrated]:
    """Calibrate a trained method on folds of its problem; gamma is 0 without unseen classes.

    The folds also choose the share of a method that fades, and the temperature of probabilities.
    Where no class is unseen, further folds hold classes out, for the gamma and the probabilities of
    classes that are added later by their names.

    Args:
        method, problem, config: of the run.
        names_may_follow: whether classes may be added to the run later, by name.

    Yields:
        A fit, which the caller carries out before asking for the next.
    """
    if not method.options.calibrate:
        return Calibrated(0.0, Calibration())
    folds, samples = yield from _folds(method, problem, config, len(problem.unseen) > 0)
    images_per_class = len(problem.images) / len(problem.seen)
    numbers = problem.scale, images_per_class, method.cautious
    choice = choose(folds, _shares(method), *numbers)
    if method.fades:
        method.fade(choice.share)
    calibration = _probabilities(samples, choice, config)
    if names_may_follow and method.takes_classes and not len(problem.unseen):
        folds, samples = yield from _folds(method, problem, config, open_set=True)
        # At the share of the closed set, whose scores the metrics of the run are made of.
        gamma = gamma_at(choice.share, folds, _shares(method), problem.scale)
        probabilities = _probabilities(samples, Choice(choice.share, gamma), config)
        if not probabilities.images:  # a single class can't be held out
            probabilities = calibration
        calibration = replace(calibration, added=AddedClasses(gamma, probabilities))
    return Calibrated(choice.gamma, calibration)


def _folds(
    method: Method, problem: Problem, config: RunConfig, open_set: bool
) -> Generator[Fit, None, tuple[list[list[Summary]], list[FoldSample]]]:
    """The folds' summaries, and scores of a sample of their held-out images."""
    samples: list[FoldSample] = []

    def sample(fold_method: Method, seen_classes: Tensor, held_out: Tensor) -> None:
        samples.append(sample_fold(fold_method, method, seen_classes, held_out))

    folds = yield from fold_fits(
        lambda fold_problem, seed: prepared_method(config, fold_problem, seed, whole=method),
        problem,
        refined_labels(method),
        config.seed,
        sample,
        open_set,
    )
    return folds, samples


def _shares(method: Method) -> tuple[float, ...]:
    return SHARES if method.fades else (1.0,)


def _probabilities(samples: list[FoldSample], choice: Choice, config: RunConfig) -> Calibration:
    """The calibration of probabilities at a choice; empties `samples`."""
    coldest = 1.0 if config.noise == "annotated" else COLDEST  # CLIP's own sets confirm CLIP
    held_out = [samples.pop(0).at(*choice) for _ in range(len(samples))]  # frees memory of each
    return calibration_of(held_out, coldest)


def refined_labels(method: Method) -> Tensor:
    """The label of the largest weight of each training image, (N,) columns of the seen classes."""
    return method.candidates.heaviest(method.weights)
