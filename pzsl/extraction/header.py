"""Make the header of a cache from a data set and an encoder."""

from __future__ import annotations

from pzsl.datasets import Dataset
from pzsl.encoders import Identity
from pzsl.extraction.views import Augmentation
from pzsl.store import CacheHeader


def header_of(
    data: Dataset,
    identity: Identity,
    templates: tuple[str, ...],
    augmentation: Augmentation | None = None,
) -> CacheHeader:
    """The header of a cache.

    Args:
        data: classes, images, labels, splits; attributes and candidates if any.
        identity: of the encoder.
        templates: name of each text embedding of a class; empty if attributes are used instead.
        augmentation: the views of each training image.
    """
    return CacheHeader(
        dataset=data.name,
        split_hash=data.split_hash,
        origin=dict(data.origin),
        classes=data.classes,
        seen=data.seen,
        templates=templates,
        paths=data.paths,
        labels=data.labels,
        splits=data.splits,
        dim=identity.dim,
        model=identity.model,
        pretrained=identity.pretrained,
        weights_hash=identity.weights_hash,
        preprocessing=identity.preprocessing,
        logit_scale=identity.logit_scale,
        precision=identity.precision,
        attributes=data.attributes,
        candidate_offsets=data.candidates.offsets if data.candidates else None,
        candidate_labels=data.candidates.labels if data.candidates else None,
        augmentation=augmentation.record() if augmentation else {},
    )
