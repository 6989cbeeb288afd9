"""`conse`: convex combination of semantic embeddings (Norouzi et al., ICLR 2014)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pzsl.errors import UsageError
from pzsl.methods.core import AdaptedOptions, Blocks, Method, Problem, counting
from pzsl.methods.registry import load_method, make_options


@dataclass(frozen=True)
class ConseOptions(AdaptedOptions):
    """Options of ConSE; those shared with its classifier are passed on.

    Attributes:
        classifier: the method whose probabilities of the seen classes are used.
        top: T, how many seen classes are combined.
        centre: subtract the mean label embedding from all of them first: CLIP's text embeddings
            share a large component.
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
    embedding of the likeliest seen class, so without calibrated stacking the prediction over all
    classes is always that class; with larger T, seen classes are still preferred.
    """

    options: ConseOptions

    def __init__(self, problem: Problem, options: ConseOptions, generator: torch.Generator) -> None:
        super().__init__(problem, options, generator)
        classifier_class, options_class = load_method(options.classifier)
        own_names, other_names = (
            {field.name for field in fields(group)} for group in (AdaptedOptions, options_class)
        )
        shared: dict[str, Any] = {name: getattr(options, name) for name in own_names & other_names}
        classifier_options = make_options(options.classifier, changes=shared)
        self.classifier: Method = classifier_class(problem, classifier_options, generator)
        self.candidates = self.classifier.candidates
        self.kept_state = tuple(f"classifier.{name}" for name in self.classifier.kept_state)  # type: ignore[misc]
        self.training_state = self.classifier.training_state  # type: ignore[misc]
        self._known = len(problem.seen) + len(problem.unseen)

    def prepare(self) -> None:
        """Prepare the classifier, and take over its candidates."""
        self.classifier.prepare()
        self.candidates = self.classifier.candidates

    @property
    def weights(self) -> Tensor:  # type: ignore[override]
        """The classifier's label weights."""
        return self.classifier.weights

    @property
    def transductive(self) -> bool:
        """Whether the classifier is."""
        return self.classifier.transductive

    def observe_queries(self, blocks: Blocks) -> None:
        """Show the images that are to be scored to the classifier."""
        self.classifier.observe_queries(blocks)

    def begin_epoch(self, epoch: int, generator: torch.Generator) -> None:
        """Begin the classifier's epoch."""
        self.classifier.begin_epoch(epoch, generator)

    def loss(self, rows: Tensor) -> Tensor:
        """Loss of the classifier on training rows (B,), a scalar."""
        return self.classifier.loss(rows)

    def after_step(self, rows: Tensor) -> None:
        """Update the classifier after a step."""
        self.classifier.after_step(rows)

    def finalize(self) -> None:
        """Finalise the classifier."""
        self.classifier.finalize()

    def add_classes(self, count: int) -> None:
        """Add the classes to the classifier; the mean label embedding stays that of the others."""
        self._known -= count
        self.classifier.add_classes(count)

    def scores(self, images: Tensor) -> Tensor:
        """`s cos(z, t_c)` of images (n, D) for all classes, seen first: (n, K + U)."""
        seen = len(self.problem.seen)
        labels = torch.cat([self.problem.seen, self.problem.unseen])
        if self.options.centre:
            labels = F.normalize(labels - labels[: self._known].mean(0), dim=-1)
        probabilities = self.classifier.scores(images)[:, :seen].softmax(dim=-1)
        top = probabilities.topk(min(self.options.top, seen), dim=1)
        top_weights = torch.zeros_like(probabilities).scatter_(1, top.indices, top.values)
        combined = top_weights @ labels[:seen]
        return self.problem.scale * F.normalize(combined, dim=-1) @ labels.T

    def describe(self) -> dict[str, Any]:
        """The classifier, and its own description."""
        return {"classifier": self.options.classifier, **self.classifier.describe()}
