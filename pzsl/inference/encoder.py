"""The encoder of a run, for images and class names that come later."""

from __future__ import annotations

import torch
from torch import Tensor

from pzsl import plugins
from pzsl.device import resolve_device
from pzsl.encoders import Encoder, encode_classes, load_encoder, load_templates
from pzsl.errors import UserError
from pzsl.inference.model import Model
from pzsl.progress import say

UNNAMED = ("", "(imported)")
"""What a cache calls an encoder that nobody told."""


def encoder_of(
    run: Model, model: str | None = None, pretrained: str | None = None, device: str = "auto"
) -> Encoder:
    """The encoder that a run's images went through.

    Args:
        run: tells its model, and a hash of its weights.
        model: where the cache was imported and doesn't tell.
        pretrained: tag or checkpoint file, where it has moved or the cache doesn't tell.
        device: auto, cpu, cuda or mps.

    Raises:
        UserError: it can't be loaded, or is another one.
    """
    told, made_of = str(run.encoder["model"]), str(run.encoder["pretrained"])
    if told in UNNAMED and model is None:
        raise UserError(
            f"{run.where} was imported and doesn't tell its encoder: name it with --model (and "
            "--pretrained), or give features (.npy)."
        )
    weights = pretrained or (None if model or made_of in ("", "built-in") else made_of)
    plugin = run.encoder["preprocessing"].get("plugin")
    if plugin:
        plugins.enrol({f"encoders {told}": plugin}, trusted_only=True)
    chosen, kind = resolve_device(device), str(run.encoder["precision"])
    precision = kind if kind == "int8" and chosen.type == "cpu" else None
    try:
        encoder = load_encoder(model or told, weights, device, precision)
    except UserError as error:
        raise UserError(
            f"The encoder of {run.where}, {model or told} with weights '{weights or made_of}', "
            f"can't be loaded: {error} A checkpoint file can be named with --pretrained."
        ) from None
    _compare(run, encoder)
    return encoder


def _compare(run: Model, encoder: Encoder) -> None:
    """Hold an encoder against what a run tells of its own.

    Raises:
        UserError: weights or dimensions are others.
    """
    identity, known = encoder.identity, str(run.encoder["weights_hash"])
    if known and known != identity.weights_hash:
        raise UserError(
            f"{run.where} was made with other weights ({known[:12]}) than these of "
            f"{identity.model} ({identity.weights_hash[:12]}): name theirs with --pretrained."
        )
    if identity.dim != run.dim:
        raise UserError(
            f"{run.where} holds embeddings of {run.dim} dimensions, those of "
            f"{identity.model} have {identity.dim}: name the encoder that made them with --model."
        )
    if not known:
        say(
            f"{run.where} doesn't tell its encoder's weights: {identity.model}, "
            f"{identity.pretrained}, is taken on trust."
        )


def embed_names(run: Model, encoder: Encoder, names: tuple[str, ...]) -> Tensor:
    """Unit label embeddings (n, D) of new classes, by the run's templates.

    Raises:
        UserError: the run knows its classes by more than prompts.
    """
    templates = [template for template in run.templates if template.count("{}") == 1]
    if run.labels != "text" or len(templates) < len(run.templates):
        if run.labels != "text" or run.templates[0] not in UNNAMED:
            raise UserError(
                f"{run.folder} knows its classes by more than prompts: --class can't add to them."
            )
        templates = list(load_templates(run.dataset))
        say(
            f"{run.where} doesn't tell its prompts: new names get the usual ones, the first "
            f"'{templates[0]}'."
        )
    vectors = encode_classes(encoder, names, templates).mean(dim=1)
    return torch.nn.functional.normalize(vectors, dim=-1)
