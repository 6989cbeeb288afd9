"""Commands that work on existing cache files."""

from __future__ import annotations

from pzsl.cli.options import Entry

CACHE_COMMANDS = {
    "merge": Entry("pzsl.cli.caches.merge:merge", "Merge shards into one cache."),
    "import": Entry(
        "pzsl.cli.caches.import_:import_", "Make a cache from features of another tool."
    ),
    "export": Entry("pzsl.cli.caches.export:export", "Write a cache as .npz or Parquet."),
    "inspect": Entry(
        "pzsl.cli.caches.inspect:inspect", "Show what a cache holds, and whether it is complete."
    ),
    "push": Entry("pzsl.cli.caches.share:push", "Share a cache on the Hugging Face hub."),
    "pull": Entry("pzsl.cli.caches.share:pull", "Download a shared cache."),
}
"""In the order of the help."""

__all__ = ["CACHE_COMMANDS"]
