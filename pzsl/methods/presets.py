"""What each preset changes: option -> value, over the defaults of its method."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

Settings = Mapping[str, Any]
NONE: Settings = MappingProxyType({})
CLIP_PZSL_PAPER = MappingProxyType(
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
