"""Linear layers in 8-bit integers for CPUs: about twice the speed, nearly the same embeddings.

Weights are quantised once, with one scale per output channel; activations are quantised on the fly,
with one scale per token (Dettmers et al. 2022, without their outlier columns). So an image's
embedding doesn't depend on the other images of its batch.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn

from pzsl.errors import UserError

LEVELS = 127
TINY = 1e-12


class Int8Linear(nn.Module):
    """A linear layer with an int8 matrix product.

    Args:
        weight: (out, in) float32.
        bias: (out,) float32, or None.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        levels, scale = _rounded(weight)
        self.register_buffer("weight", levels.t().contiguous())
        self.register_buffer("scale", scale.t())
        self.register_buffer("bias", torch.zeros(len(weight)) if bias is None else bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) float32 -> (..., out) float32."""
        levels, scale = _rounded(x.reshape(-1, x.shape[-1]))
        out = torch._int_mm(levels, self.weight).float().mul_(scale)
        return torch.addcmul(self.bias, out, self.scale).view(*x.shape[:-1], -1)


def _rounded(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Quantise rows (n, d) to int8; return them and the scale (n, 1) to convert back."""
    high, low = rows.amax(dim=1, keepdim=True), rows.amin(dim=1, keepdim=True)
    scale = torch.maximum(high, low.neg_()).clamp_min_(TINY).div_(LEVELS)
    return (rows / scale).round_().to(torch.int8), scale


class Int8Attention(nn.Module):
    """Self-attention with its four projections in int8; called like `nn.MultiheadAttention`.

    Args:
        whole: the float32 attention, batch first, with equal widths.
    """

    def __init__(self, whole: nn.MultiheadAttention) -> None:
        super().__init__()
        self.heads = whole.num_heads
        self.inward = Int8Linear(whole.in_proj_weight, whole.in_proj_bias)
        self.outward = Int8Linear(whole.out_proj.weight, whole.out_proj.bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        """(n, tokens, width) -> same shape; key and value are the query; returns no weights."""
        parts = self.inward(query).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], attn_mask)
        return self.outward(mixed.transpose(1, 2).flatten(2)), None


def products_are_exact() -> bool:
    """Whether `_int_mm` is exact for the largest and for mixed numbers (ours).

    Some versions of torch lack it for CPUs, and some overflow on processors without VNNI.
    """
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randint(-LEVELS, LEVELS + 1, (32, 64), generator=generator)
    left = torch.cat([mixed, torch.full_like(mixed, LEVELS)]).to(torch.int8)
    right = left.t().contiguous()
    try:
        product = torch._int_mm(left, right)
    except (AttributeError, RuntimeError):  # the latter also where it is not implemented
        return False
    return torch.equal(product.double(), left.double() @ right.double())


def to_int8(tower: nn.Module) -> int:
    """Convert the linear layers of open_clip's transformer blocks in a module to int8, in place.

    Returns:
        Number of blocks; normalisation, convolutions and other blocks are not changed.

    Raises:
        UserError: integer products are not exact here.
    """
    if not products_are_exact():
        raise UserError(
            f"--precision int8: torch {torch.__version__} gets products of 8-bit integers wrong on "
            "this processor: install a newer torch, or use --precision fp32."
        )
    blocks: list[Any] = [b for b in tower.modules() if type(b) is ResidualAttentionBlock]
    for block in blocks:
        block.attn = Int8Attention(block.attn)
        for name, layer in list(block.mlp.named_children()):
            if isinstance(layer, nn.Linear):
                setattr(block.mlp, name, Int8Linear(layer.weight, layer.bias))
    return len(blocks)
