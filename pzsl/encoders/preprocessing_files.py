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
        UserError: such a file isn't JSON, or asks for what can't be done.
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
        settings = _of_transformers(configuration, folder / names)
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


def _of_transformers(configuration: dict[str, Any], file: Path) -> dict[str, Any]:
    """The settings in open_clip's words.

    Raises:
        UserError: images are prepared in a way that open_clip has no words for.
    """
    _refuse_other_steps(configuration, file)
    size, resize_mode = _resizing(configuration, file)
    resample = configuration.get("resample", 3)
    plain = configuration.get("do_normalize") is False
    settings = {
        "mean": [0.0] * 3 if plain else configuration.get("image_mean"),
        "std": [1.0] * 3 if plain else configuration.get("image_std"),
        "interpolation": INTERPOLATION.get(resample, resample) if is_whole(resample) else resample,
        "size": size,
        "resize_mode": resize_mode,
    }
    return {name: value for name, value in settings.items() if value is not None}


def _refuse_other_steps(configuration: dict[str, Any], file: Path) -> None:
    """Refuse steps that are left out, added, or done by other numbers."""
    for name, usual in (("do_resize", True), ("do_rescale", True), ("do_pad", False)):
        if configuration.get(name) is (not usual):
            raise _unlike(file, f"'{name}' is {str(not usual).lower()}")
    factor = configuration.get("rescale_factor", 1 / 255)
    if is_number(factor) and abs(255 * factor - 1) > 1e-3:
        raise _unlike(file, f"'rescale_factor' is {factor}, not 1/255")


def _resizing(configuration: dict[str, Any], file: Path) -> tuple[Any, str]:
    """Size and resize mode; a crop has to be of the size that images are resized to.

    The size is None if the file doesn't tell it.
    """
    resized, crop = configuration.get("size"), configuration.get("crop_size")
    cropped = bool(configuration.get("do_center_crop", True))
    size, squashed = _sides(resized), isinstance(resized, dict) and "height" in resized
    if not cropped:
        if size is not None and not squashed:
            raise _unlike(file, f"images of any shape are left uncropped, 'size' is {resized}")
        return size, "squash" if squashed else "shortest"
    target = size if crop is None else _sides(crop)
    if size not in (None, target) or (isinstance(target, list) and not squashed):
        raise _unlike(file, f"'size' is {resized}, then 'crop_size' {crop}")
    return target, "squash" if squashed else "shortest"


def _sides(size: Any) -> Any:
    """A size of transformers: a number, or [height, width] if they differ."""
    if not isinstance(size, dict):
        return size
    height, width = size.get("height"), size.get("width", size.get("height"))
    if height is None:
        return size.get("shortest_edge", size)
    return height if height == width else [height, width]


def _unlike(file: Path, what: str) -> UserError:
    return UserError(
        f"{file}: {what}, and images can't be prepared so here: an encoder of your own prepares "
        "them in any way (docs/extend.md)."
    )


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
