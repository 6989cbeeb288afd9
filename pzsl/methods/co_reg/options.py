"""The options of Co-Reg: its parts, each of which can be switched off, and its constants."""

from __future__ import annotations

from dataclasses import dataclass

from pzsl.errors import UsageError
from pzsl.methods.core import AdaptedOptions, Problem, counting, one_of, within

HEADS = ("cosine", "linear")
OPTIMIZERS = ("adamw", "sgd")
LEARN_FROM = ("auto", "strong", "weak")
MEANS, WHOSE, ALIGNED = ("batch", "set"), ("own", "other"), ("always", "epoch")
SHARES, PROTOTYPE_VIEWS = ("image", "batch"), ("strong", "weak")


@dataclass(frozen=True)
class CoRegOptions(AdaptedOptions):
    """Options of Co-Reg; preset `paper` does as the released code does, where the two differ.

    Attributes:
        head: `cosine` over label embeddings, or `linear`, for seen classes only.
        optimizer: `adamw`, or `sgd` with momentum 0.9.
        warm_up: epochs in which the networks learn from the candidate sets as they are.
        entropy_of_all: in them, images whose candidates are all classes count in the entropy.
        ramp_up: epochs after them in which the weight of U grows to `unlabelled_weight`.
        late: epochs after them at which prototypes and contrast set in.
        distribution_alignment: pull the mean prediction towards the prior.
        aligned: which predictions that acts on: `always` all of them, or only those with which an
            `epoch` begins: they tell which sets to believe, and are what is restricted to them.
        prior: power to which the share of each class is taken, in frozen CLIP's weights of the
            candidates, to make the prior: 0 is uniform, 1 is as CLIP has it.
        co_pseudo_labels: each network is served by the other; off: by itself.
        restricted: whose prediction is restricted to a candidate set that is believed, the
            network's `own` or that of the `other`; the remaining one is taken as it is.
        unlabelled: learn from U; off: images in U teach nothing about classes.
        unlabelled_weight: of the squared error on U.
        means: the losses are means over the whole `batch`, squared errors summed over the classes;
            or means over the `set`, P or U, that they are on, squared errors over the classes, too.
        sharpening: temperature of the pseudo-labels.
        learn_from: the views that the losses are on: `strong`, `weak`, or `auto`: strong, unless
            frozen CLIP, asked on cached strong views, names a candidate in too few images. Then
            they don't show any more what the class is about.
        mixup, mixup_alpha: mix images and pseudo-labels by Beta(alpha, alpha).
        mixup_share: how much of the other image comes in is drawn for each `image` or `batch`.
        prototype_alignment, prototype_weight, prototype_temperature, prototype_momentum: of the
            prototypes that both networks share.
        prototype_view: the views that move them, `strong` (those learnt from) or `weak`.
        contrast, contrast_weight, temperature, dimension, queue, key_momentum: of the supervised
            contrastive loss, its projection, its queue and the momentum copies.
        noisy_contrast: positives are both in P; off: plain supervised contrast.
        ignore_doubtful: a pair of one pseudo-label that is not both in P is no negative either.
        weak_noise, strong_noise, mask: of augmented features, where no views are cached.
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
    restricted: str = one_of("own", WHOSE)
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


def check_options(problem: Problem, options: CoRegOptions) -> None:
    """Refuse a head that can't do what is asked.

    Raises:
        UsageError: a linear head where classes are unseen.
    """
    if options.head == "linear" and len(problem.unseen):
        raise UsageError(
            f"co-reg: a linear head can't score the {len(problem.unseen)} unseen classes: "
            "use --set head=cosine."
        )
