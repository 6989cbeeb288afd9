"""Commands that work on existing cache files."""

from __future__ import annotations

from pzsl.cli.options import Entry

CACHE_COMMANDS = {
    "merge": Entry("pzsl.cli.caches.merge:merge", "Shards into one cache."),
    "import": Entry("pzsl.cli.caches.import_:import_", "Features made elsewhere into a cache."),
    "export": Entry("pzsl.cli.caches.export:export", "A cache as .npz or Parquet."),
    "inspect": Entry(
        "pzsl.cli.caches.inspect:inspect", "What a cache holds, and whether it is whole."
    ),
    "push": Entry("pzsl.cli.caches.share:push", "Share a cache on the Hugging Face hub."),
    "pull": Entry("pzsl.cli.caches.share:pull", "Get a shared cache."),
}
"""In the order of the help."""

__all__ = ["CACHE_COMMANDS"]
