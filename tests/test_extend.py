"""The door for others: the plugins of docs/extend.md as printed, by each way of naming."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from problems import write_cache
from safetensors.torch import save_file
from standin import make_sun

import pzsl as library
from pzsl import plugins
from pzsl.candidates import known_noises
from pzsl.datasets import known_datasets, load_dataset
from pzsl.errors import UsageError, UserError
from pzsl.methods import known_methods, make_options
from pzsl.plugin_sources import own_files, source_hash

DOC = Path(__file__).parents[1] / "docs" / "extend.md"
BLOCK = re.compile(r"^```python\n# (\w+)\.py\n(.*?)^```", re.MULTILINE | re.DOTALL)
ENTRY_POINTS = re.compile(r'^    \[project\.entry-points\."(.+)"\]\n    (.+)$', re.MULTILINE)
QUICK = {"epochs": 2, "min_steps": 4, "calibrate": False}


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home of its own, so that nothing is remembered from elsewhere."""
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setattr(plugins, "_places", {})
    return tmp_path / "home"


@pytest.fixture
def printed(tmp_path, home) -> Path:
    """A folder with each file of docs/extend.md, as printed."""
    folder = tmp_path / "printed"
    folder.mkdir()
    for name, code in BLOCK.findall(DOC.read_text(encoding="utf-8")):
        (folder / f"{name}.py").write_text(code, encoding="utf-8")
    assert {file.stem for file in folder.iterdir()} >= {"sharpen", "neighbours", "flat"}
    return folder


@pytest.fixture
def package(printed, tmp_path, monkeypatch) -> Path:
    """The same files as an installed package `my_package`, with the entry points as printed."""
    site = tmp_path / "site"
    (site / "my_package").mkdir(parents=True)
    (site / "my_package" / "__init__.py").write_text("")
    for file in printed.iterdir():
        (site / "my_package" / file.name).write_text(file.read_text(encoding="utf-8"))
    info = site / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    groups = ENTRY_POINTS.findall(DOC.read_text(encoding="utf-8"))
    lines = [f"[{group}]\n{line.replace(chr(34), '')}\n" for group, line in groups]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(site)
    yield site
    for name in [name for name in sys.modules if name.split(".")[0] == "my_package"]:
        del sys.modules[name]


def sweep(cache: Path, **options) -> list[dict]:
    how = {"rate": 0.3, "seeds": 1, "workers": 1, "runs": cache.parent / "runs"}
    return library.train(cache, **{**how, "settings": QUICK, **options})["runs"]


@pytest.fixture
def cache(tmp_path) -> Path:
    return write_cache(tmp_path / "toy.h5")


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for shade, name in enumerate(("cat", "dog", "red fox")):
        for number in (1, 2, 3):
            pixels = np.full((20, 20, 3), 60 * shade + number, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{name}-{number}.png")
    return folder


# --- a method ------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["file", "module", "entry point"])
def test_the_printed_method_trains_resumes_reports_refines(cache, package, printed, way):
    name = {
        "file": f"{printed}/sharpen.py:Sharpen",
        "module": "my_package.sharpen:Sharpen",
        "entry point": "sharpen",
    }[way]
    (row,) = sweep(cache, method=name)
    called = {"file": "sharpen.py:Sharpen"}.get(way, name)
    assert row["method"] == called and 0 < row["T1"] <= 100
    folder = Path(row["path"])
    before = (folder / "metrics.json").stat().st_mtime_ns
    assert sweep(cache, method=name) == [row]  # finished: not done again
    assert (folder / "metrics.json").stat().st_mtime_ns == before
    config = json.loads((folder / "config.json").read_text())
    assert config["options"]["sharpness"] == 2.0
    assert len(config["plugins"][f"methods {called}"]["source"]) == 64
    report = library.report(cache.parent / "runs", cache.parent / "report", ["csv"])
    assert [one["method"] for one in report["rows"]] == [called]
    refined = library.refine(folder, out=cache.parent / "labels.csv")
    assert refined["images"] > 0


def test_label_weights_of_the_printed_method_learn(cache, printed):
    settings = {"epochs": 5, "min_steps": 60, "calibrate": False}
    name = f"{printed}/sharpen.py:Sharpen"
    (row,) = sweep(cache, method=name, settings=settings)
    assert row["disambiguation"] > 60
    (other,) = sweep(cache, method=name, settings={**settings, "sharpness": 0.01})
    assert other["path"] != row["path"] and other["disambiguation"] != row["disambiguation"]


def test_workers_find_the_plugin_as_well(cache, printed):
    rows = sweep(cache, method=f"{printed}/sharpen.py:Sharpen", seeds=2, workers=2)
    assert len(rows) == 2


def test_a_run_is_named_after_what_is_in_the_file_not_where_it_lies(cache, printed, tmp_path):
    (row,) = sweep(cache, method=f"{printed}/sharpen.py:Sharpen")
    moved = tmp_path / "moved" / "sharpen.py"
    moved.parent.mkdir()
    moved.write_text((printed / "sharpen.py").read_text())
    assert sweep(cache, method=f"{moved}:Sharpen")[0]["path"] == row["path"]
    moved.write_text(moved.read_text() + "\n# another state\n")
    assert sweep(cache, method=f"{moved}:Sharpen")[0]["path"] != row["path"]


def test_so_is_a_run_of_conse_with_a_classifier_from_a_file(cache, printed, tmp_path):
    def path(file: Path) -> str:
        settings = QUICK | {"classifier": f"{file}:Sharpen"}
        return sweep(cache, method="conse", settings=settings)[0]["path"]

    first, copy = path(printed / "sharpen.py"), tmp_path / "sharpen.py"
    copy.write_text((printed / "sharpen.py").read_text())
    assert path(copy) == first
    copy.write_text(copy.read_text() + "\n# another state\n")
    assert path(copy) != first


@pytest.fixture
def in_parts(printed, tmp_path, monkeypatch) -> Path:
    """The folder of a package `parted`, whose method takes its sharpness from another file."""
    folder = tmp_path / "parted"
    folder.mkdir()
    text = (printed / "sharpen.py").read_text(encoding="utf-8")
    text = text.replace("self.options.sharpness *", "FACTOR *")
    (folder / "main.py").write_text(f"from .lib.factor import FACTOR\n{text}")
    (folder / "lib").mkdir()
    (folder / "lib" / "factor.py").write_text("FACTOR = 2.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield folder
    forget("parted")


def forget(package: str) -> None:
    """Forget a package, as a new process would."""
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        del sys.modules[name]


def test_a_run_is_named_after_all_files_of_a_plugin(cache, in_parts):
    def path() -> str:
        return sweep(cache, method="parted.main:Sharpen")[0]["path"]

    first = path()
    (in_parts / "lib" / "factor.py").write_text("FACTOR = 0.1\n")
    with pytest.raises(UserError, match=r"factor\.py has changed since Python imported it"):
        path()
    forget("parted")
    plugins._imported.clear()
    with pytest.raises(UserError, match=r"has changed since .*, or what it imports: factor\.py\)"):
        library.refine(first, out=cache.parent / "labels.csv")
    plugins._places.clear()
    assert path() != first


def test_only_modules_of_its_own_belong_to_a_plugin(tmp_path):
    for name, text in {
        "lab/mine.py": "import numpy, helper, lab.models.net as net\nfrom pzsl import train",
        "lab/helper.py": "from .models import *",
        "lab/models/__init__.py": "import broken",
        "lab/models/net.py": "from .. import mine",
        "lab/models/broken.py": "def (",
        "lab/other.py": "",
        "lab/pzsl/__init__.py": "",
        "site-packages/alone.py": "import helper",
        "site-packages/helper.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = own_files(tmp_path / "lab" / "mine.py")
    names = {file.relative_to(tmp_path / "lab").as_posix() for file in found}
    files = {"mine.py", "helper.py", "models/__init__.py", "models/net.py", "models/broken.py"}
    assert names == files
    alone = tmp_path / "site-packages" / "alone.py"
    assert own_files(alone) == [alone]
    before = source_hash(found)
    shutil.move(tmp_path / "lab", tmp_path / "moved" / "lab")
    assert source_hash(own_files(tmp_path / "moved" / "lab" / "mine.py")) == before


def test_a_record_says_what_is_missing_of_its_plugin(cache, printed, monkeypatch):
    (row,) = sweep(cache, method=f"{printed}/sharpen.py:Sharpen")
    file = printed / "sharpen.py"
    text = file.read_text()
    file.write_text(text + "\n# changed\n")
    with pytest.raises(UserError, match=r"'sharpen\.py:Sharpen' has changed since"):
        library.refine(row["path"], out=cache.parent / "labels.csv")
    file.unlink()
    with pytest.raises(UserError, match=r"'sharpen\.py:Sharpen': there is no file"):
        library.refine(row["path"], out=cache.parent / "labels.csv")
    library.report(cache.parent / "runs", cache.parent / "report", ["csv"])


def test_a_record_runs_no_code_that_was_never_named_here(cache, printed, home):
    (row,) = sweep(cache, method=f"{printed}/sharpen.py:Sharpen")
    (home / ".cache" / "pzsl" / "plugins").unlink()
    named = (
        r"never used on this machine.*'pzsl train --cache CACHE --method \S+/sharpen\.py:Sharpen'"
    )
    with pytest.raises(UserError, match=named):
        library.refine(row["path"], out=cache.parent / "labels.csv")


# --- noise ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["file", "module", "entry point"])
def test_the_printed_noise_draws_sets(cache, package, printed, way):
    name = {
        "file": f"{printed}/neighbours.py:Neighbours",
        "module": "my_package.neighbours:Neighbours",
        "entry point": "neighbours",
    }[way]
    rows = sweep(cache, method="clip", noise=[f"{name}:0.25", name], rate=[0.5])
    assert [row["rate"] for row in rows] == [0.25, 0.5]
    sizes = [json.loads(Path(row["path"], "metrics.json").read_text()) for row in rows]
    assert sizes[0]["mean_candidates"] < sizes[1]["mean_candidates"]
    assert all(size["truth_outside"] == 0 for size in sizes)


def test_the_reports_commands_make_the_runs_again(pzsl, cache, printed):
    """From any folder, with plugins, threads and features in blocks."""
    method, noise = f"{printed}/sharpen.py:Sharpen", f"{printed}/neighbours.py:Neighbours"
    conse = QUICK | {"classifier": method}
    rows = sweep(cache, method=[method, "clip"], noise=noise, memory=0)
    rows += sweep(cache, method="conse", settings=conse, threads=2)
    report = library.report(cache.parent / "runs", cache.parent / "report", ["csv"])
    for row in report["rows"]:
        words = [*shlex.split(row["command"])[1:], "--runs", cache.parent / "again"]
        assert pzsl(*words, "--workers", "1")[0] == 0
        assert ("--threads 2" in row["command"]) == (row["method"] == "conse")
    again = {path.parent.name for path in (cache.parent / "again").rglob("metrics.json")}
    assert again == {Path(row["path"]).name for row in rows}


# --- a data set and an encoder -------------------------------------------------------------------


@pytest.mark.parametrize("way", ["file", "module", "entry point"])
def test_the_printed_data_set_is_extracted(pzsl, package, printed, photos, tiny_weights, way):
    name = {"file": f"{printed}/flat.py:load", "module": "my_package.flat:load"}.get(way, "flat")
    words = ["--model", "tiny", "--pretrained", tiny_weights, "--json"]
    out = photos.parent / "flat.h5"
    code, text, err = pzsl("extract", "--dataset", name, "--root", photos, "--out", out, *words)
    assert code == 0, err
    assert json.loads(text)["images"] == 9 and json.loads(text)["classes"] == 3
    origin = dict(load_dataset(name, root=str(photos)).origin)
    assert origin["plugin source"] and origin["plugin"].endswith(name.rpartition("/")[2])
    code, _, err = pzsl("extract", "--dataset", name, "--roots", photos)
    assert code == 2 and "--root" in err


@pytest.fixture
def image_weights(tmp_path) -> Path:
    """A small image encoder of timm with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model("test_vit")
    save_file(model.state_dict(), tmp_path / "vit.safetensors")
    return tmp_path / "vit.safetensors"


@pytest.mark.parametrize("way", ["file", "entry point"])
def test_the_printed_encoder_of_images_alone_works_with_attributes(
    pzsl, package, printed, tmp_path, image_weights, way
):
    name = {"file": f"{printed}/image_encoder.py:ImageEncoder"}.get(way, "image-encoder")
    root, out = tmp_path / "sun", tmp_path / "sun.h5"
    make_sun(root)
    words = ["--dataset", "sun", "--root", root, "--out", out, "--model", name]
    code, _, err = pzsl("extract", *words, "--pretrained", f"test_vit={image_weights}")
    assert code == 0, err
    assert "the encoder reads no texts" in err
    cache = library.load_cache(out)
    assert cache.provenance["model"] == name.rpartition("/")[2] and not cache.templates
    (row,) = sweep(out, method="clip-pzsl", labels="attributes")
    found = library.predict(row["path"], [root / "images" / "a" / "abbey" / "sun_0.jpg"])
    assert len(found["images"]) == 1
    with pytest.raises(UserError, match="more than prompts"):
        library.predict(row["path"], [root / "images"], classes=["attic"])


def test_an_encoder_of_images_alone_needs_attributes(printed, photos, image_weights):
    name = f"{printed}/image_encoder.py:ImageEncoder"
    how = {"model": name, "pretrained": f"test_vit={image_weights}", "out": photos / "x.h5"}
    with pytest.raises(UserError, match="reads no texts, and flat has no attributes"):
        library.extract(f"{printed}/flat.py:load", photos, **how)


def test_an_encoder_that_needs_weights_says_so(pzsl, printed, photos):
    words = ["--dataset", f"{printed}/flat.py:load", "--root", photos, "--out", photos / "x.h5"]
    code, _, err = pzsl("extract", *words, "--model", f"{printed}/image_encoder.py:ImageEncoder")
    assert code == 2 and err.count("\n") == 1
    assert "Name a model of timm: --pretrained vit_small" in err


# --- names, and what goes wrong ------------------------------------------------------------------


def test_installed_plugins_are_listed_and_offered(pzsl, package, cache):
    assert "sharpen" in known_methods() and "neighbours" in known_noises()
    assert "flat" in known_datasets()
    _, out, _ = pzsl("methods", "--json")
    assert "sharpen" in [row["name"] for row in json.loads(out)["methods"]]
    _, out, _ = pzsl("train", "--help")
    assert "sharpen" in out and "neighbours" in out
    code, _, err = pzsl("train", "--cache", cache, "--method", "sharpn")
    assert code == 2 and "Did you mean 'sharpen'?" in err
    code, _, err = pzsl("train", "--cache", cache, "--noise", "neighbors")
    assert code == 2 and "Did you mean 'neighbours'?" in err


def test_installed_plugins_that_have_a_name_of_ours_or_of_another_are_told(pzsl, package, cache):
    points = package / "my_package-1.0.dist-info" / "entry_points.txt"
    text = points.read_text()
    points.write_text(text.replace("sharpen =", "clip ="))
    train = "train", "--cache", cache, "--runs", cache.parent / "runs", "--seeds", "1"
    _, _, err = pzsl(*train, "--method", "clip", "--rate", "0.1")
    assert "'clip' is the built-in one: the installed plugin of this name is my_package." in err
    points.write_text(text)
    shutil.copytree(points.parent, package / "other-1.0.dist-info")
    metadata = package / "other-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("my-package", "other"))
    again = package / "other-1.0.dist-info" / "entry_points.txt"
    assert pzsl(*train, "--method", "sharpen", "--rate", "0.1")[0] == 0  # the same one twice
    again.write_text(text.replace("sharpen:Sharpen", "another:Sharpen"))
    code, _, err = pzsl(*train, "--method", "sharpen", "--rate", "0.1")
    assert code == 1 and "'sharpen': name one of my_package.another:Sharpen, my_package." in err
    assert pzsl("methods")[0] == pzsl(*train, "--method", "my_package.sharpen:Sharpen")[0] == 0


def test_options_of_a_plugin_are_read_as_ours(printed):
    name = f"{printed}/sharpen.py:Sharpen"
    assert make_options(name, changes={"sharpness": "3"}).sharpness == 3.0
    with pytest.raises(UserError, match="sharpness"):
        make_options(name, changes={"sharpnes": 3})


BROKEN = {
    "syntax": ("def x(:", "can't be loaded: SyntaxError"),
    "import": ("import nowhere_at_all", "can't be loaded: ModuleNotFoundError"),
    "exit": ("raise SystemExit(3)", "can't be loaded: SystemExit"),
    "absent": ("", "has no 'Sharpen': name a class that inherits from pzsl.methods.core.Method"),
    "no method": ("class Sharpen: pass", "is not a method"),
    "no options": (
        "from pzsl.methods.core import Method\nclass Sharpen(Method):\n    Options = dict",
        "Options should be a dataclass",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_plugin_that_cannot_be_used_is_blamed_by_name(pzsl, cache, tmp_path, home, kind):
    code, told = BROKEN[kind]
    (tmp_path / "mine.py").write_text(code)
    rc, out, err = pzsl("train", "--cache", cache, "--method", f"{tmp_path}/mine.py:Sharpen")
    assert rc in (1, 2) and out == ""
    last = err.strip().splitlines()[-1]
    assert "mine.py:Sharpen'" in last and told in last and "fault in pzsl" not in last


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("os:nosuch", "has no 'nosuch': name a class that inherits from"),
        ("os:path", "is not a method"),
        ("sys:nosuch", "is part of Python itself"),
        ("nowhere:X", "can't be imported: install"),
    ],
)
def test_a_module_that_has_no_such_plugin_is_reported_as_what_it_is(name, told, pzsl, cache, home):
    code, _, err = pzsl("train", "--cache", cache, "--method", name)
    assert code in (1, 2) and f"Plugin '{name}'" in err and told in err


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "self.last = logits.detach()",
            "raise KeyError('seven')",
            "failed: KeyError: 'seven' (line",
        ),
        ('"weights"', '"others"', "failed: AttributeError"),
        (
            "    def after_step",
            "    def describe(self):\n        return 3\n\n    def after_step",
            "made pzsl fail: TypeError",
        ),
        (
            "    def after_step",
            "    def scores(self, images):\n        return images\n\n    def after_step",
            "should give scores",
        ),
    ],
)
def test_a_plugin_that_fails_at_work_is_blamed_by_name(pzsl, cache, printed, old, new, told):
    file = printed / "sharpen.py"
    file.write_text(file.read_text().replace(old, new))
    words = ["--seeds", "1", "--rate", "0.3", "--workers", "1", "--runs", cache.parent / "runs"]
    words += ["--set", "epochs=2,min_steps=4", "--off", "calibrate"]
    code, out, err = pzsl("train", "--cache", cache, "--method", f"{file}:Sharpen", *words)
    last = err.strip().splitlines()[-1]
    assert code == 1 and out == ""
    assert "Sharpen'" in last and told in last and "fault in pzsl" not in last


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("return rate", "should draw a bool array"),
        ("return np.zeros((len(images.truth), 2), bool)", "should draw a bool array"),
        ("return np.zeros((len(images.truth), len(images.labels)), bool)", "empty candidate set"),
        ("return 1 / 0", "failed: ZeroDivisionError"),
    ],
)
def test_noise_that_draws_no_sets_is_blamed_by_name(pzsl, cache, tmp_path, home, body, told):
    (tmp_path / "mine.py").write_text(
        f"import numpy as np\n\ndef draw(images, rate, eta):\n    {body}\n"
    )
    code, _, err = pzsl("train", "--cache", cache, "--noise", f"{tmp_path}/mine.py:draw")
    last = err.strip().splitlines()[-1]
    assert code == 1 and "mine.py:draw'" in last and told in last


def test_a_data_set_and_an_encoder_that_are_none_are_blamed(tmp_path, home):
    (tmp_path / "mine.py").write_text("def load():\n    return 3\n")
    with pytest.raises(UserError, match="is not a data set"):
        load_dataset(f"{tmp_path}/mine.py:load")
    (tmp_path / "mine.py").write_text("class Mine:\n    def __init__(self, **given): pass\n")
    with pytest.raises(UserError, match="is not an encoder: it has no 'identity'"):
        library.extract(model=f"{tmp_path}/mine.py:Mine", out=tmp_path / "x.h5", limit=4)


def test_a_module_that_was_edited_after_its_import_is_reported(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    mine, theirs = tmp_path / "edited_mine.py", tmp_path / "edited_theirs.py"
    for file in (mine, theirs):
        file.write_text("class Enc:\n    VERSION = 1\n")
    importlib.import_module(theirs.stem)  # by a notebook, before pzsl
    theirs.write_text("class Enc:\n    VERSION = 22\n")
    try:
        found = [plugins.find("encoders", f"{mine.stem}:Enc") for _ in range(2)]
        assert {plugin.target.VERSION for plugin in found} == {1} and not capsys.readouterr().err
        mine.write_text("class Enc:\n    VERSION = 22\n")
        with pytest.raises(plugins.PluginError, match="changed since Python imported it"):
            plugins.find("encoders", f"{mine.stem}:Enc")
        plugins.find("encoders", f"{theirs.stem}:Enc")
        assert "if its module was imported before that" in capsys.readouterr().err
    finally:
        for file in (mine, theirs):
            sys.modules.pop(file.stem, None)


def test_two_files_of_one_name_are_told_apart(cache, printed, tmp_path):
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "sharpen.py"
    other.write_text((printed / "sharpen.py").read_text() + "\n# other\n")
    with pytest.raises(UserError, match=r"Two plugins are both called 'sharpen\.py:Sharpen'"):
        sweep(cache, method=[f"{printed}/sharpen.py:Sharpen", f"{other}:Sharpen"])


def test_what_is_not_there_says_so(pzsl, cache, home):
    code, _, err = pzsl("train", "--cache", cache, "--method", "nowhere.py:Mine")
    assert code == 2 and "there is no file" in err
    code, _, err = pzsl("train", "--cache", cache, "--method", "no_such_module:Mine")
    assert code == 2 and "no_such_module" in err and "can't be imported" in err


@pytest.mark.parametrize("group", plugins.GROUPS)
def test_a_file_without_a_name_in_it_is_refused_with_how_to_give_it(tmp_path, group):
    (tmp_path / "mine.py").write_text("x = 1")
    with pytest.raises(UsageError, match=r"mine\.py' is a file: name a .* in it, as in .*py:NAME"):
        plugins.find(group, str(tmp_path / "mine.py"))
