"""Build a model of open_clip with random weights, with the activation that its weights need."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor

from pzsl.encoders.openclip_weights import Source
from pzsl.encoders.preprocessing_files import OPEN_CLIP
from pzsl.encoders.weights import OPENAI_KEYS
from pzsl.errors import UserError
from pzsl.progress import say


def needs_quick_gelu(model: str, source: Source, state: dict[str, Tensor]) -> bool:
    """Whether the weights need QuickGELU (OpenAI's approximation) although the model has GELU.

    Weights don't show it, and with the wrong activation embeddings are wrong without any error.
    """
    if open_clip.get_model_config(model).get("quick_gelu"):
        return True
    if "quick_gelu" in source.config and not source.config["quick_gelu"] and source.origin:
        return False
    if source.config.get("quick_gelu") or any(key in state for key in OPENAI_KEYS):
        say(f"Weights '{source.name}' were trained with QuickGELU: {model} is built with it.")
        return True
    twin = f"{model}-quickgelu"
    unknown = not source.config or (source.origin and "tag" not in source.origin)
    if unknown and twin in open_clip.list_models():
        say(
            f"Weights '{source.name}' are taken to be trained with GELU, as {model} is; "
            f"if they were trained with QuickGELU (OpenAI's are), give --model {twin}."
        )
    return False


def build(model: str, quick_gelu: bool, precision: str, device: torch.device) -> Any:
    """Build open_clip's `model` with random weights, which `load_into` then replaces.

    Raises:
        UserError: a package is missing, a hub can't be reached, or a folder's configuration asks
            for images of a size that its tower can't see.
    """
    try:
        with _no_alarm(), torch.random.fork_rng(devices=[]):  # drawn on the CPU
            network = open_clip.create_model(
                model,
                precision="fp32" if precision == "int8" else precision,
                device=device,
                force_quick_gelu=quick_gelu,
                pretrained_text=False,
                load_weights=False,
            )
    except Exception as error:  # towers of other libraries: missing package, unreachable hub
        raise _unusable(model, error) from error
    _check_image_size(network, model)
    return network


def _check_image_size(network: Any, model: str) -> None:
    """Try an empty image where the size of a model's images isn't the usual one of its timm tower.

    Raises:
        UserError: the tower refuses images of this size.
    """
    usual_config = getattr(getattr(network.visual, "trunk", None), "default_cfg", None)
    if not usual_config:
        return  # open_clip makes its own towers of any size
    size, usual = tuple(network.visual.image_size), tuple(usual_config["input_size"][1:])
    if size == usual:
        return
    weight = next(network.visual.parameters())
    try:
        with torch.inference_mode():
            network.visual.eval()(weight.new_zeros(1, 3, *size))
    except Exception as error:  # towers refuse in many ways
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:160]
        raise UserError(
            f"{Path(model.removeprefix('local-dir:')) / OPEN_CLIP}: 'image_size' is {size[0]}, but "
            f"the images of its tower have {usual[0]} pixels ({reason.rstrip('.')}): correct it."
        ) from error


def tokenizer_of(model: str) -> Any:
    """The tokenizer of open_clip's `model`.

    Raises:
        UserError: a package is missing, or a hub can't be reached.
    """
    try:
        with _no_alarm():
            return open_clip.get_tokenizer(model)
    except Exception as error:  # those of the Hugging Face hub: missing package, unreachable hub
        raise _unusable(model, error) from error


def _unusable(model: str, error: Exception) -> UserError:
    reason = next(iter(str(error).splitlines()), "")[:160]
    return UserError(f"Model {model} can't be built here ({type(error).__name__}: {reason}).")


@contextmanager
def _no_alarm() -> Iterator[None]:
    """Suppress open_clip's warning about random weights; the real ones are loaded right after.

    It logs by functions that give the root logger a handler, which would make a later
    `logging.basicConfig` of the caller do nothing.
    """

    def drop(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("No pretrained weights loaded")

    root = logging.getLogger()
    handlers = [*root.handlers]
    root.addFilter(drop)
    try:
        yield
    finally:
        root.removeFilter(drop)
        for handler in {*root.handlers} - {*handlers}:
            root.removeHandler(handler)
