"""`conse`: convex combination of semantic embeddings (Norouzi et al., ICLR 2014)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pzsl.errors import UsageError
from pzsl.methods.core import AdaptedOptions, Method, Problem, counting
from pzsl.methods.registry import load_method, make_options


@dataclass(frozen=True)
class ConseOptions(AdaptedOptions):
    """Options of ConSE; those shared with its classifier are passed on.

    Attributes:
        classifier: the method whose probabilities of the seen classes are used.
        top: T, how many seen classes are combined.
        centre: take the mean label embedding off all of them first: text embeddings of CLIP have a
            large part in common.
    """

    classifier: str = "proden"
    top: int = counting(10, 1)
    centre: bool = False

    def __post_init__(self) -> None:
        """Check the classifier.

        Raises:
            UsageError: `conse` itself, or an unknown method.
        """
        super().__post_init__()
        if self.classifier == "conse":
            raise UsageError(
                "conse needs another method as its classifier, such as proden or clip."
            )
        load_method(self.classifier)


class Conse(Method):
    """Scores classes by their cosine with the mean embedding of the likeliest seen classes.

    `z = sum p_t t_t / sum p_t` over the T most probable seen classes t. With T = 1, z is the label
    embedding of the likeliest seen class, so the answer over all classes is always that class,
    unless calibrated stacking steps in; with larger T it still leans to the seen ones.
    """

    options: ConseOptions

    def __init__(self, problem: Problem, options: ConseOptions, generator: torch.Generator) -> None:
        super().__init__(problem, options, generator)
        kind, options_class = load_method(options.classifier)
        names = {field.name for field in fields(options_class)} & {
            f.name for f in fields(AdaptedOptions)
        }
        shared: dict[str, Any] = {name: getattr(options, name) for name in names}
        chosen = make_options(options.classifier, changes=shared)
        self.classifier: Method = kind(problem, chosen, generator)
        self.support = self.classifier.support

    def prepare(self) -> None:
        """As the classifier does."""
        self.classifier.prepare()
        self.support = self.classifier.support

    @property
    def weights(self) -> Tensor:  # type: ignore[override]
        """The classifier's label weights."""
        return self.classifier.weights

    def begin_epoch(self, epoch: int, generator: torch.Generator) -> None:
        """As the classifier does."""
        self.classifier.begin_epoch(epoch, generator)

    def loss(self, rows: Tensor) -> Tensor:
        """The classifier's."""
        return self.classifier.loss(rows)

    def after_step(self, rows: Tensor) -> None:
        """As the classifier does."""
        self.classifier.after_step(rows)

    def finalize(self) -> None:
        """As the classifier does."""
        self.classifier.finalize()

    def add_classes(self, count: int) -> None:
        """As the classifier does."""
        self.classifier.add_classes(count)

    def scores(self, images: Tensor) -> Tensor:
        """`s cos(z, t_c)` of images (n, D) for all classes, seen first: (n, K + U)."""
        seen = len(self.problem.seen)
        labels = torch.cat([self.problem.seen, self.problem.unseen])
        if self.options.centre:
            labels = F.normalize(labels - labels.mean(0), dim=-1)
        p = torch.softmax(self.classifier.scores(images)[:, :seen], dim=-1)
        top = p.topk(min(self.options.top, seen), dim=1)
        combined = torch.zeros_like(p).scatter_(1, top.indices, top.values) @ labels[:seen]
        return self.problem.scale * F.normalize(combined, dim=-1) @ labels.T

    def describe(self) -> dict[str, Any]:
        """The classifier, and its own description."""
        return {"classifier": self.options.classifier, **self.classifier.describe()}
