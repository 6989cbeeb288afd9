"""The options of Co-Reg: its parts, each of which can be switched off, and its constants."""

from __future__ import annotations

from dataclasses import dataclass

from pzsl.errors import UsageError
from pzsl.methods.core import AdaptedOptions, Problem, counting, one_of, within

HEADS = ("cosine", "linear")
OPTIMIZERS = ("adamw", "sgd")
LEARN_FROM = ("auto", "strong", "weak")
MEANS, RESTRICTED, ALIGNED = ("batch", "set"), ("own", "other"), ("always", "epoch")
SHARES, PROTOTYPE_VIEWS = ("image", "batch"), ("strong", "weak")


@dataclass(frozen=True)
class CoRegOptions(AdaptedOptions):
    """Options of Co-Reg; preset `paper` does as the released code does, where the two differ.

    Attributes:
        head: `cosine` over label embeddings, or `linear`, for seen classes only.
        optimizer: `adamw`, or `sgd` with momentum 0.9.
        warm_up: epochs in which the networks learn from the candidate sets as they are. After them
            each image is in P, whose sets are trusted, or in U, whose sets are not.
        entropy_of_all: in the warm-up, images whose candidates are all classes count in the
            entropy, too.
        ramp_up: epochs after the warm-up in which the weight of U grows to `unlabelled_weight`.
        late: epochs after the warm-up before prototypes and contrast are used.
        distribution_alignment: move the mean prediction towards the prior.
        aligned: which predictions are aligned: `always` all of them; or `epoch`, only those at the
            beginning of an epoch, which decide on P and are restricted to the candidates.
        prior: exponent of each class's share in frozen CLIP's label weights, which gives the prior:
            0 for a uniform one, 1 for these shares.
        co_pseudo_labels: the other network decides what is in P, and lends its predictions; off:
            each network is on its own.
        restricted: in P, whose prediction is restricted to the candidates, the network's `own` or
            that of the `other`; the remaining one is used unrestricted.
        unlabelled: learn from U; off: images in U teach nothing about classes.
        unlabelled_weight: weight of the squared error on U.
        means: losses are means over the whole `batch`, with squared errors summed over the classes;
            or over the `set`, P or U, with squared errors averaged over the classes, too.
        sharpening: temperature of the pseudo-labels.
        learn_from: the views in the losses: `strong`, `weak`, or `auto`: strong, unless frozen CLIP
            predicts a candidate for too few of the cached strong views, which then no longer show
            their class.
        mixup: mix pairs of images and their pseudo-labels.
        mixup_alpha: both parameters of the Beta distribution of the share at which they are mixed.
        mixup_share: draw the share of the other image for each `image`, or once for a `batch`.
        prototype_alignment: align images with prototypes that both networks share.
        prototype_weight: weight of that alignment in the loss.
        prototype_temperature: temperature of the softmax over prototypes.
        prototype_momentum: momentum of the prototypes.
        prototype_view: the views that move the prototypes, `strong` (those learnt from) or `weak`.
        contrast: have a supervised contrastive loss.
        contrast_weight: weight of that loss.
        temperature: temperature of its softmax.
        dimension: dimension of the projected vectors.
        queue: number of earlier keys that are contrasted with.
        key_momentum: momentum of the copy that encodes keys.
        noisy_contrast: both images of a positive pair are in P; off: plain supervised contrast.
        ignore_doubtful: a pair with the same pseudo-label that is not positive is not negative,
            either.
        weak_noise: mean length of the noise that is added to a unit feature for a weak view, if
            none is cached.
        strong_noise: the same for a strong view.
        mask: share of the strong view's coordinates that is set to zero.
    """

    head: str = one_of("cosine", HEADS)
    optimizer: str = one_of("adamw", OPTIMIZERS)
    warm_up: int = counting(1)
    entropy_of_all: bool = False
    ramp_up: int = counting(2)
    late: int = counting(2)
    distribution_alignment: bool = True
    aligned: str = one_of("always", ALIGNED)
    prior: float = within(0.0, 0)
    co_pseudo_labels: bool = True
    restricted: str = one_of("own", RESTRICTED)
    unlabelled: bool = True
    unlabelled_weight: float = within(1.0, 0)
    means: str = one_of("batch", MEANS)
    sharpening: float = within(0.5, 0, above=True)
    learn_from: str = one_of("auto", LEARN_FROM)
    mixup: bool = False
    mixup_alpha: int = counting(4, 1, 1000)
    mixup_share: str = one_of("image", SHARES)
    prototype_alignment: bool = True
    prototype_weight: float = within(0.1, 0)
    prototype_temperature: float = within(0.3, 0, above=True)
    prototype_momentum: float = within(0.99, 0, 1)
    prototype_view: str = one_of("strong", PROTOTYPE_VIEWS)
    contrast: bool = True
    noisy_contrast: bool = True
    ignore_doubtful: bool = False
    contrast_weight: float = within(0.1, 0)
    temperature: float = within(0.07, 0, above=True)
    dimension: int = counting(128, 1, 1 << 16)
    queue: int = counting(1024, 0, 1 << 24)
    key_momentum: float = within(0.99, 0, 1)
    weak_noise: float = within(0.1, 0)
    strong_noise: float = within(0.25, 0)
    mask: float = within(0.02, 0, 1, below=True)

    def unread(self) -> dict[str, str]:
        """Constants of parts that are off."""
        return (
            super().unread()
            | self.unread_without("unlabelled", "unlabelled_weight")
            | self.unread_without("mixup", "mixup_alpha", "mixup_share")
            | self.unread_without(
                "prototype_alignment", "prototype_weight", "prototype_temperature"
            )
            | self.unread_without("contrast", "contrast_weight", "temperature")
        )


def check_options(problem: Problem, options: CoRegOptions) -> None:
    """Refuse a head that can't score all classes.

    Raises:
        UsageError: the head is linear, and some classes are unseen.
    """
    if options.head == "linear" and len(problem.unseen):
        raise UsageError(
            f"co-reg: a linear head can't score the {len(problem.unseen)} unseen classes: "
            "use --set head=cosine."
        )
