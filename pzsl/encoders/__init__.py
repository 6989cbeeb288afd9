"""Frozen image-text encoders behind one protocol, and their prompts."""

from __future__ import annotations

from pzsl.encoders.base import Encoder, Identity
from pzsl.encoders.prompts import encode_classes, load_templates


def load_encoder(
    model: str = "tiny",
    pretrained: str | None = None,
    device: str = "auto",
    precision: str | None = None,
) -> Encoder:
    """Load a frozen encoder with its weights.

    Args:
        model: `tiny` (built in, trained on the drawings of `shapes`), a model name of open_clip,
            `hf-hub:OWNER/NAME` or `local-dir:FOLDER` (a model of open_clip or transformers with
            its own weights and tokenizer), or a plugin (see `pzsl.plugins.find`).
        pretrained: a tag that open_clip knows for the model, or a checkpoint file (.safetensors,
            or .pt, .pth, .bin with tensors only); by default the built-in weights of `tiny`, and
            `openai` for models that have it.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: on any device `fp32`; on the CPU also `int8` (image tower only), elsewhere `fp16`
            or `bf16`. By default fp32 on the CPU, fp16 elsewhere.

    Raises:
        UsageError: unknown model, tag, device or precision.
        UserError: the weights are missing, can't be read, or don't fit the model; random weights
            are never used.
    """
    from pzsl import plugins
    from pzsl.encoders.model_folders import is_model_folder, load_model_folder

    if is_model_folder(model):
        return load_model_folder(model, pretrained, device, precision)
    plugin = None if model == "tiny" else plugins.find("encoders", model)
    if plugin:
        from pzsl.encoders.plugin_encoders import load_plugin_encoder

        return load_plugin_encoder(plugin, pretrained, device, precision)
    from pzsl.encoders.openclip import load_openclip

    return load_openclip(model, pretrained, device, precision)


__all__ = ["Encoder", "Identity", "encode_classes", "load_encoder", "load_templates"]
