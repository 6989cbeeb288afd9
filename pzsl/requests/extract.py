"""The options of stage one, `pzsl.extract`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pzsl.errors import UsageError
from pzsl.requests.option_fields import INPUT, MACHINE, MODEL, OUTPUT, check_kinds, option
from pzsl.requests.values import check_counts, check_ray_devices

ON_ERROR = ("fail", "skip")
ENGINES = ("local", "ray")
DTYPES = ("float32", "float16")
"""Types of stored embeddings."""
PUBLISHED = ("sun", "cub", "awa2", "apy", "flo")
"""The published benchmark data sets."""
OWN_IMAGES = ("folder", "table", "tar")
"""Data sets of the user's own images."""
OWN, VIEWS, PROMPTS = "Images of your own", "Views", "Prompts"
OF_DATA = (
    *("splits", "names", "table", "unseen_file", "classes"),
    *("annotators", "empty", "seed", "unseen", "test"),
)
"""Options that are passed on to the data set's loader, which refuses those it does not take."""

MaybePath = str | Path | None


@dataclass(frozen=True)
class ExtractRequest:
    """What to encode and how; plain values, so that a request can be sent to other processes.

    See `pzsl.extract`.
    """

    dataset: str = option("{datasets}; see 'pzsl datasets'.", INPUT, "shapes")
    root: MaybePath = option(
        "Folder of the images; folder, table and tar also take an address, such as "
        "s3://BUCKET/NAME. "
        "[$PZSL_DATA/NAME or data/NAME]",
        INPUT,
        None,
    )
    model: str | None = option(
        "'tiny', a model of open_clip, local-dir:FOLDER or hf-hub:OWNER/NAME. "
        "[shapes: tiny, others: ViT-B-32]",
        MODEL,
        None,
    )
    pretrained: str | None = option("Tag or checkpoint file of the weights. [openai]", MODEL, None)
    out: MaybePath = option(
        "The cache to write; to an address it is uploaded when complete. [cache/DATASET.h5]",
        OUTPUT,
        None,
    )
    batch_size: int | None = option(
        "Images per batch. [CPU: 32, GPU: what its memory holds]", MACHINE, None
    )
    workers: int | None = option(
        "Threads that read images (and encode, on the CPU). [one per processor]", MACHINE, None
    )
    fetch: bool = option("Download a published data set first, if it is missing.", INPUT, False)
    limit: int | None = option("Encode only this many images, evenly spread.", INPUT, None)
    device: str = option("auto, cpu, cuda, cuda:N or mps.", MACHINE, "auto")
    precision: str | None = option(
        "CPU: fp32 or int8; GPU: fp32, fp16 or bf16. [CPU: fp32, GPU: fp16]", MACHINE, None
    )
    on_error: str = option("If an image is missing or unreadable: fail or skip.", INPUT, "fail")
    overwrite: bool = option("Start again and replace a finished cache.", OUTPUT, False)
    templates: MaybePath = option(
        "Prompt templates, one per line, each with one {}.", PROMPTS, None
    )
    descriptions: MaybePath = option(
        "JSON file of sentences on each class, as CuPL's; in place of templates, or beside "
        "--templates.",
        PROMPTS,
        None,
    )
    dtype: str = option("Type of the stored embeddings: float32 or float16.", OUTPUT, "float32")
    views: int = option("Augmented views of each training image to cache.", VIEWS, 0)
    view_policy: str = option("weak, strong, or mixed (half weak, half strong).", VIEWS, "mixed")
    view_seed: int = option("Seed of the views.", VIEWS, 0)
    shard: str | None = option(
        "I/N: encode only part I (1 to N) of N; 'pzsl merge' joins the parts.", MACHINE, None
    )
    devices: str | Sequence[str] | None = option(
        "One process per device: cuda:0,cuda:1 or cpu,cpu; merged at the end.", MACHINE, None
    )
    engine: str = option("local, or ray for the machines of a Ray cluster.", MACHINE, "local")
    splits: MaybePath = option(
        "The split: a JSON file (folder), or the folder of att_splits.mat (published sets).",
        INPUT,
        None,
    )
    names: MaybePath = option(
        "File of class names for prompts: published name <TAB> name.", PROMPTS, None
    )
    table: Any = option("Table of your images: CSV, Parquet or JSON lines (table).", OWN, None)
    unseen_file: MaybePath = option(
        "File of the unseen classes' names, one per line (table).", OWN, None
    )
    classes: MaybePath = option(
        "File of all class names in order, one per line (table, tar).", OWN, None
    )
    annotators: Any = option(
        "Columns of the table to join, one per annotator: NAME or NAME:WEIGHT.",
        OWN,
        None,
        ("--annotators", "--agree"),
        by_hand=True,
    )
    empty: str | None = option(
        "Images without a label: skip, fail, or unlabelled: every seen class is a candidate "
        "(table). [skip]",
        OWN,
        None,
    )
    seed: int | None = option(
        "Seed of a split that is drawn, or of the drawings (shapes). [0; shapes: 2026]",
        INPUT,
        None,
        ("--split-seed",),
    )
    unseen: float | None = option(
        "Share of classes to make unseen, 0 to 1 (folder, table, tar; for shapes only 0). [0.25]",
        OWN,
        None,
    )
    test: float | None = option(
        "Share of each seen class's images to test on, 0 to 1 (folder, table, tar). [0.2]",
        OWN,
        None,
        ("--test-share",),
    )
    options: dict[str, Any] = option("Options of a plugin's data set.", INPUT, {}, flags=())

    @property
    def data_options(self) -> dict[str, Any]:
        """The given options of the data set, by name, without `root`."""
        values = {name: getattr(self, name) for name in OF_DATA}
        return {name: value for name, value in values.items() if value is not None} | self.options

    def check(self) -> None:
        """Check the values.

        Raises:
            UsageError: a value is out of range; the first such value is reported.
        """
        check_kinds(self)
        check_counts(batch_size=self.batch_size, workers=self.workers, limit=self.limit)
        if self.on_error not in ON_ERROR:
            raise UsageError(f"--on-error is {' or '.join(ON_ERROR)}, not '{self.on_error}'.")
        if self.dtype not in DTYPES:
            raise UsageError(f"--dtype is {' or '.join(DTYPES)}, not '{self.dtype}'.")
        if self.engine not in ENGINES:
            raise UsageError(f"--engine is {' or '.join(ENGINES)}, not '{self.engine}'.")
        if self.engine == "ray":
            listed = self.devices.split(",") if isinstance(self.devices, str) else self.devices
            check_ray_devices(self.device, *(listed or ()))
