"""The options of CLIP-PZSL: its parts, each of which can be switched off, and its constants."""

from __future__ import annotations

from dataclasses import dataclass

from pzsl.methods.clip_pzsl.mining import MiningOptions
from pzsl.methods.core import AdaptedOptions, within


@dataclass(frozen=True)
class ClipPzslOptions(MiningOptions, AdaptedOptions):
    """Parts and constants of CLIP-PZSL.

    Attributes:
        noise_model: estimate how often the truth is outside the candidates, and let it be there.
        progressive: let the label weights follow the model; else they stay as they began.
        momentum: of the moving average of the label weights.
        left_out: before and after training, weigh each image's candidates also by the prototypes
            that all other images make.
        left_out_share: weight of those prototypes, in units of the logit scale.
        balance: train on label weights, and mine by such, whose sums agree with the sizes of the
            classes; those that are reported are as they were found.
        prototypes: mining in closed form, after training.
        prototype_share: weight of the prototypes in the score, in units of the logit scale.
        unseen_strength: length of an unseen label's prototype.
        whiten: even out the covariance within the classes before comparing with prototypes.
        hubness: how much of a label's hubness is taken off its logits: in the noise model, in the
            label weights before and after training, and in the score.
        fade: let the folds that choose gamma also choose how far the scores go from frozen CLIP's
            to the trained ones; off: all the way.
    """

    noise_model: bool = True
    progressive: bool = True
    momentum: float = within(0.5, 0, 1)
    left_out: bool = True
    left_out_share: float = within(0.08, 0)
    balance: bool = True
    prototypes: bool = True
    prototype_share: float = within(0.06, 0)
    unseen_strength: float = within(0.75, 0)
    whiten: bool = True
    hubness: float = within(0.4, 0)
    fade: bool = True
