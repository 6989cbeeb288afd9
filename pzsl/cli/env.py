"""`pzsl env`: what a bug report needs of this machine."""

from __future__ import annotations

from typing import Any

from pzsl.cli.common import Json, emit, table

PACKAGES = (
    *("torch", "torchvision", "open_clip_torch", "timm", "numpy", "scipy", "h5py", "pandas"),
    *("safetensors", "pillow", "huggingface_hub", "filelock", "jinja2", "matplotlib", "tqdm"),
    *("typer", "pyarrow", "ray", "scikit-learn", "transformers"),
)


def env(
    as_json: Json = False,
) -> None:
    """Show versions, devices and cores of this machine, as a bug report needs them.

    \b
    pzsl env
    """
    emit(_facts(), as_json, _text)


def _facts() -> dict[str, Any]:
    import platform

    import torch

    from pzsl import __version__
    from pzsl.device import cores, resolve_device

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "pzsl": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": cores(),
        "device": str(resolve_device()),
        "gpus": gpus,
        "cuda": torch.version.cuda,
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _text(facts: dict[str, Any]) -> str:
    plain = {key: value for key, value in facts.items() if key != "packages"}
    plain["gpus"] = ", ".join(facts["gpus"]) or "none"
    rows = [(key, value or "none") for key, value in plain.items()]
    rows += [(name, version or "not installed") for name, version in facts["packages"].items()]
    return table(rows, ("what", "is"))
