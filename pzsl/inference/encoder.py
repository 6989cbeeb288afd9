"""The encoder of a run, for new images and class names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pzsl import plugins
from pzsl.device import resolve_device
from pzsl.encoders import Encoder, encode_classes, load_encoder, load_templates
from pzsl.encoders.preprocessing import TEXTS
from pzsl.errors import UserError
from pzsl.inference.model import Model
from pzsl.inference.new_names import UNNAMED, takes_names, whole_templates
from pzsl.progress import say

CLOSE = 0.995
"""Smallest cosine of one text's embeddings by one encoder, in any two precisions."""


def encoder_of(
    run: Model, model: str | None = None, pretrained: str | None = None, device: str = "auto"
) -> Encoder:
    """Load the encoder that made a run's features.

    Args:
        run: records the encoder's model and a hash of its weights.
        model: the encoder, if the cache was imported and doesn't record it.
        pretrained: tag or checkpoint file, if it has moved or the cache doesn't record it.
        device: auto, cpu, cuda or mps.

    Raises:
        UserError: it can't be loaded, or isn't the encoder that was used.
    """
    model_name, weights_name = str(run.encoder["model"]), str(run.encoder["pretrained"])
    if model_name in UNNAMED and model is None:
        raise UserError(
            f"{run.where} was imported and doesn't tell its encoder: name it with --model (and "
            "--pretrained), or give features (.npy)."
        )
    weights = pretrained or (None if model or weights_name in ("", "built-in") else weights_name)
    plugin = run.encoder["preprocessing"].get("plugin")
    if plugin:
        plugins.enrol({f"encoders {model_name}": plugin}, trusted_only=True)
    chosen, kind = resolve_device(device), str(run.encoder["precision"])
    precision = kind if kind == "int8" and chosen.type == "cpu" else None
    try:
        encoder = load_encoder(model or model_name, weights, device, precision)
    except UserError as error:
        raise UserError(
            f"The encoder of {run.where}, {model or model_name} with weights "
            f"'{weights or ('openai' if model else weights_name)}', can't be loaded: {error} A "
            "checkpoint file can be named with --pretrained."
        ) from None
    _compare(run, encoder)
    return encoder


def _compare(run: Model, encoder: Encoder) -> None:
    """Compare an encoder with what the run records of its own.

    Raises:
        UserError: weights, preparation of images or dimensions differ.
    """
    identity, recorded_hash = encoder.identity, str(run.encoder["weights_hash"])
    if recorded_hash and recorded_hash != identity.weights_hash:
        raise UserError(
            f"{run.where} was made with other weights ({recorded_hash[:12]}) than these of "
            f"{identity.model} ({identity.weights_hash[:12]}): name theirs with --pretrained."
        )
    if differing := _differing(run.encoder["preprocessing"], identity.preprocessing):
        raise UserError(
            f"{run.where} was made with other settings beside the weights ({differing}): put the "
            "configuration there that lay beside them (open_clip_config.json or "
            f"preprocessor_config.json), or name the file as then ({run.encoder['pretrained']}); "
            "otherwise extract and train again."
        )
    if identity.dim != run.dim:
        raise UserError(
            f"{run.where} holds embeddings of {run.dim} dimensions, those of "
            f"{identity.model} have {identity.dim}: name the encoder that made them with --model."
        )
    if not recorded_hash:
        say(
            f"{run.where} doesn't tell its encoder's weights: {identity.model}, "
            f"{identity.pretrained}, is taken on trust."
        )


def _differing(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first setting that differs, in words; '' if none does.

    Settings that only one version of a library has are left out, but not those of texts. A
    plugin's source is compared where it is loaded.
    """
    names = [name for name in (*recorded, TEXTS) if name in now or name == TEXTS]
    for name in names:
        before, after = recorded.get(name), now.get(name)
        if name != "plugin" and json.dumps(before) != json.dumps(after):
            return f"{name} {before}, now {after}"
    return ""


def check_texts(run: Model, encoder: Encoder, labels: Tensor) -> None:
    """Compare an encoder's embedding of a class with the run's: neither weights nor settings tell
    their activation, and with another one all embeddings are wrong.

    Args:
        run: of which the encoder is said to be. labels: (K, D) its seen label embeddings.

    Raises:
        UserError: they differ by more than rounding.
    """
    if run.labels != "text" or not all(text.count("{}") == 1 for text in run.templates):
        return
    cosine = float(embed_names(run, encoder, run.classes[:1])[0] @ labels[0].cpu())
    if cosine < CLOSE:
        raise UserError(
            f"{encoder.identity.model} with weights '{encoder.identity.pretrained}' embeds "
            f"'{run.classes[0]}' otherwise than the encoder of {run.where} (cosine "
            f"{cosine:.3f}): name the weights as then ({run.encoder['pretrained']}), or give "
            "--model NAME-quickgelu if they are OpenAI's."
        )


def embed_names(run: Model, encoder: Encoder, names: tuple[str, ...]) -> Tensor:
    """Unit label embeddings (n, D) of new classes, from the run's prompt templates.

    Raises:
        UserError: the run's label embeddings are made of more than prompts.
    """
    if not takes_names(run.labels, run.templates):
        raise UserError(
            f"{run.folder} knows its classes by more than prompts: --class can't add to them."
        )
    templates = whole_templates(run.templates)
    if len(templates) < len(run.templates):
        templates = list(load_templates(run.dataset))
        say(
            f"{run.where} doesn't tell its prompts: new names get the usual ones, the first "
            f"'{templates[0]}'."
        )
    vectors = encode_classes(encoder, names, templates).mean(dim=1)
    return torch.nn.functional.normalize(vectors, dim=-1)
