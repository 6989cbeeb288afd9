"""Everything that computes, on GPUs that aren't there: no mixed devices, no float64 on MPS, no
NumPy of a GPU's tensor, and few waits for the GPU in a step.
"""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
import pytest
import torch
from pretend_device import DeviceError, PretendDevice, Wait
from problems import write_cache
from torch import Tensor

from pzsl import PartialLabelClassifier, refine, train
from pzsl.device import default_batch, resolve_device, resolve_precision
from pzsl.encoders import load_encoder
from pzsl.errors import UsageError
from pzsl.losses.ragged import add_groups
from pzsl.methods import METHODS, make_options
from pzsl.methods.core import CandidateEntries, Method, Problem
from pzsl.methods.partial_label.partial_method import PartialMethod
from pzsl.models import prototypes
from pzsl.training.calibration import calibrate
from pzsl.training.config import RunConfig
from pzsl.training.engines.batched import fit_groups
from pzsl.training.loop import Fit, fit, fit_all, learning_rate
from pzsl.training.make_method import prepared_method

KINDS = ("cuda", "mps")
IMAGES, SEEN, UNSEEN, DIM, VIEWS = 96, 6, 3, 8, 4
EPOCHS, BATCH = 2, 32
STACKABLE_WAITS, OTHER_WAITS = 1, 4
"""Most waits a step, of methods that train many runs in one program, and of all others."""


ONCE_EACH = {"losses/partial.py"}
"""Where `scatter_add_` meets each cell once, so that no order of additions is left open."""


class System(NamedTuple):
    """What is trained: a preset of a method, with or without cached views."""

    method: str
    preset: str
    views: bool


SYSTEMS = [
    System(method, preset, views)
    for method, entry in METHODS.items()
    for preset in entry.presets
    for views in ((False, True) if "views" in entry.needs else (False,))
]


def unit(array: np.ndarray) -> np.ndarray:
    return (array / np.linalg.norm(array, axis=-1, keepdims=True)).astype(np.float32)


def make_problem(kind: str, system: System) -> Problem:
    """Noisy candidate sets of images near their class's text, on a device."""
    rng = np.random.default_rng(5)
    text = unit(rng.standard_normal((SEEN + UNSEEN, DIM)))
    truth = np.arange(IMAGES) % SEEN
    images = unit(text[truth] + 0.1 * rng.standard_normal((IMAGES, DIM)))
    member = rng.random((IMAGES, SEEN)) < 0.3
    member[np.arange(IMAGES), truth] = rng.random(IMAGES) > 0.2
    member[~member.any(1), 0] = True
    views = unit(images[:, None] + 0.1 * rng.standard_normal((IMAGES, VIEWS, DIM)))

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(kind)

    offsets = np.cumsum([0, *member.sum(1)])
    return Problem(
        tensor(images),
        CandidateEntries.of(tensor(offsets), tensor(np.nonzero(member)[1])),
        tensor(text[:SEEN]),
        tensor(text[SEEN:]),
        scale=20.0,
        views=tensor(views) if system.views else None,
        view_kinds=("weak", "weak", "strong", "strong") if system.views else (),
        truth=tensor(truth) if system.method == "oracle" else None,
        labelled=tensor(np.arange(IMAGES) % 7 == 0) if system.method == "co-reg" else None,
    )


def config_of(system: System, **options) -> RunConfig:
    """A short training in which every part of a method sets in."""
    short = {"epochs": EPOCHS, "batch_size": BATCH, "min_steps": 1, "calibrate": True, **options}
    if system.method == "co-reg":
        short |= {"warm_up": 1, "ramp_up": 1, "late": 0}
    chosen = asdict(make_options(system.method, system.preset, short))
    what = ("made", "", "", system.method, system.preset, "file", None, 0.0, "text")
    return RunConfig(*what, 0, chosen)


class Trained(NamedTuple):
    """A method after training, its scores, and the waits before each of its steps."""

    method: Method
    scores: Tensor
    waits: list[Counter[Wait]]


def train_on(kind: str, system: System, device: PretendDevice | None = None) -> Trained:
    """Train and score on a device that may be pretended."""
    problem, config = make_problem(kind, system), config_of(system)
    method = prepared_method(config, problem, 0)
    waits: list[Counter[Wait]] = []

    def note(base: float, step: int, steps: int) -> float:
        waits.append(Counter() if device is None else device.waits.copy())
        return learning_rate(base, step, steps)

    with mock.patch("pzsl.training.loop.learning_rate", note):  # asked for once in each step
        fit(method, 0)
    with torch.no_grad():
        method.observe_queries(lambda: [problem.images[:30]])
        scores = method.scores(problem.images[:30])
        method.add_classes(0)
    assert {each.device.type for each in (scores, method.weights, *method.parameters())} == {kind}
    return Trained(method, scores.cpu(), waits)


@lru_cache(maxsize=1)  # tests of one system follow each other
def on_the_cpu(system: System) -> Trained:
    return train_on("cpu", system)


def in_no_order(device: PretendDevice) -> set[str]:
    """Files in which CUDA would add numbers in no fixed order."""
    files = {line.split(":")[0] for line in device.unordered} - ONCE_EACH
    return files if device.kind == "cuda" else set()


def waits_in_a_step(waits: list[Counter[Wait]]) -> Counter[Wait]:
    """What the second step of the last epoch, in which every part has set in, waited for."""
    last_epoch = waits[-IMAGES // BATCH :]
    return last_epoch[2] - last_epoch[1] if waits else Counter()


def on_each_kind() -> list:
    """Every system on MPS, which refuses more, and the default of each method on CUDA.

    Other presets take cached views as their defaults do: those are slow tests.
    """
    return [
        pytest.param(
            kind,
            system,
            id=f"{kind}-{'-'.join(map(str, system))}",
            marks=[pytest.mark.slow] * (system.views and system.preset != "default"),
        )
        for system in SYSTEMS
        for kind in KINDS
        if kind == "mps" or system.preset == "default"
    ]


@pytest.mark.parametrize(("kind", "system"), on_each_kind())
def test_a_method_keeps_to_its_device_and_its_steps_hardly_wait(kind, system):
    with PretendDevice(kind) as device:
        trained = train_on(kind, system, device)
        limit = STACKABLE_WAITS if trained.method.stackable else OTHER_WAITS
    waits = waits_in_a_step(trained.waits)
    assert waits.total() <= limit, dict(waits)
    assert not in_no_order(device)
    assert torch.allclose(trained.scores, on_the_cpu(system).scores, atol=1e-2)


@pytest.mark.parametrize(
    ("kind", "system", "closed"),
    [
        ("cuda", System("clip-pzsl", "default", False), False),
        ("mps", System("co-reg", "default", True), False),
        ("mps", System("clip-pzsl", "default", False), True),
    ],
)
def test_gamma_is_chosen_on_a_device_as_on_the_cpu(kind, system, closed):
    chosen = []
    for place in (kind, "cpu"):
        with nullcontext() if place == "cpu" else PretendDevice(kind) as device:
            problem = make_problem(place, system)
            if closed:
                problem = replace(problem, unseen=problem.unseen[:0])
            config = config_of(system, **({"fade": closed} if system.method == "clip-pzsl" else {}))
            method = fit(prepared_method(config, problem, 0), 0)
            chosen.append(fit_all(calibrate(method, problem, config)))
        assert device is None or not in_no_order(device)
    calibrations = [each.probabilities for each in chosen]
    gammas = [each.gamma for each in chosen]
    if closed:
        gammas = [each.added.gamma for each in calibrations]
        calibrations = [each.added.probabilities for each in calibrations]
    assert gammas[0] == pytest.approx(gammas[1], abs=1e-2) and gammas[0] != 0
    assert calibrations[0].temperature == pytest.approx(calibrations[1].temperature, abs=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_many_runs_in_one_program_wait_as_rarely_as_one(kind):
    system = System("clip-pzsl", "default", False)
    with PretendDevice(kind) as device:
        problem = make_problem(kind, system)
        fits = [Fit(prepared_method(config_of(system), problem, seed), seed) for seed in range(2)]
        waits: list[Counter[Wait]] = []

        def note(base: float, step: int, steps: int) -> float:
            waits.append(device.waits.copy())
            return learning_rate(base, step, steps)

        with mock.patch("pzsl.training.engines.batched.learning_rate", note):
            fit_groups(fits)
    assert not in_no_order(device)
    assert waits_in_a_step(waits).total() <= STACKABLE_WAITS
    alone = on_the_cpu(system)
    assert torch.allclose(fits[0].method.weights, alone.method.weights, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_runs_from_a_file_and_from_memory_are_recorded_alike_on_a_device(tmp_path, kind):
    cache = write_cache(tmp_path / "made.h5", seen=6, unseen=3, each=9)
    found = []
    for memory, whole in ((1.0, False), (1e-9, True)):
        settings = {"epochs": 2, "min_steps": 2, "calibrate": whole}
        with PretendDevice(kind) as device:
            what = {"rate": [0.3], "seeds": 1, "settings": settings, "memory": memory}
            done = train(cache, runs=tmp_path / str(memory), device=kind, **what)
        assert not in_no_order(device)
        found.append(done["runs"][0]["disambiguation"])
    assert found[0] == pytest.approx(found[1], abs=2.0)
    run = done["runs"][0]["path"]
    assert f'"device": "{kind}' in (Path(run) / "env.json").read_text(encoding="utf-8")
    assert refine(run, tmp_path / "labels.csv")["images"] == 6 * 6


@pytest.mark.parametrize("kind", KINDS)
def test_the_estimator_keeps_to_its_device(kind):
    problem = make_problem("cpu", System("clip", "default", False))
    text = torch.cat([problem.seen, problem.unseen]).numpy()
    rows = np.split(problem.candidates.labels.numpy(), problem.candidates.offsets[1:-1].numpy())
    images, options = problem.images.numpy(), {"epochs": 1, "min_steps": 1}
    shares = []
    for place in (kind, "cpu"):
        with PretendDevice(kind) as device:
            model = PartialLabelClassifier("proden", options=options, scale=20.0, device=place)
            shares.append(model.fit(images, rows, text).predict_proba(images))
            assert model.method_.weights.device.type == place
        assert not in_no_order(device)
    assert np.allclose(*shares, atol=1e-3)


@pytest.fixture(scope="module")
def embedded() -> tuple[Tensor, Tensor, Tensor]:
    """Pixels of two images, and what the encoder makes of them and of a text on the CPU."""
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    plain = load_encoder("tiny", None, "cpu", "fp32")
    return pixels, plain.encode_images(pixels), plain.encode_texts(["a red star"])


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_encoder_keeps_to_its_device_in_every_precision(kind, precision, embedded):
    pixels, *exact = embedded
    with PretendDevice(kind) as device:
        encoder = load_encoder("tiny", None, kind, precision)
        device.waits.clear()
        found = encoder.encode_images(pixels), encoder.encode_texts(["a red star"])
        assert device.waits.total() == 4  # each goes there and back
        assert not in_no_order(device)
        assert {each.device.type for each in found} == {"cpu"}
    far = {"fp32": 1e-5, "fp16": 0.02, "bf16": 0.1}[precision]
    for one, other in zip(found, exact, strict=True):
        assert one.dtype == torch.float32 and (one - other).norm(dim=1).max() <= far


def test_a_batch_goes_to_the_gpu_without_a_wait_before_it_is_encoded(embedded):
    pixels, plain, _ = embedded
    with PretendDevice("cuda") as device:
        encoder = load_encoder("tiny", None, "cuda", "fp32")
        device.waits.clear()
        there = encoder.upload(pixels)
        assert there.device.type == "cuda" and not device.waits
        found = encoder.encode_images(there)
        assert device.waits.total() == 1  # on the way back
    assert torch.allclose(found, plain, atol=1e-6)
    for kind in (None, "mps"):
        with PretendDevice(kind) if kind else nullcontext():
            encoder = load_encoder("tiny", None, kind or "cpu", "fp32")
            assert encoder.upload(pixels) is pixels


def test_a_batch_that_a_gpu_has_no_room_for_stays_on_the_cpu(embedded):
    large = embedded[0].repeat(100, 1, 1, 1)
    with PretendDevice("cuda", 64 << 20) as device:
        encoder = load_encoder("tiny", None, "cuda", "fp32")
        device.memory = device.held + large.nbytes - 1
        assert encoder.upload(large) is large


@pytest.mark.parametrize(
    ("gibibytes", "images"), [(80, 256), (64, 256), (24, 64), (12, 32), (1, 4), (0.1, 1)]
)
def test_the_batch_of_a_gpu_takes_a_quarter_of_its_memory_at_most(gibibytes, images):
    memory = int(gibibytes * 2**30)
    with PretendDevice("cuda", memory) as device:
        assert default_batch(device.device) == images
        device.held = memory // 2  # what others hold changes no embeddings
        assert default_batch(device.device) == images


@pytest.mark.parametrize(("kind", "name"), [("cuda", "cuda:99"), ("mps", "mps:1")])
def test_a_device_with_a_number_that_is_not_there_is_refused_in_one_line(kind, name):
    with PretendDevice(kind):
        assert resolve_device(f"{kind}:0") == torch.device(kind, 0)
        with pytest.raises(UsageError, match=f"no device '{name}': use --device {kind}:0"):
            resolve_device(name)


def test_fp32_on_cuda_is_not_rounded_by_cudnn(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    resolve_precision("fp16", torch.device("cuda"))
    assert torch.backends.cudnn.allow_tf32
    resolve_precision("fp32", torch.device("cuda"))
    assert not torch.backends.cudnn.allow_tf32


def test_a_pretended_device_refuses_what_a_real_one_would():
    with PretendDevice("mps") as device:
        there = torch.ones(3, 2, device="mps")
        refused = [
            lambda: there + torch.ones(3, 2),
            lambda: torch.ones(3)[there[0].long()],
            there.numpy,
            lambda: np.asarray(there),
            there.double,
            lambda: torch.ones(2, dtype=torch.float64).to("mps"),
            lambda: torch.rand(3, device="mps", generator=torch.Generator()),
            lambda: there.to("cuda"),
            lambda: torch.zeros(1, device="mps:1"),
        ]
        for each in refused:
            with pytest.raises(DeviceError, match=r"test_devices\.py"):
                each()
        device.waits.clear()
        assert [float(there.sum()), there[there > 0].tolist(), there.cpu().tolist()]
        line = {Path(wait.line).name.split(":")[0] for wait in device.waits}
        reasons = Counter(wait.reason for wait in device.waits.elements())
    assert line == {"test_devices.py"}
    assert reasons == {
        "a number is read": 2,
        "its size depends on the data": 1,
        "a copy between devices": 1,
    }


def test_a_double_that_is_put_back_into_the_default_is_found(monkeypatch):
    whitening = prototypes.whitening

    def doubled(covariance: Tensor, images: int) -> Tensor:
        return whitening(covariance.double().float(), images)

    monkeypatch.setattr("pzsl.methods.clip_pzsl.class_statistics.whitening", doubled)
    system = System("clip-pzsl", "default", False)
    with PretendDevice("mps"), pytest.raises(DeviceError, match="MPS knows no float64"):
        train_on("mps", system)
    with PretendDevice("cuda"):
        train_on("cuda", system)


def test_a_sum_in_no_fixed_order_is_found():
    with PretendDevice("cuda") as device:
        there, groups = torch.ones(3, device="cuda"), torch.tensor([0, 1, 0], device="cuda")
        there.clone().scatter_reduce_(0, groups, there, "amax")
        groups.new_zeros(2).index_add_(0, groups, groups)
        assert not device.unordered
        there.new_zeros(2).index_add_(0, groups, there)
        assert device.unordered.total() == 1


@pytest.mark.parametrize("shape", [(40,), (40, 3)])
def test_sums_of_groups_are_the_same_on_every_device(shape):
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(shape, generator=generator)
    groups = torch.randint(0, 5, (40,), generator=generator)
    start = torch.ones(7, *shape[1:])
    expected = torch.stack([start[g] + values[groups == g].sum(0) for g in range(7)])
    for kind in (None, *KINDS):
        with PretendDevice(kind) if kind else nullcontext():
            parts = [each.to(kind or "cpu") for each in (start, groups, values)]
            torch.testing.assert_close(add_groups(*parts).cpu(), expected)


def test_a_wait_that_is_put_back_into_a_step_is_found(monkeypatch):
    follow = PartialMethod.follow

    def impatient(self: PartialMethod, logits: Tensor) -> None:
        assert bool(logits.isfinite().all())
        follow(self, logits)

    monkeypatch.setattr(PartialMethod, "follow", impatient)
    with PretendDevice("cuda") as device:
        trained = train_on("cuda", System("proden", "default", False), device)
    assert waits_in_a_step(trained.waits).total() > STACKABLE_WAITS
