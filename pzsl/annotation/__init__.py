"""Annotate: candidate sets without a manual label, from what frozen encoders answer."""

from __future__ import annotations

from pzsl.annotation.annotate import annotate

__all__ = ["annotate"]
