"""Self-contained models: `local-dir:FOLDER` on this machine, or `hf-hub:OWNER/NAME` of a hub.

The names are open_clip's. The configuration file tells which library made the model:
`open_clip_config.json`, or the `config.json` of transformers.
"""

from __future__ import annotations

import re
from pathlib import Path

from pzsl.encoders.base import Encoder
from pzsl.encoders.openclip_weights import FILES, from_hub
from pzsl.encoders.preprocessing_files import MODEL, OPEN_CLIP
from pzsl.encoders.weights import SUFFIXES
from pzsl.errors import UsageError, UserError
from pzsl.network import is_reachable
from pzsl.progress import say, shell_word

LOCAL, HUB = "local-dir:", "hf-hub:"
SMALL = ["*.json", "*.txt", "*.model"]
"""Files of a repository beside the weights: configurations and vocabularies."""
REPOSITORY = re.compile(r"(\w[\w.-]*/)?\w[\w.-]*", re.ASCII)
OF_TRANSFORMERS = ("model.safetensors",)
"""Weight files of transformers that can hold no code."""


def is_model_folder(model: str) -> bool:
    """Whether a model's name is a folder or a repository."""
    return model.startswith((LOCAL, HUB))


def load_model_folder(
    model: str, pretrained: str | None, device: str, precision: str | None
) -> Encoder:
    """Load a model with weights, tokenizer and preprocessing from one folder.

    Args:
        model: `local-dir:FOLDER` or `hf-hub:OWNER/NAME`; a repository is downloaded once.
        pretrained: the weight file, if the folder holds several.
        device: see `load_encoder`. precision: see there.

    Raises:
        UserError: there is no such folder or repository, or it holds no model that can be read.
    """
    local = model.startswith(LOCAL)
    folder = Path(model.removeprefix(LOCAL)).resolve() if local else _fetched(model)
    if not folder.is_dir():
        raise UserError(f"Model '{model}': there is no folder {folder}.")
    name = f"{LOCAL}{folder}" if local else model
    if (folder / OPEN_CLIP).is_file():
        from pzsl.encoders.openclip import load_openclip_folder

        weights = _weights(folder, FILES, pretrained)
        return load_openclip_folder(name, folder, weights, device, precision)
    if (folder / MODEL).is_file():
        from pzsl.encoders.transformers_models import load_transformers

        weights = _weights(folder, OF_TRANSFORMERS, pretrained)
        return load_transformers(name, folder, weights, device, precision)
    raise UserError(
        f"Model '{model}': {folder} holds neither {OPEN_CLIP} (open_clip) nor {MODEL} "
        "(transformers): give the folder in which the model was saved."
    )


def _weights(folder: Path, usual: tuple[str, ...], pretrained: str | None) -> Path:
    """Find the weight file of a folder.

    Raises:
        UserError: there is none, it lies elsewhere, or there are several and none has the usual
            name.
    """
    if pretrained is not None:
        file = folder / pretrained
        if not file.is_file():
            raise UsageError(
                f"{folder} brings its own weights, but has no '{pretrained}': leave --pretrained "
                "away, or name one of its files."
            )
        if file.parent.resolve() != folder.resolve():  # its preparation may be another
            model = shell_word(f"{LOCAL}{file.parent}")
            raise UsageError(
                f"{file} is not directly in {folder}: give --model {model} if that folder holds "
                "the whole model, or copy the file and give its name alone."
            )
        return file
    weight_files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    usual_files = [folder / name for name in usual if (folder / name).is_file()]
    if usual_files or len(weight_files) == 1:
        return (usual_files or weight_files)[0]
    if not weight_files:
        raise UserError(f"{folder} holds no weights ({', '.join(usual)}): fetch the model again.")
    names = ", ".join(file.name for file in weight_files[:4])
    raise UsageError(f"{folder} holds several weights: name one with --pretrained ({names}).")


def _fetched(model: str) -> Path:
    """The local folder of a hub's repository: from the client's cache, or else downloaded.

    Raises:
        UserError: it isn't cached and can't be downloaded.
    """
    from huggingface_hub import constants

    repository, reason = model.removeprefix(HUB), "HF_HUB_OFFLINE is set"
    if not REPOSITORY.fullmatch(repository):
        raise UsageError(f"Model '{model}' is not a repository of the hub: write {HUB}OWNER/NAME.")
    folder = _snapshot(repository, local_files_only=True)
    if folder is None and not constants.HF_HUB_OFFLINE:
        say(f"Fetching the model from {constants.ENDPOINT}/{repository} ...")
        reason = "the hub can't be reached, or has no such model with such weights"
        if is_reachable(constants.ENDPOINT):
            folder = _snapshot(repository, local_files_only=False)
    if folder is None:
        raise UserError(
            f"Model '{model}' is not on this machine and can't be fetched ({reason}): get the "
            f"files of https://huggingface.co/{repository} elsewhere, and give their folder as "
            f"--model {LOCAL}FOLDER."
        )
    return folder


def _snapshot(repository: str, local_files_only: bool) -> Path | None:
    """Get configuration, vocabulary and the first of the usual weight files, in one folder."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(
            snapshot_download(repository, allow_patterns=SMALL, local_files_only=local_files_only)
        )
        names = FILES if (folder / OPEN_CLIP).is_file() else OF_TRANSFORMERS
        return folder if from_hub(repository, names, local_files_only) else None
    except Exception:  # whatever the hub's client and the network below it raise
        return None
