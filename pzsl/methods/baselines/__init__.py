"""What every method has to beat: frozen CLIP, ConSE, class means, a linear probe."""

from __future__ import annotations

from pzsl.methods.baselines.clip import Clip, ClipOptions
from pzsl.methods.baselines.conse import Conse, ConseOptions
from pzsl.methods.baselines.probe import Probe
from pzsl.methods.baselines.prototype import Prototype
from pzsl.methods.core import Options

__all__ = ["Clip", "ClipOptions", "Conse", "ConseOptions", "Options", "Probe", "Prototype"]
