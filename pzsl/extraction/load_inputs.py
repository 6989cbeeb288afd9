"""Load the data set, the prompts and the encoder that a request names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pzsl.datasets import Dataset, load_dataset
from pzsl.datasets.class_warnings import class_warnings
from pzsl.datasets.fetching import PUBLICATIONS, fetch, find_root, is_by_hand, usual_places
from pzsl.device import cores, default_batch
from pzsl.encoders import Encoder, load_encoder
from pzsl.encoders.descriptions import Prompts, choose_prompts
from pzsl.encoders.prompts import FOLDER as BUILT_IN
from pzsl.errors import UserError
from pzsl.extraction.views import Augmentation, choose_views
from pzsl.progress import counted
from pzsl.requests import OWN_IMAGES, ExtractRequest


@dataclass(frozen=True)
class Job:
    """A request with its data set, prompts and encoder loaded."""

    request: ExtractRequest
    data: Dataset
    prompts: Prompts
    encoder: Encoder

    @property
    def batch_size(self) -> int:
        """Images per batch; the last bits of the embeddings depend on it."""
        return self.request.batch_size or default_batch(self.encoder.device)

    @property
    def augmentation(self) -> Augmentation | None:
        """The views of each training image, if requested."""
        request = self.request
        return choose_views(request.views, request.view_policy, request.view_seed)

    @property
    def threads(self) -> int:
        """Threads that read images, and on the CPU encode them."""
        return cores() if self.request.workers is None else max(1, self.request.workers)

    @property
    def about(self) -> list[str]:
        """Lines that tell the user what will be encoded, and how."""
        data, prompts = self.data, self.prompts
        identity = self.encoder.identity
        origin = ", ".join(
            f"{name} {value}"
            for name, value in data.origin
            if not name.endswith(("sha256", "hash"))
        )
        seen = int(data.seen.sum())
        views = self.augmentation
        kinds = f" Views of each training image: {', '.join(views.kinds)}." if views else ""
        return [
            f"Data set {data.name} ({origin}): {counted(len(data.paths), 'image')}, "
            f"{len(data.classes)} classes, {seen} seen and {len(data.classes) - seen} unseen.",
            f"Model {identity.model}, weights {identity.pretrained} "
            f"({identity.weights_hash[:12]}), {identity.precision} on {self.encoder.device}, "
            f"batches of {self.batch_size}, {self.threads} threads.",
            f"{_about_prompts(prompts)}{kinds}",
            *_about_held_out(data, self.request),
            *(class_warnings(data) if data.name in OWN_IMAGES else []),
        ]


def _about_held_out(data: Dataset, request: ExtractRequest) -> list[str]:
    """Of one's own images, how to learn from all of them if a split is drawn unasked."""
    asked = request.unseen is not None or request.test is not None or request.splits is not None
    unseen, tested = int((~data.seen).sum()), int((data.splits == "test_seen").sum())
    if data.name not in OWN_IMAGES or asked or "test" not in dict(data.origin):
        return []
    held_out = [counted(unseen, "class", "classes")] * (unseen > 0)
    held_out += [counted(tested, "image") + " of the others" * (unseen > 0)] * (tested > 0)
    if not held_out:
        return []
    return [
        f"Held out for tests: {' and '.join(held_out)}, drawn at random. To learn from all images, "
        "as for a classifier to use: --unseen 0 --test-share 0."
    ]


def _about_prompts(prompts: Prompts) -> str:
    if not prompts.columns:
        return "No prompts: the encoder reads no texts, attributes stand for the classes."
    count, file = len(prompts.columns), Path(prompts.source)
    is_built_in = file.parent == BUILT_IN
    source = f"built-in templates ({file.name})" if is_built_in else f"templates from {file}"
    return f"Prompts: {count} {source}, the first '{prompts.columns[0]}'."


def with_root(request: ExtractRequest) -> ExtractRequest:
    """The request with the folder of a published data set, which is downloaded on request.

    Nothing is downloaded into a folder that the user has filled by hand.

    Raises:
        UserError: there are no images, or they can't be downloaded.
    """
    name, root = request.dataset, request.root
    if request.fetch and not (
        name in PUBLICATIONS and is_by_hand(name, Path(root or usual_places(name)[0]))
    ):
        fetch(name, None if root is None else Path(root))
    if root is None and name in PUBLICATIONS:
        return replace(request, root=find_root(name))
    return request


def load_images(request: ExtractRequest) -> Dataset:
    """The data set of a request, with at most `limit` images.

    Raises:
        UserError: see `load_dataset`.
    """
    data = load_dataset(
        request.dataset, root=request.root, on_error=request.on_error, **request.data_options
    )
    return take_evenly(data, request.limit)


def prepare(request: ExtractRequest) -> Job:
    """Load what a request names.

    Raises:
        UserError: the data set, the prompts or the encoder can't be loaded or are invalid.
    """
    data = load_images(request)
    files = [Path(file) if file else None for file in (request.templates, request.descriptions)]
    prompts = choose_prompts(request.dataset, data.classes, *files)
    model = request.model or default_model(request.dataset)
    encoder = load_encoder(model, request.pretrained, request.device, request.precision)
    if not encoder.reads_texts:
        prompts = Prompts((), None, (), "")
        if data.attributes is None:
            raise UserError(
                f"{encoder.identity.model} reads no texts, and {data.name} has no attributes: "
                "nothing tells its classes apart. Take an encoder that reads texts."
            )
    return Job(request, data, prompts, encoder)


def default_model(dataset: str) -> str:
    """The default encoder of a data set."""
    return "tiny" if dataset == "shapes" else "ViT-B-32"


def take_evenly(data: Dataset, limit: int | None) -> Dataset:
    """Keep at most `limit` images, evenly spread, so that all splits and most classes have some."""
    count = len(data.paths)
    if limit is None or limit >= count:
        return data
    return data.subset(np.arange(limit, dtype=np.int64) * count // limit)
