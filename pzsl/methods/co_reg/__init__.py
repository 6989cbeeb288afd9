"""Co-Reg (Wang et al. 2025): two networks that check each other on CLIP's own annotation."""

from __future__ import annotations

from pzsl.methods.co_reg.method import CoReg
from pzsl.methods.co_reg.options import CoRegOptions

__all__ = ["CoReg", "CoRegOptions"]
