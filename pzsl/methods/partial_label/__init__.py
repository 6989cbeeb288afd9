"""The partial-label losses of the literature, one file per published method."""

from __future__ import annotations

from pzsl.methods.core import AdaptedOptions
from pzsl.methods.partial_label.able import Able, AbleOptions
from pzsl.methods.partial_label.cavl import Cavl, CavlOptions
from pzsl.methods.partial_label.cc import Cc
from pzsl.methods.partial_label.crdpll import Crdpll, CrdpllOptions
from pzsl.methods.partial_label.lws import Lws, LwsOptions
from pzsl.methods.partial_label.papi import Papi, PapiOptions
from pzsl.methods.partial_label.pico import Pico, PicoOptions
from pzsl.methods.partial_label.pop import Pop, PopOptions
from pzsl.methods.partial_label.proden import Proden
from pzsl.methods.partial_label.prompt_align import PromptAlign, PromptAlignOptions
from pzsl.methods.partial_label.rc import Rc
from pzsl.methods.partial_label.records import Records, RecordsOptions

__all__ = [
    "Able",
    "AbleOptions",
    "AdaptedOptions",
    "Cavl",
    "CavlOptions",
    "Cc",
    "Crdpll",
    "CrdpllOptions",
    "Lws",
    "LwsOptions",
    "Papi",
    "PapiOptions",
    "Pico",
    "PicoOptions",
    "Pop",
    "PopOptions",
    "Proden",
    "PromptAlign",
    "PromptAlignOptions",
    "Rc",
    "Records",
    "RecordsOptions",
]
