"""The configuration and name of a run, and the grid of a sweep."""

from __future__ import annotations

import itertools
import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from pzsl import plugins
from pzsl.candidates import FROM_DATA, NOISES, find_kind
from pzsl.candidates.uss import RATE as USS_RATE
from pzsl.errors import UsageError, nearest
from pzsl.files import digest
from pzsl.methods import METHODS, find_method, make_options, unread_options
from pzsl.progress import say
from pzsl.results_version import RESULTS, results_of


class Source(NamedTuple):
    """The features of a run: data set and hash of the cache, and the encoder."""

    dataset: str
    cache_hash: str
    model: str


@dataclass(frozen=True)
class RunConfig:
    """Everything that a run's numbers depend on, including the version of the code.

    Attributes:
        dataset, cache_hash, model: the features and splits, and the encoder they are from.
        method, preset, options: what is trained; `options` holds every option, also the defaults.
        noise, rate, eta: where the candidate sets come from.
        labels: what the label embeddings are made of.
        seed: of the candidate sets, the initial weights and the order of the images.
        few_shot: number of true labels per class that are given by hand.
        imbalance: ratio of a long tail: the most frequent class keeps this many times the share of
            its images that the rarest class keeps.
        results: version of the numbers; runs of other versions are different runs.
        plugins: group and name of each plugin -> where it is, and the hash of its source.
        blocks: whether the features exceed `memory` and are read in blocks, hence in another order.
        fold_sample: whether there are so many training images that folds share a sample of them.
        device: kind of device.

    `few_shot`, `imbalance`, `plugins`, `blocks`, `fold_sample` and `device` are recorded only if
    they differ from their defaults.
    """

    dataset: str
    cache_hash: str
    model: str
    method: str
    preset: str
    noise: str
    rate: float | None
    eta: float
    labels: str
    seed: int
    options: Mapping[str, Any] = field(default_factory=dict)
    few_shot: int = 0
    imbalance: float = 1.0
    results: int = RESULTS
    plugins: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    blocks: bool = False
    fold_sample: bool = False
    device: str = "cpu"

    @property
    def name(self) -> str:
        """Folder name of the run: the method, and a hash of the whole configuration.

        The path of a plugin's file does not matter, its contents do.
        """
        values = self.as_dict()
        if self.plugins:
            values["plugins"] = {key: record["source"] for key, record in self.plugins.items()}
        method = self.method.rpartition(":")[2]
        return f"{method}-{digest(json.dumps(values, sort_keys=True))[:12]}"

    def as_dict(self) -> dict[str, Any]:
        """The configuration as plain values."""
        values = asdict(self)
        defaults = {"few_shot": 0, "imbalance": 1, "plugins": {}, "blocks": False}
        defaults |= {"fold_sample": False, "device": "cpu"}
        return {
            name: value
            for name, value in values.items()
            if name not in defaults or value != defaults[name]
        }


def options_of(methods: Sequence[str], preset: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The full options of each method; a setting applies to every method that has this option.

    Raises:
        UsageError: unknown method or preset, an option that no method has, a wrong value.
    """
    preset_and_options, used_settings = {}, set()
    for method in methods:
        own_preset = preset if preset in find_method(method).presets else "default"
        own_options = asdict(make_options(method, own_preset))
        changes = {key: value for key, value in settings.items() if key in own_options}
        used_settings |= set(changes)
        preset_and_options[method] = (own_preset, asdict(make_options(method, own_preset, changes)))
    unused = [key for key in settings if key not in used_settings]
    if unused:
        all_options = sorted({key for _, options in preset_and_options.values() for key in options})
        raise UsageError(
            f"No method here has an option '{unused[0]}'.{nearest(unused[0], all_options)}"
        )
    presets = sorted({name for method in methods for name in find_method(method).presets})
    if preset not in presets:
        raise UsageError(f"No method here has a preset '{preset}'.{nearest(preset, presets)}")
    return preset_and_options


def expand(
    source: Source,
    methods: Sequence[str],
    presets: Sequence[str],
    noises: Sequence[str],
    rates: Sequence[float],
    etas: Sequence[float],
    seeds: Sequence[int],
    labels: str = "text",
    settings: Mapping[str, Any] | None = None,
    few_shots: Sequence[int] = (0,),
    imbalances: Sequence[float] = (1.0,),
) -> list[RunConfig]:
    """The grid of a sweep, seeds outermost, so that an interrupted sweep has runs of each kind.

    A noise may have its own rate, as in `instance:0.1`, which replaces the others. Rates are
    ignored for sets that come with the data and for `uss` (always 0.5), eta for all noises but
    `noisy`. Each configuration occurs once.
    """
    settings = dict(settings or {})
    methods, noises, plugin_records = _without_paths(methods, noises, settings)
    systems = [
        (method, *preset_and_options)
        for preset in presets
        for method, preset_and_options in options_of(methods, preset, settings).items()
    ]
    lines = [line for method, _, own in systems for line in unread_options(method, own, settings)]
    for line in dict.fromkeys(lines):
        say(line)
    ambiguities = _ambiguities(noises, rates, etas)
    runs: dict[str, RunConfig] = {}
    axes = itertools.product(seeds, imbalances, few_shots, ambiguities, systems)
    for seed, imbalance, few_shot, (noise, rate, eta), (method, preset, options) in axes:
        classifier = options.get("classifier")
        plugin_keys = f"methods {method}", f"candidates {noise}", f"methods {classifier}"
        run = RunConfig(
            *source,
            method=method,
            preset=preset,
            noise=noise,
            rate=rate,
            eta=eta,
            labels=labels,
            seed=seed,
            options=options,
            few_shot=few_shot,
            imbalance=float(imbalance),
            results=results_of(method, options, labels),
            plugins={key: plugin_records[key] for key in plugin_keys if key in plugin_records},
        )
        runs.setdefault(run.name, run)
    return list(runs.values())


def _ambiguities(
    noises: Sequence[str], rates: Sequence[float], etas: Sequence[float]
) -> list[tuple[str, float | None, float]]:
    """Noise, rate and eta of each kind of ambiguity in a grid."""
    return [
        (noise, rate, float(eta))
        for word in noises
        for noise, noise_rates in [_noise_and_rates(word, rates)]
        for rate in noise_rates
        for eta in (etas if noise == "noisy" else [0.0])
    ]


def _without_paths(
    methods: Sequence[str], noises: Sequence[str], settings: dict[str, Any]
) -> tuple[list[str], list[str], dict[str, dict[str, str]]]:
    """Replace paths of plugins by the names used in records; returns these records, too.

    The classifier of `conse`, which is a method as well, is replaced in `settings` itself.

    Raises:
        UsageError: two files of the same name have a class of the same name.
    """
    records: dict[str, dict[str, str]] = {}

    def recorded_name(group: str, name: str, built_in: Container[str]) -> str:
        if name in built_in:
            plugins.say_hidden(group, name)
            return name
        plugin = plugins.find(group, name)
        if plugin is None:
            return name  # unknown: reported when it is looked up
        key = f"{group} {plugin.name}"
        if records.setdefault(key, plugin.record()) != plugin.record():
            raise UsageError(
                f"Two plugins are both called '{plugin.name}' ({records[key]['at']} and "
                f"{plugin.at}): rename one."
            )
        plugins.trust(plugin)
        return plugin.name

    method_names = [recorded_name("methods", method, METHODS) for method in methods]
    if "conse" in methods and "classifier" in settings:
        classifier = str(settings["classifier"])
        settings["classifier"] = recorded_name("methods", classifier, METHODS)
    noise_names = [
        f"{recorded_name('candidates', noise, NOISES)}{rate}"
        for noise, rate in map(_split_rate, noises)
    ]
    plugins.enrol(records)
    return method_names, noise_names, records


def _split_rate(word: str) -> tuple[str, str]:
    """Split a noise from its own rate: `instance:0.1` -> `instance` and `:0.1`."""
    noise, colon, rate = word.rpartition(":")
    if not colon or word in NOISES or (rate.isidentifier() and noise not in NOISES):
        return word, ""
    return noise, colon + rate


def _noise_and_rates(word: str, rates: Sequence[float]) -> tuple[str, Sequence[float | None]]:
    """The kind of noise that a word names, and its rates."""
    noise, rate = _split_rate(word)
    if noise in (*FROM_DATA, "uss"):
        fixed = USS_RATE if noise == "uss" else None
        if rate not in ("", f":{fixed}"):
            why = f"is always at rate {fixed}" if fixed else "sets come with the data, at no rate"
            raise UsageError(f"--noise {word}: {noise} {why}: write --noise {noise}.")
        return noise, [fixed]
    find_kind(noise)  # raises if it is unknown
    if not rate:
        return noise, [float(rate) for rate in rates]
    try:
        return noise, [float(rate[1:])]
    except ValueError:
        variants = [name for name in NOISES if name.startswith(f"{noise}:")]
        alternative = f", or it is {' or '.join(variants)}" if variants else ""
        raise UsageError(
            f"--noise {word}: after the colon comes a rate, such as 0.1{alternative}."
        ) from None
