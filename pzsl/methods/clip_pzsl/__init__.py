"""CLIP-PZSL (Fan et al. 2026): noise model, prototypes, mining, transduction, its oracle."""

from __future__ import annotations

from pzsl.methods.clip_pzsl.method import ClipPzsl
from pzsl.methods.clip_pzsl.noise_model import NoiseModel, widen
from pzsl.methods.clip_pzsl.options import ClipPzslOptions
from pzsl.methods.clip_pzsl.oracle import Oracle, OracleOptions

__all__ = ["ClipPzsl", "ClipPzslOptions", "NoiseModel", "Oracle", "OracleOptions", "widen"]
