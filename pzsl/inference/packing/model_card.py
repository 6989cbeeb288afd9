"""The card of a packed model, in the form of the Hugging Face hub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pzsl import __version__
from pzsl.evaluation import labels_doubt
from pzsl.inference.new_names import UNNAMED, takes_names
from pzsl.inference.restore import Trained
from pzsl.methods import find_method
from pzsl.training import RunConfig

METRICS = {
    "S": "accuracy, seen classes",
    "U": "accuracy, unseen classes",
    "H": "harmonic mean of both",
    "T1": "accuracy, unseen classes among themselves",
}
SHOWN = 20
"""Class names that the card lists."""
LABELS = {
    "file": "the labels that came with them",
    "annotated": "labels that the encoder itself predicted",
}
"""What images were trained on, by the kind of noise; other kinds are drawn."""


def model_card(trained: Trained, config: RunConfig, metrics: Mapping[str, Any]) -> str:
    """Markdown with a YAML header: the model, its metrics, its use and its limits.

    Args:
        trained: the run. config: of it. metrics: its `metrics.json`.
    """
    return "\n".join([*_head(trained, metrics), *_body(trained, config, metrics), ""])


def _head(trained: Trained, metrics: Mapping[str, Any]) -> list[str]:
    name = json.dumps(trained.cache.dataset)  # JSON's strings are YAML's, too
    lines = [
        "---",
        "library_name: pzsl",
        "pipeline_tag: zero-shot-image-classification",
        "tags: [clip, zero-shot-learning, partial-label-learning]",
    ]
    figures = {key: metrics[key] for key in METRICS if metrics.get(key) is not None}
    if figures:
        lines += ["model-index:", f"- name: {name}", "  results:", "  - task:"]
        lines += ["      type: zero-shot-image-classification", "    dataset:"]
        lines += [f"      name: {name}", f"      type: {name}", "    metrics:"]
        for key, value in figures.items():
            lines += [
                f"    - type: {key}",
                f"      name: {METRICS[key]}",
                f"      value: {value:.2f}",
            ]
    return [*lines, "---"]


def _body(trained: Trained, config: RunConfig, metrics: Mapping[str, Any]) -> list[str]:
    cache, encoder = trained.cache, trained.cache.provenance
    seen, classes, images = trained.seen, len(trained.names), len(trained.task.rows)
    named = takes_names(config.labels, cache.templates)
    options = " --model THE_ENCODER" if encoder["model"] in UNNAMED else ""
    options += ' --class "a new name"' if named else ""
    noise = config.noise if config.rate is None else f"{config.noise}, rate {config.rate:g}"
    labels = LABELS.get(config.noise, f"ambiguous labels drawn for an experiment ({noise})")
    return [
        f"# {_plain(cache.dataset)}",
        "",
        f"`{config.method}` ({find_method(config.method).about}) on embeddings of a frozen "
        f"encoder, trained on {images:,} images with {labels}.",
        "",
        f"* Encoder: `{_plain(encoder['model'])}`, weights `{_plain(encoder['pretrained'])}` "
        f"(SHA-256 `{encoder['weights_hash'] or 'unknown'}`). Its weights are not in this folder.",
        f"* Classes: {seen:,} with training images, {classes - seen:,} by their "
        + (
            "names alone; others can be named when it is asked." if named else "descriptions alone."
        ),
        f"* Made by pzsl {__version__}.",
        "",
        "## Use",
        "",
        "    pip install pzsl",
        f"    pzsl predict --run THIS_FOLDER photos/{options}",
        "",
        *_figures(metrics),
        "## Limits",
        "",
        *(f"* {limit}" for limit in _limits(trained, config, metrics)),
        "",
        "## Classes",
        "",
        ", ".join(_plain(name) for name in trained.names[:SHOWN])
        + (f" and {classes - SHOWN:,} more, in `config.json`." if classes > SHOWN else "."),
    ]


def _limits(trained: Trained, config: RunConfig, metrics: Mapping[str, Any]) -> list[str]:
    """What the model can't do, and what it discloses, one sentence or two each."""
    named = (
        " and those that are named" if takes_names(config.labels, trained.cache.templates) else ""
    )
    unknown = (
        f"It knows no class but those listed{named}: an image of anything else gets one of these."
    )
    if trained.calibration.images:
        unknown += " `--error-rate 0.05` marks what is unsure."
        probabilities = (
            "Probabilities are calibrated on images like those that were trained on; on others "
            "they are a guess."
        )
    else:
        probabilities = "Probabilities are an uncalibrated softmax: no images were held out."
    annotated = config.noise == "annotated"
    doubt = labels_doubt(metrics, config.eta, annotated)
    bias = "It errs as its encoder errs, and has its biases."
    return [unknown, probabilities, *([doubt] if doubt else []), bias, _disclosed(trained)]


def _disclosed(trained: Trained) -> str:
    """What the folder discloses about the training images."""
    if trained.method.kept_state:
        return (
            f"`model.safetensors` holds the embeddings of all {len(trained.task.rows):,} training "
            "images: the method answers by them. Share it only where these may be shared."
        )
    return (
        "`model.safetensors` holds means of the images of a class at most, and no single image's "
        "embedding; where a class has one image, these are the same."
    )


def _figures(metrics: Mapping[str, Any]) -> list[str]:
    """A table of the known metrics."""
    rows = {
        **{f"{key}: {quantity} (%)": metrics.get(key) for key, quantity in METRICS.items()},
        "right labels among the training images (%)": metrics.get("disambiguation"),
        "expected calibration error (0 to 1)": metrics.get("expected_calibration_error"),
        "the same of a perfectly calibrated model": metrics.get("calibration_error_by_chance"),
        "coverage of the sets at an error rate of 5 % (%)": metrics.get("coverage"),
    }
    lines = [
        f"| {quantity} | {value:.4g} |" for quantity, value in rows.items() if value is not None
    ]
    if not lines:
        return []
    return [
        "## Figures",
        "",
        "On the data set's test images.",
        "",
        "| | |",
        "|---|---|",
        *lines,
        "",
    ]


def _plain(text: Any) -> str:
    """A text with the characters of Markdown and HTML escaped."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#&" else c for c in str(text).replace("\n", " "))
