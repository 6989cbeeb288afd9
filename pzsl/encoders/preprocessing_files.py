"""Read how images are prepared for a weight file from the configuration files beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pzsl.errors import UserError
from pzsl.files import parse_json, read_text
from pzsl.requests import is_number, is_whole

OPEN_CLIP = "open_clip_config.json"
TRANSFORMERS = "preprocessor_config.json"
PROCESSOR = "processor_config.json"
"""Of transformers from version 5, if a processor was saved: images' part is `image_processor`."""
MODEL = "config.json"
INTERPOLATION = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers, as transformers writes them."""
WORDS = {
    "interpolation": ("bicubic", "bilinear", "random"),
    "resize_mode": ("shortest", "longest", "squash"),
}
"""What open_clip knows."""
TAKEN = ("mean", "std", "interpolation", "resize_mode", "size")


def preprocessing_beside(weights: Path) -> tuple[dict[str, Any], str]:
    """Read preprocessing and activation from configuration files beside the weights.

    These are open_clip's `open_clip_config.json`, or transformers' `processor_config.json` or
    `preprocessor_config.json`, and `config.json`.

    Returns:
        The settings and the names of the files; ({}, '') if there are none.

    Raises:
        UserError: such a file isn't JSON.
    """
    folder = weights.parent
    if (folder / OPEN_CLIP).is_file():
        configuration = read_configuration(folder / OPEN_CLIP)
        for name in ("model_cfg", "preprocess_cfg"):
            if not isinstance(configuration.get(name, {}), dict):
                raise _wrong(folder / OPEN_CLIP, name, configuration[name], "a JSON object")
        preprocessing = _part(configuration, "preprocess_cfg").items()
        settings = {k: v for k, v in preprocessing if k in TAKEN and v is not None}
        _check_preparation(settings, folder / OPEN_CLIP)
        quick = _part(configuration, "model_cfg").get("quick_gelu")
        return settings | ({"quick_gelu": quick} if quick is not None else {}), OPEN_CLIP
    names, configuration = _image_processor(folder)
    if names:
        settings = _of_transformers(configuration)
        _check_preparation(settings, folder / names)
        if (folder / MODEL).is_file():
            model = read_configuration(folder / MODEL)
            act = _part(model, "vision_config").get("hidden_act", model.get("hidden_act"))
            if act is not None:
                settings["quick_gelu"] = act == "quick_gelu"
                names += f" and {MODEL}"
        return settings, names
    return {}, ""


def _image_processor(folder: Path) -> tuple[str, dict[str, Any]]:
    """The file of transformers that says how images are prepared, and what it says; or ''."""
    if (folder / PROCESSOR).is_file():
        configuration = _part(read_configuration(folder / PROCESSOR), "image_processor")
        if configuration:
            return PROCESSOR, configuration
    if (folder / TRANSFORMERS).is_file():
        return TRANSFORMERS, read_configuration(folder / TRANSFORMERS)
    return "", {}


def _check_preparation(settings: dict[str, Any], file: Path) -> None:
    """Refuse ways to prepare an image that are none.

    Raises:
        UserError: the first of them.
    """
    for name, value in settings.items():
        if name in WORDS:
            fits, needed = value in WORDS[name], f"one of {', '.join(WORDS[name])}"
        elif name == "size":
            sizes = value if isinstance(value, list) else [value, value]
            fits = len(sizes) == 2 and all(is_whole(size) and size > 0 for size in sizes)
            needed = "a number of pixels, or height and width"
        else:
            three = isinstance(value, list) and len(value) == 3 and all(map(is_number, value))
            fits = three and (name != "std" or min(value) > 0)
            needed = f"three numbers{' above 0' if name == 'std' else ''}, of red, green and blue"
        if not fits:
            raise _wrong(file, name, value, needed)


def _wrong(file: Path, name: str, value: Any, needed: str) -> UserError:
    shown = repr(value)[:60]
    return UserError(f"{file}: '{name}' should be {needed}, not {shown}: correct it there.")


def _of_transformers(configuration: dict[str, Any]) -> dict[str, Any]:
    crop = configuration.get("crop_size") if configuration.get("do_center_crop", True) else None
    size = configuration.get("size") if crop is None else crop
    squashed = crop is None and isinstance(size, dict) and "height" in size
    if isinstance(size, dict):
        size = size.get("height", size.get("shortest_edge"))
    resample = configuration.get("resample", 3)
    settings = {
        "mean": configuration.get("image_mean"),
        "std": configuration.get("image_std"),
        "interpolation": INTERPOLATION.get(resample, resample) if is_whole(resample) else resample,
        "size": size,
        "resize_mode": "squash" if squashed else "shortest",
    }
    return {name: value for name, value in settings.items() if value is not None}


def _part(configuration: dict[str, Any], name: str) -> dict[str, Any]:
    value = configuration.get(name)
    return value if isinstance(value, dict) else {}


def read_configuration(file: Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises:
        UserError: the file holds none.
    """
    try:
        configuration = parse_json(read_text(file))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} can't be read ({error}): correct it, or move it away.") from None
    if not isinstance(configuration, dict):
        raise UserError(f"{file} should hold a JSON object: correct it, or move it away.")
    return configuration
