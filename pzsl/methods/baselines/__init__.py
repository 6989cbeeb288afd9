"""Baselines on frozen features: by text, class means, a feature cache, or a graph."""

from __future__ import annotations

from pzsl.methods.baselines.clip import Clip, ClipOptions
from pzsl.methods.baselines.conse import Conse, ConseOptions
from pzsl.methods.baselines.em_dirichlet import EmDirichlet, EmDirichletOptions
from pzsl.methods.baselines.gda import Gda, GdaOptions
from pzsl.methods.baselines.probe import Probe
from pzsl.methods.baselines.prototype import Prototype
from pzsl.methods.baselines.rla import Rla, RlaOptions
from pzsl.methods.baselines.tip_adapter import TipAdapter, TipAdapterOptions
from pzsl.methods.baselines.transclip import Transclip, TransclipOptions
from pzsl.methods.baselines.zlap import Zlap, ZlapOptions
from pzsl.methods.core import Options

__all__ = [
    "Clip",
    "ClipOptions",
    "Conse",
    "ConseOptions",
    "EmDirichlet",
    "EmDirichletOptions",
    "Gda",
    "GdaOptions",
    "Options",
    "Probe",
    "Prototype",
    "Rla",
    "RlaOptions",
    "TipAdapter",
    "TipAdapterOptions",
    "Transclip",
    "TransclipOptions",
    "Zlap",
    "ZlapOptions",
]
