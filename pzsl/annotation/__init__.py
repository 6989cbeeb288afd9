"""Annotate: candidate sets without a manual label, from the predictions of frozen encoders."""

from __future__ import annotations

from pzsl.annotation.annotate import annotate

__all__ = ["annotate"]
