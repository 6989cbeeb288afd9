"""Adapt a plugin's encoder to the protocol of stage one."""

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
    """A plugin's encoder; its identity also records the plugin's place and source digest."""

    def __init__(self, encoder: Any, plugin: plugins.Plugin) -> None:
        self._encoder, self._plugin = encoder, plugin

    @property
    def identity(self) -> Identity:
        """The plugin's identity, with the name by which the plugin is found again."""
        identity: Identity = self._encoder.identity
        preprocessing = {**identity.preprocessing, "plugin": self._plugin.record()}
        return replace(identity, model=self._plugin.name, preprocessing=preprocessing)

    @property
    def device(self) -> torch.device:
        """The device it computes on."""
        place: torch.device = self._encoder.device
        return place

    @property
    def reads_texts(self) -> bool:
        """Whether the plugin encodes texts."""
        return hasattr(self._encoder, "encode_texts")

    def preprocess(self, image: Image.Image) -> Tensor:
        """Prepare one image for the encoder: a tensor (3, h, w)."""
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
        """The plugin's warnings about these texts, if it checks them."""
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


def load_plugin_encoder(
    plugin: plugins.Plugin, pretrained: str | None, device: str, precision: str | None
) -> ForeignEncoder:
    """Create a plugin's encoder.

    Args:
        plugin: a class or function of `(pretrained, device, precision)`.
        pretrained: value of `--pretrained`; None if not given.
        device: value of `--device`; the plugin gets the resolved `cpu`, `cuda` and so on.
        precision: value of `--precision`; None if not given.

    Raises:
        PluginError: the plugin returns no encoder.
    """
    encoder = plugin.target(
        pretrained=pretrained, device=str(resolve_device(device)), precision=precision
    )
    missing = [name for name in NEEDED if not hasattr(encoder, name)]
    if missing or not isinstance(encoder.identity, Identity):
        lack = f"it has no '{missing[0]}'" if missing else "its identity is no Identity"
        raise plugins.PluginError(
            f"Plugin '{plugin.name}' is not an encoder: {lack} (see pzsl.encoders.Encoder)."
        )
    plugins.trust(plugin)
    return ForeignEncoder(encoder, plugin)
