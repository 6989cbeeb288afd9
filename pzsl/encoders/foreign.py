"""Encoders of others, found as plugins, as stage one wants them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pzsl import plugins
from pzsl.device import resolve_device
from pzsl.encoders.base import Identity

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor

NEEDED = ("identity", "device", "preprocess", "encode_images")


class ForeignEncoder:
    """A plugin's encoder; its identity also holds where the plugin is and what its source is."""

    def __init__(self, encoder: Any, plugin: plugins.Plugin) -> None:
        self._encoder, self._plugin = encoder, plugin

    @property
    def identity(self) -> Identity:
        """The plugin's own, under the name that finds it again."""
        identity: Identity = self._encoder.identity
        preprocessing = {**identity.preprocessing, "plugin": self._plugin.record()}
        return replace(identity, model=self._plugin.name, preprocessing=preprocessing)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        place: torch.device = self._encoder.device
        return place

    @property
    def reads_texts(self) -> bool:
        """Whether the plugin encodes texts."""
        return hasattr(self._encoder, "encode_texts")

    def preprocess(self, image: Image.Image) -> Tensor:
        """One image as the encoder wants it."""
        prepared: Tensor = self._encoder.preprocess(image)
        return prepared

    def encode_images(self, batch: Tensor) -> Tensor:
        """Unit embeddings (n, D) of images."""
        return self._checked(self._encoder.encode_images(batch), len(batch))

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit embeddings (n, D) of texts.

        Raises:
            PluginError: the plugin encodes images alone.
        """
        if not self.reads_texts:
            raise plugins.PluginError(
                f"Plugin '{self._plugin.name}' reads no texts (it has no 'encode_texts'): it takes "
                "no prompts and no new class names."
            )
        return self._checked(self._encoder.encode_texts(texts), len(texts))

    def check_texts(self, texts: Sequence[str]) -> list[str]:
        """What the plugin has to say of these texts; nothing where it doesn't look at them."""
        check = getattr(self._encoder, "check_texts", None)
        return list(check(texts)) if check else []

    def _checked(self, vectors: Tensor, count: int) -> Tensor:
        expected = (count, self._encoder.identity.dim)
        if tuple(vectors.shape) != expected:
            raise plugins.PluginError(
                f"Plugin '{self._plugin.name}' should give embeddings {expected}, but gave "
                f"{tuple(vectors.shape)}."
            )
        import torch

        vectors = vectors.detach().float().cpu()
        if not torch.isfinite(vectors).all():
            raise plugins.PluginError(
                f"Plugin '{self._plugin.name}' gave embeddings that are not finite."
            )
        return torch.nn.functional.normalize(vectors, dim=-1)


def load_foreign(
    plugin: plugins.Plugin, pretrained: str | None, device: str, precision: str | None
) -> ForeignEncoder:
    """Call a plugin for its encoder.

    Args:
        plugin: a class or function of `(pretrained, device, precision)`.
        pretrained: what `--pretrained` says, None where it says nothing.
        device: resolved to `cpu`, `cuda` and so on before it is handed on.
        precision: what `--precision` says.

    Raises:
        PluginError: what it gives is no encoder.
    """
    encoder = plugin.target(
        pretrained=pretrained, device=str(resolve_device(device)), precision=precision
    )
    missing = [name for name in NEEDED if not hasattr(encoder, name)]
    if missing or not isinstance(encoder.identity, Identity):
        lack = f"it has no '{missing[0]}'" if missing else "its identity is no Identity"
        raise plugins.PluginError(
            f"Plugin '{plugin.name}' is no encoder: {lack} (see pzsl.encoders.Encoder)."
        )
    plugins.trust(plugin)
    return ForeignEncoder(encoder, plugin)
