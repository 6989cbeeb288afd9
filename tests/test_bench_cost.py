"""The bench of costs: a law with three constants, solved for three sizes and asked about others."""

from __future__ import annotations

import numpy as np
import pytest

from pzsl.bench import PARTS, cost
from pzsl.bench.cost import NAMES, Size
from pzsl.errors import UserError
from pzsl.store import load_cache, merge_parts


def law(size: Size) -> dict[str, float]:
    """Costs that follow the model exactly, with other constants for each quantity."""
    cells = size.images * size.classes
    return {name: k + 2e-5 * size.images + 3e-9 * k * cells for k, name in enumerate(NAMES)}


def test_a_fourth_size_that_follows_the_model_is_predicted_exactly(monkeypatch):
    monkeypatch.setattr(cost, "measure", law)
    found = cost.measure_cost(quick=False)
    assert list(found["ratios"].values()) == pytest.approx([1] * len(NAMES))
    name = NAMES[-1]
    assert found["figures"][f"{name}, 10^6 images"] == pytest.approx(20)
    assert found["figures"][f"{name}, 10^9 cells"] == pytest.approx(3 * (len(NAMES) - 1))
    billion = found["figures"][f"1e+09 images, 1,000 classes: {name}"]
    assert billion == pytest.approx(law(Size(10**9, 1000))[name])


def test_a_size_that_does_not_follow_it_shows_in_its_ratio(monkeypatch):
    fourth = cost.PREDICTED
    doubled = {name: 2 * value for name, value in law(fourth).items()}
    monkeypatch.setattr(cost, "measure", lambda size: doubled if size == fourth else law(size))
    ratios = cost.measure_cost(quick=False)["ratios"]
    assert list(ratios.values()) == pytest.approx([0.5] * len(NAMES))


def test_cells_never_cost_less_than_nothing():
    sizes = cost.MEASURED
    constants = cost.solve(sizes, [1.0, 4.0, 1.9])
    assert constants[2] == 0
    assert cost.predict(constants, sizes[0]) == pytest.approx(1, abs=0.1)
    exact = cost.solve(sizes, [law(size)["disk, GiB"] for size in sizes])
    np.testing.assert_allclose(exact, [4, 2e-5, 1.2e-8], rtol=1e-6)


def test_the_parts_that_are_measured_make_a_whole_cache(tmp_path):
    files = cost.write_parts(tmp_path / "x.h5", Size(1100, 10))
    assert len(files) == cost.PARTS
    merge_parts(files, tmp_path / "x.h5")
    cache = load_cache(tmp_path / "x.h5")
    assert len(cache.images) == 1100 and len(cache.classes) == 10 and cache.seen.sum() == 9


@pytest.mark.slow
def test_a_size_is_measured_in_a_process_and_a_fault_there_is_one_line():
    found = cost.measure(Size(2000, 20))
    assert set(found) == set(NAMES) and all(value > 0 for value in found.values())
    with pytest.raises(UserError, match="The run on 1 x 20 failed") as caught:
        cost.measure(Size(1, 20))
    assert "\n" not in str(caught.value)


def test_it_is_a_part_of_the_bench():
    assert PARTS["cost"].function == "pzsl.bench.cost:measure_cost"
