"""Import features of other tools (npz, plain vectors, clip-retrieval, xlsa17), export caches."""

from __future__ import annotations

from pzsl.exchange.export import export_cache
from pzsl.exchange.features_and_table import Labelling
from pzsl.exchange.import_export import export_any, import_any, merge
from pzsl.exchange.npz import import_npz
from pzsl.exchange.sharing import pull, push
from pzsl.exchange.vectors import LOGIT_SCALE, check_vectors, read_vectors, write_vectors

__all__ = [
    "LOGIT_SCALE",
    "Labelling",
    "check_vectors",
    "export_any",
    "export_cache",
    "import_any",
    "import_npz",
    "merge",
    "pull",
    "push",
    "read_vectors",
    "write_vectors",
]
