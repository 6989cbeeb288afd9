"""Whether an encoder suits the images: how often its top-1 class is a label or a candidate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pzsl.evaluation.scale_fit import sample_size, scale_doubt

SAMPLE = 4096
"""Images in the sample, evenly spread; it gives the share to about one percentage point."""
CELLS = 1 << 22
"""Most cosines of images and labels at a time: 16 MB."""
FEWEST = 20
"""With fewer images the share says nothing, and no warning is given."""
LEAST = 0.05
"""Least (agreement - chance) / (1 - chance) of an encoder that suits the images."""


SCALE_REMEDY = (
    "Give the encoder's own, model.logit_scale.exp() in open_clip, as logit_scale in a .npz file, "
    "and import again (pzsl import)."
)

TOGETHER = 0.5
"""Least length of the mean of unit embeddings by which an encoder is known: CLIP's is about 0.7."""
APART = 0.25
"""Least cosine with that mean, relative to its length: other images of the same encoder had 0.7 or
more on four real sets, those of another one up to 0.15."""

PLAUSIBLE = 0.5
"""Share of candidate sets that may lack the truth: with more, who made them did not know it."""
BESIDE = 0.1
"""How far an estimate may lie above a share that was drawn, or that is estimated otherwise."""
OWN_SETS = (
    "The candidate sets were made by the encoder (pzsl annotate), and agree with it where it is "
    "wrong: they can't tell how often that is, and probabilities and the confidence of labels tend "
    "to be too high. Look at some labels (pzsl review) before you rely on them."
)


def labels_doubt(
    described: Mapping[str, Any],
    drawn: float = 0.0,
    annotated: bool = False,
    encoder: str | None = None,
) -> str | None:
    """One line of what is to doubt about a run's labels, the most telling one; else None.

    Args:
        described: what a method estimated, by name, as in a run's metrics.
        drawn, annotated: as in `noise_doubt`.
        encoder: the warning of `encoder_fit`, which ignores the images' likeness.
    """
    eta = described.get("estimated_eta")
    noise, by_names = noise_doubt(eta, drawn, annotated), described.get("eta_by_names", eta)
    if noise is None and eta is not None and by_names > eta + BESIDE:
        return (
            f"The class names say little to the encoder: by them the true label would be outside "
            f"the candidate set of {100 * by_names:.0f} % of the training images, by the other "
            f"images of each label of {100 * eta:.0f} %. So labels were judged by images. A class "
            "without images can't be recognised by such names: give clearer ones (pzsl extract "
            "--names)."
        )
    return encoder or noise


def noise_doubt(estimated: float | None, drawn: float = 0.0, annotated: bool = False) -> str | None:
    """One line where the sets can't tell how good the answers are, or are implausible; else None.

    Args:
        estimated: share that a method estimated, from what the encoder answers; None without one.
        drawn: share that synthetic noise was drawn with.
        annotated: whether the encoder itself made the sets.
    """
    if annotated:
        return OWN_SETS
    if estimated is None or estimated <= max(PLAUSIBLE, drawn + BESIDE):
        return None
    return (
        f"The noise that was estimated is not plausible: the true label would be outside the "
        f"candidate set of {100 * estimated:.0f} % of the training images. Either the encoder "
        "does not know these images, or the sets are not theirs: don't trust these labels before "
        "you have looked at some (pzsl review)."
    )


def other_encoder_doubt(trained_mean: NDArray[np.float32], images: NDArray[Any]) -> str | None:
    """One line where images seem to be embedded by another encoder than those trained on.

    An encoder puts all photographs, of whatever, on one side of the sphere (Liang et al. 2022,
    "Mind the gap"); another one of the same width has another side.

    Args:
        trained_mean: (D,) mean of the training images' unit embeddings.
        images: (n, D) unit embeddings.

    Returns:
        None where they fit, or where the training images have no side in common.
    """
    length = float(np.linalg.norm(trained_mean))
    if length < TOGETHER:
        return None
    cosine = float((images @ trained_mean).mean()) / length
    if cosine >= APART * length:
        return None
    return (
        f"These features look like those of another encoder: their mean cosine with the mean of "
        f"the training images is {cosine:.2f}, where these have {length:.2f}."
    )


class EncoderFit(NamedTuple):
    """Shares of images, 0 to 1.

    Attributes:
        agreement: share of images whose top-1 seen class is the label or a candidate.
        chance: the share that random guesses would reach.
        images: size of the sample.
        scale_doubt: one line where the logit scale is too small by far.
    """

    agreement: float
    chance: float
    images: int
    scale_doubt: str | None = None

    @property
    def warning(self) -> str | None:
        """A line if the encoder is hardly better than chance, or its scale wrong; else None."""
        if self.images < FEWEST or self.agreement - self.chance >= LEAST * (1 - self.chance):
            return self.scale_doubt
        return (
            f"The encoder does not seem to fit these images: its first guess is an allowed class "
            f"for {100 * self.agreement:.0f} % of {self.images:,} training images, where chance "
            f"has {100 * self.chance:.0f} %. Don't trust results on it: extract with another "
            "--model, or check labels and class names."
        )


class Labelled(Protocol):
    """The part of a cache that tells the classes of its images."""

    @property
    def labels(self) -> NDArray[np.int64]: ...  # noqa: D102
    @property
    def candidate_offsets(self) -> NDArray[np.int64] | None: ...  # noqa: D102
    @property
    def candidate_labels(self) -> NDArray[np.int32] | None: ...  # noqa: D102
    @property
    def annotation(self) -> dict[str, Any]: ...  # noqa: D102


class LabelledImages(Labelled, Protocol):
    """The same, with the embeddings of its images."""

    @property
    def splits(self) -> NDArray[np.str_]: ...  # noqa: D102
    @property
    def images(self) -> NDArray[np.float32]: ...  # noqa: D102


class Embedded(LabelledImages, Protocol):
    """The part of a cache that this file reads."""

    @property
    def seen(self) -> NDArray[np.bool_]: ...  # noqa: D102
    @property
    def templates(self) -> tuple[str, ...]: ...  # noqa: D102
    def label_embeddings(self) -> NDArray[np.float32]: ...  # noqa: D102
    @property
    def logit_scale(self) -> float: ...  # noqa: D102


def encoder_fit(cache: Embedded) -> EncoderFit:
    """Compare an encoder's top-1 classes with the labels, or with candidates where unlabelled.

    Args:
        cache: its training images are used. Candidate sets made by `pzsl annotate` are ignored,
            because they come from the encoder itself.
    """
    rows = np.flatnonzero(cache.splits == "trainval")
    rows = rows[:: -(-len(rows) // SAMPLE) or 1]
    allowed = [
        (row, classes) for row in rows.tolist() if len(classes := allowed_classes(row, cache))
    ]
    if not (allowed and cache.templates and cache.seen.any()):
        return EncoderFit(1.0, 0.0, 0)
    classes = np.flatnonzero(cache.seen)
    vectors = cache.images[[row for row, _ in allowed]]
    text, size = cache.label_embeddings()[classes].T, max(1, CELLS // len(classes))
    blocks = [vectors[start : start + size] for start in range(0, len(vectors), size)]
    predictions = classes[np.concatenate([(block @ text).argmax(axis=1) for block in blocks])]
    image = np.repeat(np.arange(len(allowed)), [len(labels) for _, labels in allowed])
    labels = np.concatenate([labels for _, labels in allowed])
    hits = np.bincount(image, predictions[image] == labels) > 0
    shares = np.bincount(image, cache.seen[labels]) / len(classes)
    shares_of_agreement = float(hits.mean()), float(shares.mean()), len(allowed)
    return EncoderFit(*shares_of_agreement, _scale_doubt(cache, allowed, classes))


def _scale_doubt(
    cache: Embedded, allowed: list[tuple[int, NDArray[np.integer]]], classes: NDArray[np.int64]
) -> str | None:
    """What `scale_doubt` says of the labels (row, classes) among seen `classes` (K,)."""
    chosen = allowed[:: -(-len(allowed) // sample_size(len(allowed), len(classes)))]
    is_allowed = np.zeros((len(chosen), len(cache.seen)), dtype=bool)
    for image, (_, labels) in enumerate(chosen):
        is_allowed[image, labels] = True
    cosines = cache.images[[row for row, _ in chosen]] @ cache.label_embeddings()[classes].T
    return scale_doubt(cosines, is_allowed[:, classes], cache.logit_scale, SCALE_REMEDY)


def allowed_classes(row: int, cache: Labelled) -> NDArray[np.integer]:
    """The classes that an image may have: its label, or else the candidates that people gave it."""
    if cache.labels[row] >= 0:
        return cache.labels[row : row + 1]
    offsets, labels = cache.candidate_offsets, cache.candidate_labels
    if offsets is None or labels is None or cache.annotation:
        return np.empty(0, np.int64)
    return labels[offsets[row] : offsets[row + 1]]
