"""The commands on cache files that exist."""

from __future__ import annotations

from pzsl.cli.caches import export, import_, inspect, merge, share
from pzsl.cli.options import App


def add_cache_commands(app: App) -> None:
    """Register them, in the order of the help."""
    app.command("merge", short_help="Shards into one cache.")(merge.merge)
    app.command("import", short_help="Features made elsewhere into a cache.")(import_.import_)
    app.command("export", short_help="A cache as .npz or Parquet.")(export.export)
    app.command("inspect", short_help="What a cache holds, and whether it is whole.")(
        inspect.inspect
    )
    app.command("push", short_help="Share a cache on the Hugging Face hub.")(share.push)
    app.command("pull", short_help="Get a shared cache.")(share.pull)
