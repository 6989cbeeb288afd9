"""Which methods there are, where they live, and what their presets are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from pzsl import plugins
from pzsl.errors import UsageError, nearest
from pzsl.methods.foreign import foreign_method, foreign_options

if TYPE_CHECKING:
    from pzsl.methods.core import Method, Options

Settings = Mapping[str, Any]
NONE: Settings = MappingProxyType({})


class Entry(NamedTuple):
    """One method: `loader` is `module:Class:Options`; presets override the options' defaults."""

    loader: str
    paper: str
    year: int | None
    needs: str
    about: str
    presets: Mapping[str, Settings] = MappingProxyType({"default": NONE})


PAPER = MappingProxyType(
    {
        "noise_model": False,
        "left_out": False,
        "prototypes": False,
        "hubness": 0.0,
        "calibrate": False,
        "label_adapter": False,
        "k_means": True,
        "self_attention": True,
        "feed_forward": True,
    }
)
TRANSDUCTIVE = MappingProxyType({"unseen_points": "test"})
PICO_PAPER = MappingProxyType(
    {
        "first_phi": 0.95,
        "last_phi": 0.8,
        "prototype_momentum": 0.99,
        "key_momentum": 0.999,
        "queue": 8192,
    }
)
CO_REG_PAPER = MappingProxyType(
    {
        "optimizer": "sgd",
        "lr": 0.01,
        "weight_decay": 5e-4,
        "batch_size": 256,
        "epochs": 300,
        "warm_up": 10,
        "ramp_up": 16,
        "late": 10,
        "alignment": 0.0,
        "mixup": True,
        "prior": 0.0,
        "prototype_momentum": 0.999,
        "key_momentum": 0.999,
        "queue": 8192,
    }
)
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
        "label embeddings mined from ambiguous images, label weights that follow the model",
        MappingProxyType({"default": NONE, "paper": PAPER, "transductive": TRANSDUCTIVE}),
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
    ),
    "pop": Entry(
        "pzsl.methods.partial_label:Pop:PopOptions",
        "Xu et al., Progressive purification for instance-dependent partial label learning, ICML",
        2023,
        "candidates",
        "PRODEN on candidate sets that lose their unlikely labels",
    ),
    "co-reg": Entry(
        "pzsl.methods.co_reg:CoReg:CoRegOptions",
        "Wang et al., Pre-trained vision-language models as partial annotators, AAAI",
        2025,
        "candidates, views where cached",
        "two networks that tell each other which candidate sets to believe",
        MappingProxyType({"default": NONE, "paper": CO_REG_PAPER}),
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


def describe() -> list[dict[str, Any]]:
    """Every method as plain values: name, paper, year, needs, about, presets; plugins unread."""
    own = [
        {
            "name": name,
            "paper": entry.paper,
            "year": entry.year,
            "needs": entry.needs,
            "about": entry.about,
            "presets": {preset: dict(settings) for preset, settings in entry.presets.items()},
        }
        for name, entry in METHODS.items()
    ]
    others = {"paper": "see its package", "year": None, "needs": "", "about": "an installed plugin"}
    installed = [name for name in plugins.names("methods") if name not in METHODS]
    return own + [{"name": name, **others, "presets": {"default": {}}} for name in installed]


def find_method(name: str) -> Entry:
    """What is known of a method: one of `METHODS`, or a plugin.

    Raises:
        UsageError: unknown name; the nearest is offered, plugins included.
        PluginError: the plugin can't be loaded, or is no method.
    """
    if name in METHODS:
        return METHODS[name]
    kind = foreign_method(name, known_methods())
    return Entry(
        loader="",
        paper=str(getattr(kind, "paper", "a plugin")),
        year=getattr(kind, "year", None),
        needs=str(getattr(kind, "needs", "candidates")),
        about=(kind.__doc__ or "a plugin").strip().splitlines()[0],
        presets={"default": NONE, **getattr(kind, "presets", {})},
    )


def known_methods() -> list[str]:
    """Names of all methods, the installed plugins last."""
    return [*dict.fromkeys([*METHODS, *plugins.names("methods")])]


def load_method(name: str) -> tuple[type[Method], type[Options]]:
    """The class of a method and the class of its options.

    Raises:
        UsageError: unknown name; the nearest is offered, plugins included.
        PluginError: the plugin can't be loaded, or is no method.
    """
    if name not in METHODS:
        kind = foreign_method(name, known_methods())
        return kind, foreign_options(name, kind)
    module, method, options = METHODS[name].loader.split(":")
    home = import_module(module)
    return getattr(home, method), getattr(home, options)


def make_options(name: str, preset: str = "default", changes: Settings = NONE) -> Options:
    """Options of a method: its defaults, then the preset, then the user's changes.

    Args:
        name: of the method.
        preset: one of the method's presets.
        changes: option -> value; a text is read as the type of the option's default.

    Raises:
        UsageError: unknown method, preset or option, or a value of the wrong type or
            out of its range.
    """
    _, kind = load_method(name)
    presets = find_method(name).presets
    if preset not in presets:
        raise UsageError(f"Method '{name}' has no preset '{preset}'.{nearest(preset, [*presets])}")
    options = replace(kind(), **presets[preset])
    known = {field.name: getattr(options, field.name) for field in fields(options)}
    for key in changes:
        if key not in known:
            raise UsageError(f"Method '{name}' has no option '{key}'.{nearest(key, list(known))}")
    read = {key: read_value(key, value, known[key]) for key, value in changes.items()}
    return replace(options, **read)


def read_value(key: str, value: Any, like: Any) -> Any:
    """A value given as text (or from TOML) in the type of the default it replaces."""
    if isinstance(like, bool):
        words = {"true": True, "on": True, "yes": True, "1": True}
        words |= {"false": False, "off": False, "no": False, "0": False}
        if str(value).lower() in words:
            return words[str(value).lower()]
        raise UsageError(f"Option '{key}' is on or off, but was given '{value}'.")
    if isinstance(like, str):
        return str(value)
    if value is False:  # a part whose weight is a number is switched off by zero
        value = 0
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"Option '{key}' takes a number, but was given '{value}'.")
    if isinstance(like, int):
        if number != int(number):
            raise UsageError(f"Option '{key}' takes a whole number, but was given '{value}'.")
        return int(number)
    return number
