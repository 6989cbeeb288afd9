"""Encode texts without their padding, which a causal text transformer never uses.

CLIP pads each text to 77 tokens, of which a prompt fills a dozen. If the tower is causal and its
output is taken at the end-of-text token, later tokens don't affect the embedding. So a batch is cut
to its longest text: the same embeddings up to rounding, several times as fast.
"""

from __future__ import annotations

from typing import Any

import torch
from open_clip.model import CLIP
from open_clip.transformer import TextTransformer
from torch import Tensor

from pzsl.errors import UserError


def encode_tokens(model: Any, tokens: Tensor) -> Tensor:
    """Unit embeddings (n, D) of tokens (n, L), cut to the longest text if the tower is causal.

    Args:
        model: of open_clip.
        tokens: padded, from its tokenizer.
    """
    text = model if isinstance(model, CLIP) else getattr(model, "text", None)
    if not _causal(text):
        whole: Tensor = model.encode_text(tokens, normalize=True)
        return whole
    length = int(_ends(text, tokens).max()) + 1
    names = {"positional_embedding": (slice(length),), "attn_mask": (slice(length),) * 2}
    shorter = {name: getattr(text, name)[cut] for name, cut in names.items()}
    if text is not model:
        shorter = {f"text.{name}": value for name, value in shorter.items()}
    features = torch.func.functional_call(
        model, shorter, args=(), kwargs={"text": tokens[:, :length]}
    )
    vectors: Tensor = features["text_features"] if isinstance(features, dict) else features[1]
    return vectors


def check_tokens(model: Any, tokens: Tensor, name: str) -> None:
    """Refuse tokens that the model has no embedding for: on a GPU they would stop the process.

    Args:
        model: the text model. tokens: (n, length). name: of the model, for the message.

    Raises:
        UserError: the tokenizer is that of another model.
    """
    last, count = int(tokens.max()), getattr(model, "vocab_size", None)
    if count is not None and last >= count:
        raise UserError(
            f"{name}: its tokenizer gives token {last}, but the text model knows {count}: put the "
            "files of the model's own tokenizer there."
        )


def _causal(text: Any) -> bool:
    """Whether tokens after the end of a text have no effect."""
    pool = getattr(text, "text_pool_type", None) or getattr(text, "pool_type", None)
    return (
        isinstance(text, CLIP | TextTransformer)
        and getattr(text, "attn_mask", None) is not None
        and getattr(text, "cls_emb", None) is None
        and pool in ("argmax", "eos")
    )


def _ends(text: Any, tokens: Tensor) -> Tensor:
    """Position (n,) of each end-of-text token, where the tower's output is taken."""
    if "eos" in (getattr(text, "text_pool_type", None), getattr(text, "pool_type", None)):
        end = int(text.text_eos_id if isinstance(text, CLIP) else text.eos_id)
        return torch.eq(tokens, end).int().argmax(dim=-1)
    return tokens.argmax(dim=-1)
