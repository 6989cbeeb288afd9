"""What label embeddings are made of, where they depend on the training images."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from pzsl.methods.core.candidate_entries import CandidateEntries
from pzsl.methods.core.features import TrainingFeatures


class LabelSource(Protocol):
    """Makes the label embeddings of a part of the problem from the images of that part alone.

    A fold needs it: embeddings of held-out classes that were learnt from these classes' images are
    better than those of true unseen classes.
    """

    def embeddings(
        self, images: TrainingFeatures, candidates: CandidateEntries, seen: int
    ) -> Tensor:
        """Unit label embeddings (C, D) of all classes.

        Args:
            images: (N, D). candidates: theirs. seen: the first classes, so many, are seen.
        """
        ...

    def reordered(self, order: Tensor) -> LabelSource:
        """The same with the classes in another order (C,)."""
        ...
