"""The commands on cache files that exist."""

from __future__ import annotations

from pzsl.cli.caches import export, import_, inspect, merge
from pzsl.cli.options import App


def add_cache_commands(app: App) -> None:
    """Register them, in the order of the help."""
    app.command("merge", short_help="Shards into one cache.")(merge.merge)
    app.command("import", short_help="Features made elsewhere into a cache.")(import_.import_)
    app.command("export", short_help="A cache as .npz or Parquet.")(export.export)
    app.command("inspect", short_help="What a cache holds, and whether it is whole.")(
        inspect.inspect
    )
