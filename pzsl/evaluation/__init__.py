"""Metrics: pure functions of scores and labels that return plain dicts of floats, in percent."""

from __future__ import annotations

from pzsl.evaluation.accuracy import harmonic_mean, per_class_accuracy
from pzsl.evaluation.copied_images import copied_images
from pzsl.evaluation.curve import Curve, ausuc, best_gamma, seen_unseen_curve
from pzsl.evaluation.disambiguation import disambiguation_accuracy, mean_entropy
from pzsl.evaluation.encoder_fit import (
    SAMPLE,
    EncoderFit,
    encoder_fit,
    labels_doubt,
    noise_doubt,
    other_encoder_doubt,
)
from pzsl.evaluation.metrics import Metrics, evaluate, evaluate_summary, predict, stack
from pzsl.evaluation.per_class import class_hits, thin_curve, top_confusions
from pzsl.evaluation.probabilities import (
    COLDEST,
    AddedClasses,
    Calibration,
    Checked,
    HeldOut,
    calibration_error_by_chance,
    calibration_of,
    check_probabilities,
    expected_calibration_error,
    level_of,
    log_softmax,
    probability_metrics,
)
from pzsl.evaluation.scale_fit import log_likelihoods, sample_size, scale_doubt
from pzsl.evaluation.summary import Summary, summarise

__all__ = [
    "COLDEST",
    "SAMPLE",
    "AddedClasses",
    "Calibration",
    "Checked",
    "Curve",
    "EncoderFit",
    "HeldOut",
    "Metrics",
    "Summary",
    "ausuc",
    "best_gamma",
    "calibration_error_by_chance",
    "calibration_of",
    "check_probabilities",
    "class_hits",
    "copied_images",
    "disambiguation_accuracy",
    "encoder_fit",
    "evaluate",
    "evaluate_summary",
    "expected_calibration_error",
    "harmonic_mean",
    "labels_doubt",
    "level_of",
    "log_likelihoods",
    "log_softmax",
    "mean_entropy",
    "noise_doubt",
    "other_encoder_doubt",
    "per_class_accuracy",
    "predict",
    "probability_metrics",
    "sample_size",
    "scale_doubt",
    "seen_unseen_curve",
    "stack",
    "summarise",
    "thin_curve",
    "top_confusions",
]
