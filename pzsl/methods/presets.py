"""The options that each preset changes from its method's defaults: option -> value."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

Settings = Mapping[str, Any]
NONE: Settings = MappingProxyType({})
CLIP_PZSL_PAPER = MappingProxyType(
    {
        "noise_model": False,
        "progressive": True,
        "momentum": 0.5,
        "left_out": False,
        "balance": False,
        "prototypes": False,
        "hubness": 0.0,
        "calibrate": False,
        "label_adapter": False,
        "k_means": True,
        "self_attention": True,
        "feed_forward": True,
    }
)
MINED = MappingProxyType({"k_means": True})
TRANSDUCTIVE = MappingProxyType({"unseen_points": "test"})
ABLE_PAPER = MappingProxyType({"shared": "images"})
LWS_PAPER = MappingProxyType({"centre": "none", "first_weights": "classes"})
POP_PAPER = MappingProxyType(
    {"warm_up": 0.04, "purifications": 96, "growth": 1.001, "steady": 1e-4}
)
PICO_PAPER = MappingProxyType(
    {
        "warm_up_negatives": "queue",
        "first_phi": 0.95,
        "last_phi": 0.8,
        "prototype_momentum": 0.99,
        "key_momentum": 0.999,
        "queue": 8192,
    }
)
PAPI_PAPER = MappingProxyType({"ramp_up": 0.02, "first_phi": 0.95, "last_phi": 0.8})
CO_REG_PAPER = MappingProxyType(
    {
        "optimizer": "sgd",
        "lr": 0.01,
        "weight_decay": 5e-4,
        "batch_size": 256,
        "epochs": 100,
        "warm_up": 10,
        "entropy_of_all": True,
        "ramp_up": 16,
        "late": 10,
        "alignment": 0.0,
        "aligned": "epoch",
        "restricted": "other",
        "means": "set",
        "mixup": True,
        "mixup_share": "batch",
        "prior": 0.0,
        "prototype_momentum": 0.999,
        "prototype_view": "weak",
        "ignore_doubtful": True,
        "key_momentum": 0.999,
        "queue": 8192,
    }
)
