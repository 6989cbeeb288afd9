"""The one place that imports Ray: connect to a cluster, or start a small one on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from pzsl.errors import UserError
from pzsl.progress import say

STORE = 256 * 2**20
"""Bytes of a local cluster's object store; small, as workers pass file names and records only."""


@contextmanager
def connect(processes: int | None = None) -> Iterator[Any]:
    """Connect to Ray: `with connect() as ray: ray.remote(...)`; disconnects at the end.

    RAY_ADDRESS names the cluster (`auto`: the one that this machine belongs to). Without it, a
    local cluster without dashboard is started, and stopped at the end. An existing connection is
    reused.

    Args:
        processes: of a local cluster; by default one per processor.

    Raises:
        UserError: Ray isn't installed, doesn't run here, or no cluster answers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would call home
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # its default from now on
    address = os.environ.get("RAY_ADDRESS") or "local"
    local_options = {
        "num_cpus": processes,
        "include_dashboard": False,
        "object_store_memory": STORE,
    }
    remedy = "install it with pip install -U 'pzsl[ray]', or use --engine local."
    try:
        ray = import_module("ray")
    except ModuleNotFoundError as error:
        missing = "isn't installed" if error.name == "ray" else f"lacks {error.name}"
        raise UserError(f"Ray {missing}: {remedy}") from None
    except Exception as error:  # a build for another Python or system can raise anything
        raise UserError(f"Ray doesn't run here ({str(error)[:120]}): {remedy}") from error
    if ray.is_initialized():
        yield ray
        return
    try:
        ray.init(
            address=address, logging_level="ERROR", **(local_options if address == "local" else {})
        )
    except Exception as error:  # ConnectionError, ValueError, RuntimeError, of many causes
        where = "on this machine" if address == "local" else f"at RAY_ADDRESS={address}"
        raise UserError(f"No Ray cluster {where} ({str(error)[:120]}): {remedy}") from error
    try:
        say(f"Ray {ray.__version__}: {ray.cluster_resources().get('CPU', 0):.0f} processors.")
        yield ray
    finally:
        ray.shutdown()
