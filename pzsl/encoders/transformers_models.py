"""CLIP and SigLIP models saved by Hugging Face's transformers, with open_clip's interface."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from open_clip.tokenizer import HFTokenizer
from torch import Tensor, nn

from pzsl.device import resolve_device, resolve_precision
from pzsl.encoders.base import Identity
from pzsl.encoders.openclip import OpenClipEncoder, as_json
from pzsl.encoders.preprocessing import TEXTS
from pzsl.encoders.preprocessing_files import (
    MODEL,
    PROCESSOR,
    TRANSFORMERS,
    preprocessing_beside,
    read_configuration,
)
from pzsl.encoders.weights import load_into, read_weights, weights_hash
from pzsl.errors import UsageError, UserError

CLEANING = {"clip": "whitespace", "siglip": "canonicalize"}
"""Supported model types of transformers -> open_clip's name of what is done to texts before they
become tokens. SigLIP 2 with a fixed size is a `siglip`; both were trained on lower-case texts
without punctuation, but the tokenizer of SigLIP 2 doesn't see to that by itself."""
USUAL = "model.safetensors"
"""The weight file that transformers reads."""
SHARD = re.compile(r"model-\d+-of-\d+\.safetensors", re.ASCII)
"""A part of it, if the model is split; transformers finds the others by itself."""


class TwoTowers(nn.Module):
    """A model of transformers with open_clip's method names."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.vocab_size = int(model.config.text_config.vocab_size)

    def encode_image(self, images: Tensor, normalize: bool = True) -> Tensor:
        """Embeddings (n, D) of prepared images (n, 3, h, w)."""
        pooled = self.model.vision_model(pixel_values=images).pooler_output
        return self._projected("visual_projection", pooled, normalize)

    def encode_text(self, tokens: Tensor, normalize: bool = True) -> Tensor:
        """Embeddings (n, D) of padded tokens (n, L); the padding has no effect."""
        pooled = self.model.text_model(input_ids=tokens).pooler_output
        return self._projected("text_projection", pooled, normalize)

    def _projected(self, name: str, pooled: Tensor, normalize: bool) -> Tensor:
        """Project as CLIP does; SigLIP's heads have already done so."""
        projection = getattr(self.model, name, None)
        vectors: Tensor = projection(pooled) if projection is not None else pooled
        return nn.functional.normalize(vectors, dim=-1) if normalize else vectors


def load_transformers(
    name: str, folder: Path, weights: Path, device: str, precision: str | None
) -> OpenClipEncoder:
    """Load a CLIP or SigLIP that transformers saved.

    Args:
        name: of the model, as stored in caches.
        folder: with `config.json`, the processor's configuration and the tokenizer's files.
        weights: the weight file, in that folder.
        device: see `load_encoder`. precision: see there; not int8.

    Raises:
        UserError: the model is of another type, or a file is missing or broken.
    """
    kind = str(read_configuration(folder / MODEL).get("model_type"))
    if kind not in CLEANING:
        raise UserError(
            f"{folder / MODEL}: model_type '{kind}' is none of {', '.join(CLEANING)}: an encoder "
            "of your own takes any model (docs/extend.md)."
        )
    place = resolve_device(device)
    precision, dtype = resolve_precision(precision, place)
    if precision == "int8":
        raise UsageError("--precision int8 is for open_clip's vision transformers: use fp32.")
    preprocessing, _ = preprocessing_beside(weights)
    if not preprocessing:
        raise UserError(
            f"{folder} doesn't say how images are prepared ({TRANSFORMERS} or {PROCESSOR}): save "
            "the model's processor there, too, with processor.save_pretrained(FOLDER)."
        )
    model, tokenizer = _opened(folder, weights, CLEANING[kind])
    state = {key: value.float() for key, value in model.state_dict().items()}
    preprocessing.pop("quick_gelu", None)  # its own library builds the model
    vision, text = model.config.vision_config, model.config.text_config
    preprocessing.setdefault("size", vision.image_size)
    identity = Identity(
        model=name,
        pretrained=weights.name,
        weights_hash=weights_hash(state),
        preprocessing=as_json(preprocessing) | ({TEXTS: CLEANING[kind]} if kind != "clip" else {}),
        precision=precision,
        dim=int(getattr(model.config, "projection_dim", None) or vision.hidden_size),
        logit_scale=float(state["logit_scale"].exp()),
    )
    tokenizer.context_length = int(text.max_position_embeddings)
    return OpenClipEncoder(TwoTowers(model.to(place, dtype)), tokenizer, identity, place)


def _opened(folder: Path, weights: Path, cleaning: str) -> tuple[Any, Any]:
    """Load model and tokenizer: no downloads, no code from the folder, no random weights.

    Raises:
        UserError: transformers isn't installed, can't read the folder, or the weights don't fit.
    """
    try:
        from transformers import AutoConfig, AutoModel
        from transformers.utils import logging
    except ImportError:
        raise UserError(
            f"{folder} is a model of transformers: install it with pip install 'pzsl[hf]'."
        ) from None
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    state = None if _is_usual(weights) else read_weights(weights, rename=False)
    try:
        with torch.random.fork_rng(devices=[]):
            if state is None:
                model, about = AutoModel.from_pretrained(
                    folder, local_files_only=True, use_safetensors=True, output_loading_info=True
                )
            else:
                config = AutoConfig.from_pretrained(folder, local_files_only=True)
                model, about = AutoModel.from_config(config).float(), {"missing_keys": ()}
        tokenizer = HFTokenizer(str(folder), clean=cleaning, local_files_only=True)
    except Exception as error:  # its library can raise anything on a broken file
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{folder} can't be read ({type(error).__name__}: {reason}).") from error
    missing = sorted(about["missing_keys"])
    if missing:
        raise UserError(
            f"Weights '{weights}' lack {len(missing)} tensors, the first '{missing[0]}': fetch "
            "the model again."
        )
    if state is not None:  # numbers of positions, in files of old versions, are no weights
        state = {name: value for name, value in state.items() if not name.endswith("position_ids")}
        load_into(model, state, f"of {folder / MODEL}", weights)
    return model, tokenizer


def _is_usual(weights: Path) -> bool:
    """Whether transformers reads this file by itself; any other has to be given to the model."""
    is_split = not weights.with_name(USUAL).is_file() and SHARD.fullmatch(weights.name)
    return weights.name == USUAL or bool(is_split)
