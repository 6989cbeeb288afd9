"""How the runs of a sweep are carried out: one by one, in processes, together on a GPU, on Ray."""

from pzsl.training.engines.sweep import run_sweep

__all__ = ["run_sweep"]
