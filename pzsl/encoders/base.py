"""The encoder protocol of stage one, and the identity of an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor


@dataclass(frozen=True)
class Identity:
    """Everything that an encoder's embeddings depend on; stored in each cache.

    Attributes:
        model: architecture.
        pretrained: tag or file name of the weights.
        weights_hash: SHA-256 over the weights, independent of the file format.
        preprocessing: size, mean, std, interpolation and so on, and what is done to texts where
            that is not the tokenizer's own doing; can be written as JSON.
        precision: of the arithmetic: `fp32`, `fp16`, `bf16` or `int8`.
        dim: length D of an embedding.
        logit_scale: the learnt factor of CLIP's cosines (100 for OpenAI's models).
        normalised: whether embeddings have unit length.
    """

    model: str
    pretrained: str
    weights_hash: str
    preprocessing: dict[str, Any]
    precision: str
    dim: int
    logit_scale: float
    normalised: bool = True


class Encoder(Protocol):
    """A frozen encoder of images and, usually, texts."""

    @property
    def reads_texts(self) -> bool:
        """Whether it encodes texts; if not, attributes describe the classes."""

    @property
    def identity(self) -> Identity:
        """Everything that its embeddings depend on."""

    @property
    def device(self) -> torch.device:
        """The device it computes on."""

    def preprocess(self, image: Image.Image) -> Tensor:
        """Resize and crop one image to (3, h, w) uint8; called from threads."""

    def encode_images(self, batch: Tensor) -> Tensor:
        """Unit embeddings (n, D) float32 on the CPU of preprocessed images (n, 3, h, w);
        thread-safe.
        """

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit embeddings (n, D) float32 on the CPU of texts."""

    def check_texts(self, texts: Sequence[str]) -> list[str]:
        """Warnings for the user about these texts, such as cut-off prompts; one line each."""
