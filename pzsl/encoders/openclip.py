"""open_clip models as encoders: any architecture, with published weights or a local checkpoint."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import open_clip
import torch
from open_clip.transform import PreprocessCfg, merge_preprocess_dict
from torch import Tensor

from pzsl.device import resolve_device, resolve_precision
from pzsl.encoders.base import Identity
from pzsl.encoders.build_openclip import build, needs_quick_gelu, tokenizer_of
from pzsl.encoders.int8 import to_int8
from pzsl.encoders.openclip_weights import Source, find_weights
from pzsl.encoders.preprocessing import Preparation, normalised
from pzsl.encoders.preprocessing_files import OPEN_CLIP, preprocessing_beside
from pzsl.encoders.text_padding import check_tokens, encode_tokens
from pzsl.encoders.weights import (
    adapt,
    expand_token_rows,
    load_into,
    read_weights,
    weights_hash,
)
from pzsl.errors import UsageError, UserError, nearest
from pzsl.progress import say

HERE = Path(__file__).parent
SHOWN = 8
"""Most words that a message lists."""


class Preset(NamedTuple):
    """A built-in model: architecture, weights and preprocessing."""

    architecture: Path
    weights: Path
    preprocessing: dict[str, Any]


PRESETS = {
    "tiny": Preset(
        HERE / "tiny.json", HERE / "tiny.safetensors", {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    ),
}


class OpenClipEncoder:
    """A frozen open_clip model as an `Encoder`.

    Args:
        model: with its weights, on its device.
        tokenizer: of the model.
        identity: everything that its embeddings depend on.
        device: of the model.
        known_tokens: (vocabulary,) bool, the tokens it was trained on; None means all.
    """

    reads_texts = True

    def __init__(
        self,
        model: torch.nn.Module,
        tokenizer: Any,
        identity: Identity,
        device: torch.device,
        known_tokens: Tensor | None = None,
    ) -> None:
        self.identity = identity
        self.device = device
        self._model: Any = model.eval().requires_grad_(False)
        self._tokenizer = tokenizer
        self._known = known_tokens
        self.preprocess = Preparation(identity.preprocessing)
        mean, std = (identity.preprocessing[name] for name in ("mean", "std"))
        self._mean, self._std = (
            torch.tensor(values, device=device)[:, None, None] for values in (mean, std)
        )
        self._dtype = open_clip.get_input_dtype(identity.precision)

    def upload(self, batch: Tensor) -> Tensor:
        """A batch on the encoder's GPU, where it arrives while the GPU computes; from any thread.

        On other devices, and if a GPU has no room for it, it stays what it is: `encode_images`
        copies it then.
        """
        if self.device.type != "cuda":
            return batch
        try:  # the GPU itself copies from pinned memory, so that nothing waits
            return batch.pin_memory().to(self.device, non_blocking=True)
        except RuntimeError:  # no room on the GPU, or no more pinned memory
            return batch

    @torch.inference_mode()
    def encode_images(self, batch: Tensor) -> Tensor:
        """Unit embeddings (n, D) float32 of prepared images (n, 3, h, w).

        Args:
            batch: uint8; or float32, already normalised by open_clip's own transform.
        """
        images = batch.to(self.device)
        if not images.is_floating_point():
            images = normalised(images, self._mean, self._std)
        return _unit(self._model.encode_image(images.to(dtype=self._dtype), normalize=True))

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit embeddings (n, D) float32 of texts; texts that are too long are cut off.

        Raises:
            UserError: the tokenizer is that of another model.
        """
        tokens = self._tokenizer(list(texts))
        check_tokens(self._model, tokens, self.identity.model)
        return _unit(encode_tokens(self._model, tokens.to(self.device)))

    def check_texts(self, texts: Sequence[str]) -> list[str]:
        """Warn about texts that will be cut off, and about words the encoder was not trained on."""
        length = self._tokenizer.context_length
        # With one more place than the model has, only a text that is too long fills the last one.
        tokens = self._tokenizer(["", *texts], context_length=length + 1)[:, -1]
        cut = [text for text, last in zip(texts, tokens[1:], strict=True) if last != tokens[0]]
        lines = []
        if cut:
            lines.append(
                f"{len(cut)} of {len(texts)} prompts are longer than the {length} tokens that "
                f"{self.identity.model} reads and are cut off, the first: '{cut[0]}'."
            )
        unknown = self._unknown_words(texts)
        if unknown:
            remaining = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
            lines.append(
                f"{self.identity.model} was not trained on {len(unknown)} words and can't tell "
                f"them apart: {', '.join(unknown[:SHOWN])}{remaining}."
            )
        return lines

    def _unknown_words(self, texts: Sequence[str]) -> list[str]:
        if self._known is None:
            return []
        words = {word for text in texts for word in re.findall(r"\w+|[^\w\s]", text.lower())}
        return sorted(w for w in words if not self._known[self._tokenizer.encode(w)].all())


def _unit(vectors: Tensor) -> Tensor:
    """Convert to float32 on the CPU; normalise again after half precision."""
    if vectors.dtype != torch.float32:
        vectors = torch.nn.functional.normalize(vectors.float(), dim=-1)
    return vectors.cpu()


def load_openclip(
    model: str, pretrained: str | None, device: str, precision: str | None
) -> OpenClipEncoder:
    """Load an open_clip model; see `pzsl.encoders.load_encoder` for arguments and errors."""
    model = _known_model(model)
    preset = PRESETS.get(model)
    if preset and pretrained is None:
        source = Source("built-in", preset.weights, {})
    else:
        source = find_weights(model, pretrained)
    return _load(model, model, source, device, precision)


def load_openclip_folder(
    name: str, folder: Path, weights: Path, device: str, precision: str | None
) -> OpenClipEncoder:
    """Load a model from a folder with its `open_clip_config.json`.

    Args:
        name: of the model, as stored in caches.
        folder: of the configuration and, if the model has its own, the tokenizer.
        weights: the weight file.
        device: see `load_encoder`. precision: see there.
    """
    source = Source(weights.name, weights, *preprocessing_beside(weights))
    return _load(f"local-dir:{folder}", name, source, device, precision)


def _load(
    model: str, name: str, source: Source, device: str, precision: str | None
) -> OpenClipEncoder:
    """Build open_clip's `model`, load its weights, and record it as `name`."""
    place = resolve_device(device)
    precision, _ = resolve_precision(precision, place)
    state = read_weights(source.path)
    network = build(model, needs_quick_gelu(model, source, state), precision, place)
    state, known_tokens = expand_token_rows(state, getattr(network, "vocab_size", 0), source.path)
    state = adapt(state, network)
    load_into(network, state, model, source.path)
    identity = Identity(
        model=name,
        pretrained=source.name,
        weights_hash=weights_hash(state),
        preprocessing=as_json(_preprocessing(network, source, model)),
        precision=precision,
        dim=open_clip.get_model_config(model)["embed_dim"],
        logit_scale=float(state["logit_scale"].exp()),
    )
    del state  # a second copy of the weights
    if precision == "int8" and not to_int8(network.visual):
        raise UsageError(
            f"{model} sees with no transformer of open_clip's, and --precision int8 is for these "
            "alone: use fp32."
        )
    return OpenClipEncoder(network, tokenizer_of(model), identity, place, known_tokens)


def as_json(preprocessing: Mapping[str, Any]) -> dict[str, Any]:
    """The complete preprocessing settings as JSON values."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(PreprocessCfg(**preprocessing))))
    return values


def _preprocessing(network: Any, source: Source, model: str) -> dict[str, Any]:
    """The preprocessing of the weights, or else of the model; for a file, say which is used."""
    defaults, preset = network.visual.preprocess_cfg, PRESETS.get(model)
    merged: dict[str, Any] = merge_preprocess_dict(defaults, source.config)
    merged = merge_preprocess_dict(merged, preset.preprocessing if preset else {})
    sizes = [(s, s) if isinstance(s, int) else tuple(s) for s in (defaults["size"], merged["size"])]
    if sizes[0] != sizes[1]:
        raise UserError(
            f"{source.origin} beside '{source.path}' asks for images of {sizes[1]} pixels, but "
            f"{model} takes {sizes[0]}: give the --model that the weights belong to."
        )
    if preset is None and source.path.name == source.name:  # a file, not a tag
        mean, std = (", ".join(f"{v:.3g}" for v in merged[name]) for name in ("mean", "std"))
        default = f"{model}'s default; an {OPEN_CLIP} beside the file can change it"
        say(
            f"Weights '{source.name}': images get mean ({mean}), std ({std}), "
            f"{merged['interpolation']}, {sizes[0][0]} pixels, from {source.origin or default}."
        )
    return merged


def _known_model(name: str) -> str:
    """The model's name as open_clip spells it; registers the built-in models first."""
    models = open_clip.list_models()
    for preset in PRESETS.keys() - set(models):
        open_clip.add_model_config(PRESETS[preset].architecture)
    known = name.replace("/", "-")
    if known not in open_clip.list_models():
        near = nearest(known, open_clip.list_models())
        if Path(name).is_dir():
            near = f" For a model in a folder, write --model local-dir:{name}."
        elif "/" in name:
            near += f" For a repository of the Hugging Face hub, write --model hf-hub:{name}."
        raise UsageError(f"Unknown model '{name}'.{near}")
    return known
