"""What stage one asks of an encoder, and what identifies one."""

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
    """All that decides an encoder's vectors; stored in each cache.

    Attributes:
        model: architecture.
        pretrained: tag or file name of the weights.
        weights_hash: SHA-256 over the weights, the same for any file format that holds them.
        preprocessing: size, mean, std, interpolation and so on; can be written as JSON.
        precision: of the arithmetic: `fp32`, `fp16`, `bf16` or `int8`.
        dim: length D of an embedding.
        logit_scale: the factor that CLIP learnt for its cosines (100 for OpenAI's).
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
    """A frozen encoder of images and, as a rule, of texts."""

    @property
    def reads_texts(self) -> bool:
        """Whether it encodes texts; attributes stand for the classes where it doesn't."""

    @property
    def identity(self) -> Identity:
        """What decides its vectors."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    def preprocess(self, image: Image.Image) -> Tensor:
        """One image in the size that the encoder wants, (3, h, w) uint8; may run in threads."""

    def encode_images(self, batch: Tensor) -> Tensor:
        """Unit embeddings (n, D) float32, on the CPU, of such images (n, 3, h, w); thread-safe."""

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit embeddings (n, D) float32, on the CPU, of texts."""

    def check_texts(self, texts: Sequence[str]) -> list[str]:
        """What the user should know before these texts are encoded, one line each."""
