"""pzsl: learn from ambiguous labels, recognise classes never seen, on cached CLIP features."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what type checkers and editors see; __getattr__ imports the same on first use
    from pzsl.annotation.annotate import annotate
    from pzsl.datasets import load_dataset
    from pzsl.exchange import merge
    from pzsl.extraction import extract
    from pzsl.inference import PartialLabelClassifier
    from pzsl.inference.labelling import apply_corrections, labels, refine, review
    from pzsl.inference.packing import pack
    from pzsl.inference.predict import predict
    from pzsl.reports import report
    from pzsl.store import load_cache
    from pzsl.training import train

__version__ = "0.1.0"

_PUBLIC = {
    "PartialLabelClassifier": "pzsl.inference",
    "annotate": "pzsl.annotation",
    "extract": "pzsl.extraction",
    "load_cache": "pzsl.store",
    "labels": "pzsl.inference",
    "merge": "pzsl.exchange",
    "pack": "pzsl.inference",
    "train": "pzsl.training",
    "predict": "pzsl.inference",
    "refine": "pzsl.inference",
    "apply_corrections": "pzsl.inference",
    "report": "pzsl.reports",
    "review": "pzsl.inference",
    "load_dataset": "pzsl.datasets",
}
__all__ = [
    "PartialLabelClassifier",
    "__version__",
    "annotate",
    "apply_corrections",
    "extract",
    "labels",
    "load_cache",
    "load_dataset",
    "merge",
    "pack",
    "predict",
    "refine",
    "report",
    "review",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a public function on first use, so that `import pzsl` stays light."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'pzsl' has no attribute '{name}'")


def __dir__() -> list[str]:
    """What completion offers: names that are imported on first use are not there before it."""
    return [*__all__]
