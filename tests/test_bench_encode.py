"""The measurement of stage one: fair, whole, and the same vectors on each side."""

from __future__ import annotations

import json

import numpy as np
import open_clip
import pytest
from PIL import Image
from typer.testing import CliRunner

from pzsl.bench import PARTS, bench, encode, timing
from pzsl.cli import app
from pzsl.errors import UsageError

SMALL = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 224, "patch_size": 56, "layers": 1, "width": 64},
    "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
}


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Measure with a small model and few images."""
    (tmp_path / "pzsl-bench.json").write_text(json.dumps(SMALL))
    open_clip.add_model_config(tmp_path / "pzsl-bench.json")
    values = {"MODEL": "pzsl-bench", "CPU_BATCH": 3, "PRODUCT": 64, "cores": lambda: 2}
    for name, value in values.items():
        monkeypatch.setattr(encode, name, value)


def test_each_side_is_measured_and_all_make_the_same_vectors(small):
    result = encode.measure_encode(quick=True)
    assert result["setting"]["images"] == "6 JPEG, 500 x 375"
    assert all(value > 0 for value in result["figures"].values())
    ratios = result["ratios"]
    assert ratios["least cosine, pzsl with open_clip"] >= 0.9999
    assert ratios["least cosine, int8 with fp32"] >= 0.999
    figures = result["figures"]
    faster = figures["pzsl, images a second"] / figures["open_clip README, images a second"]
    assert ratios["pzsl / README"] == pytest.approx(faster)


def test_operations_are_counted(small):
    sides = encode._prepare([])
    tokens, width = 17, 64
    patches = 16 * 3 * 56 * 56 * width
    layers = 2 * (patches + 12 * tokens * width**2 + width * 32)
    attention = 2 * 2 * tokens**2 * width  # counted or not, as torch knows the kernel
    assert encode._flops(sides.model) in (layers, layers + attention)


def test_the_pictures_are_as_large_and_as_detailed_as_photographs(tmp_path):
    files = encode.draw_photographs(tmp_path, 3)
    contents = [file.read_bytes() for file in files]
    assert len(set(contents)) == 3
    assert all(40_000 < len(content) < 250_000 for content in contents)
    assert all(Image.open(file).size == (500, 375) for file in files)
    again = encode.draw_photographs(tmp_path, 3)
    assert [file.read_bytes() for file in again] == contents


def test_sides_are_run_by_turns_and_the_median_is_reported(monkeypatch):
    now, order = [0.0], []
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])

    def side(name, seconds):
        left = iter(seconds)

        def run():
            order.append(name)
            now[0] += next(left)

        return run

    found = timing.interleaved({"a": side("a", [5, 1, 2]), "b": side("b", [1, 1, 9])})
    assert (found, "".join(order)) == ({"a": 2, "b": 1}, "ababab")


def test_an_unknown_part_is_answered_with_those_there_are():
    with pytest.raises(UsageError, match="encode"):
        bench(["encod"])


def test_the_command_prints_figures_or_one_document(monkeypatch):
    result = {"setting": {"images": 3}, "figures": {"x": np.pi}, "ratios": {"y": 1.5}}
    monkeypatch.setattr(encode, "measure_encode", lambda quick: {**result, "quick": quick})
    run = CliRunner().invoke
    text = run(app, ["bench", "encode"]).stdout
    assert "encode: ratios" in text and "3.142" in text
    found = json.loads(run(app, ["bench", "encode", "--quick", "--json"]).stdout)
    assert found == {"encode": {**result, "quick": True}}
    assert "encode" in PARTS
