"""Make the method of a run, or of a fold of it, from its configuration and its problem."""

from __future__ import annotations

from dataclasses import replace

import torch

from pzsl.methods import load_method, make_options
from pzsl.methods.core import Method, Problem
from pzsl.training.config import RunConfig


def initial_method(
    config: RunConfig, problem: Problem, seed: int, whole: Method | None = None
) -> Method:
    """A method that has seen no data; its weights are drawn from `seed` on the CPU on any device.

    A method for a fold of `whole` has fewer epochs, and the options that this chose itself.
    """
    method_class, _ = load_method(config.method)
    options = make_options(config.method, config.preset, config.options)
    if whole is not None:
        epochs = max(1, round(options.fold_share * options.epochs))
        options = replace(options, epochs=epochs, **whole.chosen_options())
    return method_class(problem, options, torch.Generator().manual_seed(seed))


def prepared_method(
    config: RunConfig, problem: Problem, seed: int, whole: Method | None = None
) -> Method:
    """The `initial_method` after its preparation on the training data."""
    method = initial_method(config, problem, seed, whole)
    with torch.no_grad():
        method.prepare()
    return method
