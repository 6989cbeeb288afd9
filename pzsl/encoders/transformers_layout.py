"""Rename CLIP weights of transformers (`CLIPModel`) to OpenAI's and open_clip's names."""

from __future__ import annotations

import re

import torch
from torch import Tensor

State = dict[str, Tensor]

SIGNS = ("text_model.embeddings.", "vision_model.embeddings.")
TOPS = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm": "ln_final",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding": "visual.conv1",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm": "visual.ln_pre",  # spelt so
    "vision_model.post_layernorm": "visual.ln_post",
}
IN_A_LAYER = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
TURNED = {"text_projection.weight": "text_projection", "visual_projection.weight": "visual.proj"}
"""Projections, which open_clip stores transposed and as plain matrices."""
LAYER = re.compile(r"(text|vision)_model\.encoder\.layers\.(\d+)\.(.+)")
INPUT = re.compile(r"self_attn\.[qkv]_proj\.(weight|bias)")


def is_transformers(state: State) -> bool:
    """Whether weights have transformers' names."""
    return all(any(name.startswith(sign) for name in state) for sign in SIGNS)


def from_transformers(state: State) -> State:
    """Rename weights to OpenAI's names; those without a counterpart keep their own."""
    renamed: State = {}
    for name, value in state.items():
        if name.endswith("position_ids"):
            continue
        layer = LAYER.fullmatch(name)
        if name in TURNED:
            renamed[TURNED[name]] = value.T.contiguous()
        elif layer is None:
            renamed[_replaced(name, TOPS)] = value
        else:
            tower, number, weight = layer.groups()
            block = f"{'visual.' if tower == 'vision' else ''}transformer.resblocks.{number}"
            joint = INPUT.fullmatch(weight)
            if joint is None:
                renamed[f"{block}.{_replaced(weight, IN_A_LAYER)}"] = value
            else:
                renamed[f"{block}.attn.in_proj_{joint[1]}"] = _joined(state, name)
    return renamed


def _joined(state: State, name: str) -> Tensor:
    """Concatenate the query, key and value projections; `name` is that of any of the three."""
    parts = [re.sub(r"[qkv]_proj", f"{letter}_proj", name) for letter in "qkv"]
    return torch.cat([state[part] for part in parts if part in state])


def _replaced(name: str, names: dict[str, str]) -> str:
    for theirs, ours in names.items():
        if name == theirs or name.startswith(f"{theirs}."):
            return ours + name.removeprefix(theirs)
    return name
