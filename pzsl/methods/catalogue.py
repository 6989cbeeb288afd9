"""The methods: module, paper, needs and presets of each, without importing it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from pzsl.methods.presets import (
    ABLE_PAPER,
    CLIP_PZSL_PAPER,
    CO_REG_PAPER,
    LWS_PAPER,
    MINED,
    NONE,
    PAPI_PAPER,
    PICO_PAPER,
    POP_PAPER,
    TRANSDUCTIVE,
    Settings,
)


class Entry(NamedTuple):
    """One method: `loader` is `module:Class:Options`; presets override the options' defaults."""

    loader: str
    paper: str
    year: int | None
    needs: str
    about: str
    presets: Mapping[str, Settings] = MappingProxyType({"default": NONE})


METHODS: dict[str, Entry] = {
    "clip": Entry(
        "pzsl.methods.baselines:Clip:ClipOptions",
        "Radford et al., Learning transferable visual models from natural language supervision",
        2021,
        "nothing",
        "frozen CLIP, zero-shot: what every other method has to beat",
        MappingProxyType({"default": NONE, "calibrated": MappingProxyType({"calibrate": True})}),
    ),
    "clip-pzsl": Entry(
        "pzsl.methods.clip_pzsl:ClipPzsl:ClipPzslOptions",
        "Fan et al., CLIP-driven zero-shot learning with ambiguous labels, ICASSP",
        2026,
        "candidates",
        "label embeddings mined from images whose candidates are weighed by what all images tell",
        MappingProxyType(
            {
                "default": NONE,
                "paper": CLIP_PZSL_PAPER,
                "mined": MINED,
                "transductive": TRANSDUCTIVE,
            }
        ),
    ),
    "conse": Entry(
        "pzsl.methods.baselines:Conse:ConseOptions",
        "Norouzi et al., Zero-shot learning by convex combination of semantic embeddings, ICLR",
        2014,
        "candidates",
        "mean label embedding of the likeliest seen classes, by any other method's classifier",
        MappingProxyType({"default": NONE, "centred": MappingProxyType({"centre": True})}),
    ),
    "cc": Entry(
        "pzsl.methods.partial_label:Cc:AdaptedOptions",
        "Feng et al., Provably consistent partial-label learning, NeurIPS",
        2020,
        "candidates",
        "likelihood of the candidate set as a whole, without label weights",
    ),
    "rc": Entry(
        "pzsl.methods.partial_label:Rc:AdaptedOptions",
        "Feng et al., Provably consistent partial-label learning, NeurIPS",
        2020,
        "candidates",
        "weighted cross-entropy, label weights from a forward after each step",
    ),
    "proden": Entry(
        "pzsl.methods.partial_label:Proden:AdaptedOptions",
        "Lv et al., Progressive identification of true labels for partial-label learning, ICML",
        2020,
        "candidates",
        "weighted cross-entropy, label weights follow the model's own softmax",
    ),
    "lws": Entry(
        "pzsl.methods.partial_label:Lws:LwsOptions",
        "Wen et al., Leveraged weighted loss for partial label learning, ICML",
        2021,
        "candidates",
        "binary losses on candidates and, with leverage beta, on all other labels",
        MappingProxyType({"default": NONE, "paper": LWS_PAPER}),
    ),
    "cavl": Entry(
        "pzsl.methods.partial_label:Cavl:CavlOptions",
        "Zhang et al., Exploiting class activation value for partial-label learning, ICLR",
        2022,
        "candidates",
        "hard labels: the candidate with the largest class activation value",
    ),
    "pico": Entry(
        "pzsl.methods.partial_label:Pico:PicoOptions",
        "Wang et al., PiCO: contrastive label disambiguation for partial label learning, ICLR",
        2022,
        "candidates, views where cached",
        "label weights move to the nearest prototype; supervised contrast with a queue",
        MappingProxyType({"default": NONE, "paper": PICO_PAPER}),
    ),
    "able": Entry(
        "pzsl.methods.partial_label:Able:AbleOptions",
        "Xia et al., Ambiguity-induced contrastive learning for instance-dependent partial label "
        "learning, IJCAI",
        2022,
        "candidates, views where cached",
        "PRODEN with contrast whose positives share the candidates' ambiguity",
        MappingProxyType({"default": NONE, "paper": ABLE_PAPER}),
    ),
    "pop": Entry(
        "pzsl.methods.partial_label:Pop:PopOptions",
        "Xu et al., Progressive purification for instance-dependent partial label learning, ICML",
        2023,
        "candidates",
        "PRODEN on candidate sets that lose their unlikely labels",
        MappingProxyType({"default": NONE, "paper": POP_PAPER}),
    ),
    "crdpll": Entry(
        "pzsl.methods.partial_label:Crdpll:CrdpllOptions",
        "Wu et al., Revisiting consistency regularization for deep partial label learning, ICML",
        2022,
        "candidates, views where cached",
        "labels outside pushed down; three views of an image agree on its candidates",
    ),
    "papi": Entry(
        "pzsl.methods.partial_label:Papi:PapiOptions",
        "Xia et al., Towards effective visual representations for partial-label learning, CVPR",
        2023,
        "candidates, views where cached",
        "label weights by a moving average; mixed images aligned with prototypes",
        MappingProxyType({"default": NONE, "paper": PAPI_PAPER}),
    ),
    "records": Entry(
        "pzsl.methods.partial_label:Records:RecordsOptions",
        "Hong et al., Long-tailed partial label learning via dynamic rebalancing, ICLR",
        2023,
        "candidates, views where cached",
        "views that agree, less what the classifier takes to be frequent; for long tails",
    ),
    "prompt-align": Entry(
        "pzsl.methods.partial_label:PromptAlign:PromptAlignOptions",
        "Zhang et al., Tuning vision-language models with candidate labels by prompt alignment, "
        "DASFAA",
        2025,
        "candidates",
        "PRODEN's loss, and alignment with frozen CLIP's posterior mixed with the model's",
    ),
    "co-reg": Entry(
        "pzsl.methods.co_reg:CoReg:CoRegOptions",
        "Wang et al., Pre-trained vision-language models as partial annotators, AAAI",
        2025,
        "candidates, views where cached",
        "two networks that tell each other which candidate sets to believe",
        MappingProxyType({"default": NONE, "paper": CO_REG_PAPER}),
    ),
    "gda": Entry(
        "pzsl.methods.baselines:Gda:GdaOptions",
        "Wang et al., A hard-to-beat baseline for training-free CLIP-based adaptation, ICLR",
        2024,
        "candidates",
        "Gaussian discriminant of soft labels beside frozen CLIP; nothing is trained",
    ),
    "tip-adapter": Entry(
        "pzsl.methods.baselines:TipAdapter:TipAdapterOptions",
        "Zhang et al., Tip-Adapter: training-free adaption of CLIP for few-shot classification, "
        "ECCV",
        2022,
        "candidates",
        "a cache of training images and soft labels beside frozen CLIP; nothing is trained",
        MappingProxyType({"default": NONE, "fine-tuned": MappingProxyType({"fine_tune": True})}),
    ),
    "rla": Entry(
        "pzsl.methods.baselines:Rla:RlaOptions",
        "Fahes et al., CLIP's visual embedding projector is a few-shot cornucopia",
        2024,
        "candidates",
        "a linear adapter of the images, kept near the identity",
    ),
    "zlap": Entry(
        "pzsl.methods.baselines:Zlap:ZlapOptions",
        "Stojnic et al., Label propagation for zero-shot classification with vision-language "
        "models, CVPR",
        2024,
        "candidates",
        "transductive: labels spread from names over a graph of training and test images",
    ),
    "transclip": Entry(
        "pzsl.methods.baselines:Transclip:TransclipOptions",
        "Zanella et al., Boosting vision-language models with transduction, NeurIPS",
        2024,
        "candidates",
        "transductive: a Gaussian mixture of training and test images, tied to text and neighbours",
    ),
    "em-dirichlet": Entry(
        "pzsl.methods.baselines:EmDirichlet:EmDirichletOptions",
        "Martin et al., Transductive zero-shot and few-shot CLIP, CVPR",
        2024,
        "candidates",
        "transductive: each class is a Dirichlet law over frozen CLIP's answers",
    ),
    "prototype": Entry(
        "pzsl.methods.baselines:Prototype:Options",
        "ours, for comparison",
        None,
        "candidates",
        "nearest mean of the images that frozen CLIP assigns to a class; nothing is trained",
    ),
    "probe": Entry(
        "pzsl.methods.baselines:Probe:Options",
        "ours, for comparison",
        None,
        "candidates",
        "linear classifier on the candidate that frozen CLIP finds likeliest",
    ),
    "oracle": Entry(
        "pzsl.methods.clip_pzsl:Oracle:OracleOptions",
        "ours, for comparison",
        None,
        "true labels",
        "the network of clip-pzsl trained on the true labels",
    ),
}
