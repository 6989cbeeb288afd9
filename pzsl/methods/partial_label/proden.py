"""`proden`: progressive identification of true labels (Lv et al., ICML 2020)."""

from __future__ import annotations

from typing import ClassVar

from pzsl.methods.core import AdaptedOptions
from pzsl.methods.partial_label.partial_method import PartialMethod


class Proden(PartialMethod):
    """Weighted cross-entropy; weights start uniform and follow the softmax over the candidates.

    The new weights of an image come from the same forward as its loss, and count in the next epoch.
    """

    row_wise: ClassVar[bool] = True
    options: AdaptedOptions
