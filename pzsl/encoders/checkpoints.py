"""Extract a model's weights from a training checkpoint: dictionaries, prefixes, other tensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pzsl.encoders.transformers_layout import from_transformers, is_transformers
from pzsl.errors import UserError
from pzsl.progress import say

State = dict[str, Tensor]

HOLDERS = (
    *("state_dict", "model_state_dict", "model", "module", "net", "network", "weights"),
    *("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema"),
)
"""Keys under which trainers store weights; averaged weights come last."""
WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What torch.compile and FSDP insert into names, at any place."""
ANCHOR = "logit_scale"
"""A weight that every CLIP model has at its top level."""


def unwrapped(content: Mapping[str, Any], path: Path, rename: bool = True) -> State:
    """Extract the tensors of a CLIP model from the content of a checkpoint file.

    Args:
        content: tensors, or nested dictionaries of tensors, as DDP, FSDP, torch.compile, Lightning
            and others write them.
        path: of the file, for messages.
        rename: give tensors with transformers' names those of open_clip.

    Raises:
        UserError: there are no tensors, or those of several models.
    """
    for _ in range(4):
        holder = next((name for name in HOLDERS if isinstance(content.get(name), Mapping)), None)
        if holder is None:
            break
        content = content[holder]
        if "ema" in holder:
            say(f"Weights '{path.name}': the averaged ones ('{holder}') are taken.")
    state = {
        _plain(str(name)): value.detach()
        for name, value in content.items()
        if isinstance(value, Tensor)
    }
    if not state:
        raise UserError(f"Weights '{path}' hold no tensors: is it the checkpoint of a CLIP model?")
    state = _without_prefix(state, path)
    if rename and is_transformers(state):
        say(f"Weights '{path.name}' are in the layout of transformers: read as open_clip's.")
        state = from_transformers(state)
    return state


def _plain(name: str) -> str:
    for wrapper in WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def _without_prefix(state: State, path: Path) -> State:
    """Keep only the tensors of the CLIP model, and strip their common prefix."""
    if ANCHOR not in state:
        prefixes = [n.removesuffix(ANCHOR) for n in state if n.endswith(f".{ANCHOR}")]
        if len(prefixes) > 1:
            raise UserError(
                f"Weights '{path}' hold {len(prefixes)} models ({', '.join(prefixes)}): save the "
                "state_dict of one, best as .safetensors, and give that file to --pretrained."
            )
        if prefixes:
            model_state = {n: value for n, value in state.items() if n.startswith(prefixes[0])}
            if len(model_state) < len(state):
                unexpected = sorted(set(state) - set(model_state))
                say(
                    f"Weights '{path.name}': {len(unexpected)} tensors beside the model "
                    f"'{prefixes[0]}' are left out, such as '{unexpected[0]}'."
                )
            return {n.removeprefix(prefixes[0]): value for n, value in model_state.items()}
    outer_names = {name.partition(".")[0] for name in state}
    while len(outer_names) == 1 and all("." in name for name in state):
        state = {name.partition(".")[2]: value for name, value in state.items()}
        outer_names = {name.partition(".")[0] for name in state}
    return state
