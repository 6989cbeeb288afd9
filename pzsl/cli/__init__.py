"""The `pzsl` command, one file per command: parse the options, call one public function, print.

A command's file is imported only when the command is called, and no file imports torch, numpy or
h5py at its top, so that `pzsl --help` is quick.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from pzsl.cli.caches import CACHE_COMMANDS
from pzsl.cli.common import complain
from pzsl.cli.options import App, Entry, LazyGroup
from pzsl.cli.sigbus import explain_sigbus
from pzsl.errors import UserError


class Commands(LazyGroup):
    """All commands, in the order in which a user needs them."""

    entries: ClassVar = {
        "demo": Entry("pzsl.cli.demo:demo", "Run the whole pipeline on built-in data, offline."),
        "datasets": Entry(
            "pzsl.cli.datasets:app", "List the known data sets; download one of them."
        ),
        "extract": Entry(
            "pzsl.cli.extract:extract",
            "Stage one: encode images and class names into a cache.",
            True,
        ),
        **CACHE_COMMANDS,
        "prompts": Entry("pzsl.cli.prompts:app", "Show the prompt templates of a data set."),
        "annotate": Entry(
            "pzsl.cli.annotate:annotate", "Make candidate sets from CLIP's predictions."
        ),
        "train": Entry(
            "pzsl.cli.train:train", "Stage two: train methods over noise rates and seeds."
        ),
        "methods": Entry("pzsl.cli.methods:methods", "List the methods, or the options of one."),
        "report": Entry("pzsl.cli.report:report", "Write tables and a page with figures."),
        "labels": Entry("pzsl.cli.labels:labels", "Find wrong labels, and what they should be."),
        "review": Entry(
            "pzsl.cli.review:review", "Make a page to correct doubtful labels by hand."
        ),
        "refine": Entry("pzsl.cli.refine:refine", "Write clean labels: an older form of labels."),
        "pack": Entry("pzsl.cli.pack:pack", "Pack a run into a folder that predicts on its own."),
        "predict": Entry(
            "pzsl.cli.predict:predict", "Predict the classes of new images, also new classes."
        ),
        "env": Entry("pzsl.cli.env:env", "Show versions and devices, for a bug report."),
        "bench": Entry("pzsl.cli.bench:bench", "Measure speed and accuracy on this machine."),
    }


app = App(
    name="pzsl",
    cls=Commands,
    help="Learn image classifiers from ambiguous labels and recognise classes never seen.\n\n"
    "Stage one (extract) caches frozen CLIP embeddings; stage two (train, report) works on the "
    "cache. `pzsl demo` shows the whole way. Add --debug to any command for a traceback."
    "\n\n\b\npzsl extract --dataset sun\npzsl train --cache cache/sun.h5\npzsl report",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(show: bool) -> None:
    if show:
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


def _check_folder() -> None:
    """Refuse a working directory that was removed, which libraries answer with errors of their own.

    Raises:
        UserError: it is not there any more.
    """
    try:
        Path.cwd()
    except FileNotFoundError:
        raise UserError("The folder you are in was removed: cd to another one.") from None


def main() -> None:
    """Entry point. Exit codes: 0 success, 1 failure (one line on stderr), 2 wrong usage."""
    debug = "--debug" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--debug"]
    explain_sigbus()
    # Pillow's warnings name no file; what matters of them, such as transparency, is counted.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    try:
        _check_folder()
        app(prog_name="pzsl")
    except Exception as error:
        if debug:
            raise
        sys.exit(complain(error))
