"""Find the weights of open_clip's models: published tags, or local files."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any, NamedTuple

from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

from pzsl.encoders.preprocessing_files import preprocessing_beside
from pzsl.encoders.weights import SUFFIXES
from pzsl.errors import UsageError, UserError, nearest
from pzsl.network import is_reachable
from pzsl.progress import say

FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""Weight files in a repository on the Hugging Face hub, the preferred one first."""


class Source(NamedTuple):
    """Weights on this machine.

    Attributes:
        name: tag or file name.
        path: the file.
        config: how they were trained, from open_clip's table: `quick_gelu`, `mean`, `std`,
            `interpolation`, `resize_mode`; {} for a file of unknown origin.
        origin: where a file's `config` comes from: files beside it, or the tag in its name.
    """

    name: str
    path: Path
    config: dict[str, Any]
    origin: str = ""


def find_weights(model: str, pretrained: str | None) -> Source:
    """Find the weights of a model; download published ones that are not on this machine.

    Args:
        model: name of an open_clip model.
        pretrained: a tag or a file; None means `openai`, if the model has it.

    Raises:
        UsageError: no such tag.
        UserError: no such file, or the published file can't be downloaded.
    """
    tags = list_pretrained_tags_by_model(model)
    if pretrained is None and "openai" not in tags:
        choices = f"one of {', '.join(tags)}, or " if tags else ""
        raise UsageError(f"Model {model} needs weights: give --pretrained {choices}a FILE.")
    pretrained = pretrained or "openai"
    config = get_pretrained_cfg(model, pretrained)
    if config:
        return Source(pretrained, fetch(model, pretrained, config), config)
    path = Path(pretrained)
    if path.exists() or path.suffix.lower() in SUFFIXES or len(path.parts) > 1:
        return _of_file(model, path)
    if not tags:
        raise UsageError(f"Model {model} has no published weights: give --pretrained FILE.")
    raise UsageError(
        f"Model {model} has no weights '{pretrained}', and there is no such file."
        f"{nearest(pretrained, tags)}"
    )


def _of_file(model: str, path: Path) -> Source:
    """Weights in a file; configuration beside it takes precedence over a tag in its name."""
    beside, files = preprocessing_beside(path)
    published_config = known_origin(model, path)
    origin = " and ".join(filter(None, [files, "the published tag" if published_config else ""]))
    return Source(path.name, path, published_config | beside, origin)


def known_origin(model: str, path: Path) -> dict[str, Any]:
    """The configuration of published weights, if a file is recognised as such; else {}.

    A file is recognised if its name holds a tag of the model (`openai.safetensors`), or if it is in
    the Hugging Face cache.
    """
    name = path.name.lower().replace("-", "_")
    for tag in sorted(list_pretrained_tags_by_model(model), key=len, reverse=True):
        config: dict[str, Any] = get_pretrained_cfg(model, tag)
        repository = "models--" + config["hf_hub"].strip("/").replace("/", "--")
        if re.search(rf"(?<![a-z0-9]){tag}(?![a-z0-9])", name) or repository in path.parts:
            say(f"Weights '{path.name}' are taken for the published '{tag}' of {model}.")
            return config
    return {}


def fetch(model: str, tag: str, config: dict[str, Any]) -> Path:
    """Get the file of published weights from the local cache, or else from the Hugging Face hub.

    With HF_HUB_OFFLINE set, only the cache is used.

    Raises:
        UserError: the file is not cached and can't be downloaded.
    """
    from huggingface_hub import constants

    repository, _, name = config["hf_hub"].rpartition("/")
    names = (name,) if name else FILES
    path = from_hub(repository, names, local_files_only=True)
    reason = "HF_HUB_OFFLINE is set"
    if path is None and not constants.HF_HUB_OFFLINE:
        say(f"Fetching the weights '{tag}' of {model} from {constants.ENDPOINT}/{repository} ...")
        reason = "the hub can't be reached, or has no such file"
        try:
            if is_reachable(constants.ENDPOINT):
                path = from_hub(repository, names, local_files_only=False)
        except Exception as error:  # whatever the hub's client and the network below it raise
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
    if path is None:
        raise UserError(
            f"The weights '{tag}' of {model} are not on this machine and can't be fetched "
            f"({reason}): get {names[0]} from https://huggingface.co/{repository} elsewhere, save "
            f"it as {tag}{Path(names[0]).suffix}, and give that file to --pretrained."
        )
    return path


def from_hub(repository: str, names: tuple[str, ...], local_files_only: bool) -> Path | None:
    """The first of these files that exists in the cache or on the hub; None if none does."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    client = logging.getLogger("huggingface_hub")
    level = client.level
    client.setLevel(logging.ERROR)  # otherwise each retry prints two lines
    try:
        for name in names:
            try:
                return Path(hf_hub_download(repository, name, local_files_only=local_files_only))
            except LocalEntryNotFoundError:  # not cached, and the hub was not asked or not reached
                if not local_files_only:
                    return None
            except EntryNotFoundError:
                continue
    finally:
        client.setLevel(level)
    return None
