"""Read a checkpoint file without executing any code in it, and adapt its weights to a model."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from torch import Tensor, nn

from pzsl.encoders.checkpoints import unwrapped
from pzsl.errors import UserError
from pzsl.files import check_unpacked, check_zip

State = dict[str, Tensor]

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
OPENAI_KEYS = ("input_resolution", "context_length", "vocab_size")
"""Entries that only OpenAI's own files have."""
TOKEN_TABLE = "token_embedding.weight"
TOKEN_ROWS = "token_rows"
"""Row numbers of a token table that is stored without its unused rows."""


def read_weights(path: Path, rename: bool = True) -> State:
    """Read the tensors of a checkpoint file; floats become float32.

    Args:
        path: .safetensors, or a .pt, .pth, .bin or .ckpt file that holds tensors only, bare or
            in a training checkpoint (see `unwrapped`), with open_clip's or transformers' names.
        rename: give tensors with transformers' names those of open_clip.

    Raises:
        UserError: the file is missing, broken, or could run code when loaded.
    """
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        reason = "is a folder" if path.is_dir() else "is not there"
        reason = f"should end in {', '.join(SUFFIXES)}" if path.is_file() else reason
        raise UserError(f"Weights '{path}': the file {reason}. Give a checkpoint to --pretrained.")
    state = unwrapped(_open(path), path, rename)
    try:  # a tensor may also repeat what little is stored of it
        check_unpacked(4 * sum(value.numel() for value in state.values()), path)
    except ValueError as error:
        raise _broken(path, str(error)) from None
    return {n: value.float() if value.is_floating_point() else value for n, value in state.items()}


def _open(path: Path) -> dict[str, Any]:
    """Read the file without running code: safetensors, or torch with weights only."""
    try:
        if path.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        check_zip(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken file can raise anything here
        if any(sign in str(error) for sign in ("Weights only load failed", "TorchScript")):
            raise UserError(
                f"Weights '{path}' hold code beside tensors and are not loaded: save the "
                "state_dict alone, best as .safetensors, and give that file to --pretrained."
            ) from None
        bomb = isinstance(error, ValueError) and "bomb" in str(error)
        raise _broken(path, str(error) if bomb else "it is broken or cut short") from error
    return state if isinstance(state, dict) else {}


def _broken(path: Path, why: str) -> UserError:
    size = path.stat().st_size
    return UserError(f"Weights '{path}' ({size} bytes) can't be read: {why}; fetch the file again.")


def adapt(state: State, model: nn.Module) -> State:
    """Convert weights to the names and shapes of an open_clip model.

    Args:
        state: from `read_weights`: of open_clip, OpenAI, or Apple's MobileCLIP.
        model: the open_clip model.
    """
    state = {name: value for name, value in state.items() if name not in OPENAI_KEYS}
    state = convert_state_dict(model, state)
    if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    model_state = model.state_dict()
    for name in ("logit_scale", "logit_bias"):
        if name in state and name in model_state and state[name].numel() == 1:
            state[name] = state[name].reshape(model_state[name].shape)
    ids = "text.transformer.embeddings.position_ids"
    return {name: value for name, value in state.items() if name != ids or ids in model_state}


def expand_token_rows(state: State, vocabulary: int, path: Path) -> tuple[State, Tensor | None]:
    """Expand a shortened token table to its full size; missing rows become zero.

    Args:
        state: with `token_rows` (k,), the numbers of the stored rows; without it nothing changes.
        vocabulary: rows of the full table.
        path: of the file, for messages.

    Returns:
        The state with the full table, and which rows were stored, (vocabulary,) bool; None if all.
    """
    if TOKEN_ROWS not in state:
        return state, None
    state = dict(state)
    rows, token_table = state.pop(TOKEN_ROWS), state.get(TOKEN_TABLE, torch.empty(0, 0))
    whole = (
        rows.ndim == 1 and token_table.ndim == 2 and len(rows) == len(token_table) and len(rows) > 0
    )
    if not whole or rows.is_floating_point() or not 0 <= rows.min() <= rows.max() < vocabulary:
        raise UserError(
            f"Weights '{path}': '{TOKEN_ROWS}' {tuple(rows.shape)} should number the rows of "
            f"'{TOKEN_TABLE}' {tuple(token_table.shape)} within a vocabulary of {vocabulary}."
        )
    table = token_table.new_zeros(vocabulary, token_table.shape[1])
    table[rows] = token_table
    known_tokens = torch.zeros(vocabulary, dtype=torch.bool)
    known_tokens[rows] = True
    return {**state, TOKEN_TABLE: table}, known_tokens


def load_into(model: nn.Module, state: State, name: str, path: Path) -> None:
    """Load weights into a model; they have to fit exactly.

    Args:
        model: to load the weights into.
        state: the weights, from `adapt`.
        name: of the model, for the message.
        path: of the file, for the message.

    Raises:
        UserError: a weight is missing, unknown, or of another shape.
    """
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    actual = {key: tuple(value.shape) for key, value in state.items()}
    wrong = [key for key in sorted(expected | actual) if expected.get(key) != actual.get(key)]
    if wrong:
        first_wrong, missing = wrong[0], sorted(set(expected) - set(actual))
        remedy = "give the --model that they belong to"
        if len(missing) > len(expected) / 2:
            remedy += f"; {len(missing)} are missing, so the file may hold a part of a model only: "
            remedy += "save its whole state_dict"
        raise UserError(
            f"Weights '{path}' do not fit the model {name}: '{first_wrong}' is "
            f"{actual.get(first_wrong, 'missing')} in the file and "
            f"{expected.get(first_wrong, 'unknown')} in "
            f"the model ({len(wrong)} of {len(expected)} differ): {remedy}."
        )
    model.load_state_dict(state)


def weights_hash(state: State) -> str:
    """SHA-256 over names, shapes and float32 bytes of the weights, sorted by name."""
    total = hashlib.sha256()
    for name in sorted(state):
        total.update(f"{name}\t{tuple(state[name].shape)}\n".encode())
        total.update(state[name].reshape(-1).numpy().data)
    return total.hexdigest()
