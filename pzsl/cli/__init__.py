"""The `pzsl` command: one file per command; each parses, calls one public function, prints.

No file of this room imports torch, numpy or h5py at its top: `pzsl --help` has to be quick.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pzsl.cli import (
    annotate,
    bench,
    datasets,
    demo,
    env,
    extract,
    labels,
    methods,
    pack,
    predict,
    prompts,
    refine,
    report,
    review,
    train,
)
from pzsl.cli.caches import add_cache_commands
from pzsl.cli.common import complain
from pzsl.cli.options import App

app = App(
    name="pzsl",
    help="Learn image classifiers from ambiguous labels and recognise classes never seen.\n\n"
    "Stage one (extract) caches frozen CLIP embeddings; stage two (train, report) works on the "
    "cache. `pzsl demo` shows the whole way. Add --debug to any command for a traceback."
    "\n\n\b\npzsl extract --dataset sun\npzsl train --cache cache/sun.h5\npzsl report",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo", short_help="The whole pipeline on built-in data, offline.")(demo.demo)
app.add_typer(datasets.app, name="datasets", short_help="Known data sets, and how to fetch them.")
app.command(
    "extract", short_help="Stage one: images and prompts into a cache.", no_args_is_help=True
)(extract.extract)
add_cache_commands(app)
app.add_typer(prompts.app, name="prompts", short_help="Prompt templates of a data set.")
app.command("annotate", short_help="Candidate sets from what CLIP answers.")(annotate.annotate)
app.command("train", short_help="Stage two: methods, noise rates and seeds.")(train.train)
app.command("methods", short_help="What can be trained, with its source.")(methods.methods)
app.command("report", short_help="Tables and one page with figures.")(report.report)
app.command("labels", short_help="Which labels are wrong, and what they should be.")(labels.labels)
app.command("review", short_help="A page to correct doubtful labels by hand.")(review.review)
app.command("refine", short_help="Clean labels: the old name of labels.")(refine.refine)
app.command("pack", short_help="A folder that predicts without cache and run.")(pack.pack)
app.command("predict", short_help="Classes of new images, also ones never seen.")(predict.predict)
app.command("env", short_help="This machine, as a bug report needs it.")(env.env)
app.command("bench", short_help="How fast this machine encodes, loads and trains.")(bench.bench)


def _print_version(wanted: bool) -> None:
    if wanted:
        from pzsl import __version__

        typer.echo(f"pzsl {__version__}")
        raise typer.Exit


@app.callback()
def _whole(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point: exit 0 done, 1 could not (one line), 2 wrong usage."""
    debug = "--debug" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--debug"]
    try:
        app(prog_name="pzsl")
    except Exception as error:
        if debug:
            raise
        sys.exit(complain(error))
