"""The options of CLIP-PZSL: its parts, each of which can be switched off, and its constants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pzsl.methods.clip_pzsl.mining import MiningOptions
from pzsl.methods.core import AdaptedOptions, Problem, counting, within

AT_ONCE = 1e9
"""Growth of the weight of prototypes to its limit with the second image."""
LEFT_OUT = ("left_out", "left_out_share", "label_updates")
"""The part, and what only it reads."""
OF_PROTOTYPES = ("prototype_share", "closed_share", "closed_growth", "unseen_strength")
"""What only `prototypes` reads."""


@dataclass(frozen=True)
class ClipPzslOptions(MiningOptions, AdaptedOptions):
    """Parts and constants of CLIP-PZSL.

    Attributes:
        noise_model: estimate how often the true label is outside the candidates, and allow for it.
        weigh_names: choose by the likelihood of the candidate sets how much frozen CLIP's answers
            by name count beside the other images of a label: for the noise model, and for the label
            weights before and after training.
        progressive: move the label weights of each batch towards the network's own softmax.
        momentum: momentum of that moving average.
        left_out: before and after training and at each update, weigh each image's candidates also
            by leave-one-out prototypes, made of all other images.
        label_updates: how many times during training, evenly spaced, the candidates are weighed
            anew, by the network as it is then and by those prototypes; at most once before each
            epoch but the first.
        left_out_share: weight of those prototypes, in units of the logit scale.
        balance: for training and prototypes, make the sums of the label weights agree with the
            sizes of the classes; the reported label weights are not balanced.
        prototypes: mine prototypes in closed form, after training.
        prototype_share: weight of the prototypes in the score, in units of the logit scale.
        closed_share: what that weight grows to where no class is unseen, with the images of a
            class.
        closed_growth: by how many times `prototype_share` it grows with each image after the first.
        unseen_strength: length of an unseen label's prototype.
        whiten: whiten images within classes before comparing them with prototypes.
        hubness: share of a label's hubness to subtract from its logits: in the noise model, in the
            label weights, and in the score.
        fade: let the folds that choose gamma also choose how far the scores go from frozen CLIP's
            to the trained ones; off: all the way.
    """

    noise_model: bool = True
    weigh_names: bool = True
    progressive: bool = False
    momentum: float = within(0.9, 0, 1)
    left_out: bool = True
    label_updates: int = counting(2)
    left_out_share: float = within(0.08, 0)
    balance: bool = True
    prototypes: bool = True
    prototype_share: float = within(0.06, 0)
    closed_share: float = within(0.25, 0)
    closed_growth: float = within(0.5, 0)
    unseen_strength: float = within(0.75, 0)
    whiten: bool = True
    hubness: float = within(0.4, 0)
    fade: bool = True

    @property
    def transductive(self) -> bool:
        """Whether unseen labels attend to the images that are to be classified."""
        return self.unseen_points == "test" and (self.prototypes or self.mining)

    def share_in_score(self, problem: Problem, counts: Tensor) -> float:
        """Weight of the prototypes in the score, in units of the logit scale (ours).

        Where no class is unseen it is `prototype_share (1 + closed_growth (n - 1))` for n images of
        a class, at most `closed_share` and no less than `prototype_share`. With unseen classes,
        whose prototypes are guessed, a larger weight costs these more than the seen ones gain.

        Args:
            problem: that is scored.
            counts: (K,) training images of each class, as sums of label weights.
        """
        if len(problem.unseen):
            return self.prototype_share
        grown = self.prototype_share * (1 + self.closed_growth * (counts.mean().item() - 1))
        return max(self.prototype_share, min(grown, self.closed_share))

    def of_folds(self, problem: Problem, counts: Tensor, by_images: bool) -> dict[str, Any]:
        """Options with which folds weigh prototypes as a problem does that has more images.

        They read candidate sets by names alone where the problem does (not `by_images`).
        """
        share, weigh = self.share_in_score(problem, counts), self.weigh_names and by_images
        return {"closed_share": share, "closed_growth": AT_ONCE, "weigh_names": weigh}

    def unread(self) -> dict[str, str]:
        """What parts read that are off, and points without labels that attend to them."""
        unread = (
            super().unread()
            | self.unread_without("noise_model", "weigh_names")
            | self.unread_without("progressive", "momentum")
            | self.unread_without(*LEFT_OUT)
            | self.unread_without("prototypes", *OF_PROTOTYPES)
            | self.unread_without("calibrate", "fade")
        )
        if not (self.left_out or self.prototypes):
            unread["whiten"] = "left_out and prototypes are off: leave it out, or switch one on."
        if self.unseen_points == "test" and not self.transductive:
            unread["unseen_points"] = "it needs prototypes or the mining block: switch one on."
        return unread
