"""The walls of the house: who may import whom, what stays light, what is never used.

Everything is read from the source with `ast`, or seen in a process of its own.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from quick_processes import run_python

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "pzsl").rglob("*.py"))

GROUND = {
    "cells",
    "errors",
    "files",
    "folders",
    "locks",
    "device",
    "network",
    "plugins",
    "plugin_sources",
    "progress",
    "ray",
    "requests",
    "record_hashes",
    "results_version",
    "thumbnails",
    "remote",
    "sweep_progress",
    "workers",
}
DOOR = {"__init__", "__main__"}  # pzsl/__init__.py and __main__.py only lead into the rooms
NOTHING, ALL = "nothing", "all"

# Beside these, every room but those of NOTHING may stand on the ground.
MAY_IMPORT: dict[str, set[str] | str] = {
    "datasets": set(),
    "encoders": {"datasets"},
    "store": set(),
    "extraction": {"datasets", "encoders", "store", "evaluation"},
    "exchange": {"datasets", "encoders", "store", "extraction"},
    "candidates": set(),
    "annotation": {"store", "candidates"},
    "models": NOTHING,
    "losses": NOTHING,
    "methods": {"models", "losses"},
    "evaluation": set(),
    "training": {"store", "candidates", "models", "methods", "evaluation"},
    "reports": set(),
    "inference": {
        *("datasets", "encoders", "store", "extraction", "exchange", "candidates", "methods"),
        *("training", "evaluation"),
    },
    "demo": {"extraction", "training", "reports"},
    "bench": {
        *("datasets", "encoders", "store", "extraction", "exchange", "candidates", "annotation"),
        *("models", "losses", "methods", "evaluation", "training", "reports", "demo", "inference"),
    },
    "cli": ALL,
}
STAGE_TWO = (
    "store",
    "candidates",
    "annotation",
    "models",
    "losses",
    "methods",
    "evaluation",
    "training",
)


def room_of(file: Path) -> str:
    """The room, or the ground file, that a source file belongs to."""
    return file.relative_to(ROOT / "pzsl").parts[0].removesuffix(".py")


@cache  # several tests look at every file
def nodes_of(source: str) -> list[ast.AST]:
    """All parts of a source file."""
    return [*ast.walk(ast.parse(source))]


def imports_of(file: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of all that a file imports of pzsl, by statement or by a string."""
    for node in nodes_of(file.read_text(encoding="utf-8")):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: write imports from pzsl in full"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [node.value] if re.fullmatch(r"pzsl(\.\w+)+(:\w+)*", node.value) else []
        for name in names:
            if name.startswith("pzsl."):
                yield node.lineno, name.replace(":", ".")


def parts_of_pzsl(file: Path) -> Iterator[tuple[int, str]]:
    """Line and name of each part of pzsl that a file imports."""
    for line, name in imports_of(file):
        yield line, name.split(".")[1]


def module_of(name: str) -> str:
    """The file or folder of an imported name: the longest beginning of it that is one."""
    words = name.split(".")
    while not (
        ROOT.joinpath(*words).is_dir() or ROOT.joinpath(*words).with_suffix(".py").is_file()
    ):
        words = words[:-1]
    return ".".join(words)


def inner_room(module: str) -> str | None:
    """The folder within a room that a module lies in, `pzsl.store.hdf5`; None where in none."""
    words = module.split(".")
    return ".".join(words[:3]) if len(words) > 2 and ROOT.joinpath(*words[:3]).is_dir() else None


def allowed(room: str) -> set[str]:
    """The parts of pzsl that a room may import, itself among them."""
    rule = MAY_IMPORT.get(room, set())
    if rule == NOTHING:
        return {room}
    if rule == ALL:
        return {*MAY_IMPORT, *GROUND, "__version__"}
    return {room, *rule, *GROUND, "__version__"}


# --- who may import whom -------------------------------------------------------------------------


@pytest.mark.parametrize("room", [*MAY_IMPORT, *sorted(GROUND)])
def test_a_room_imports_only_what_it_may(room):
    files = [file for file in FILES if room_of(file) == room]
    assert files, f"pzsl/{room} is in the table of docs/architecture.md, but there is no such room"
    wrong = [
        f"{file.relative_to(ROOT)}:{line} imports pzsl.{part}"
        for file in files
        for line, part in parts_of_pzsl(file)
        if part not in allowed(room)
    ]
    assert not wrong, "\n".join(wrong)


def offered(inner: str, name: str) -> bool:
    """Whether an inner room's `__all__` has a name: a function may be called as its file is."""
    tree = ast.parse(ROOT.joinpath(*inner.split("."), "__init__.py").read_text(encoding="utf-8"))
    values = [node.value for node in ast.walk(tree) if isinstance(node, ast.Assign)]
    lists = [ast.literal_eval(value) for value in values if isinstance(value, ast.List)]
    return any(name.removeprefix(f"{inner}.") in names for names in lists)


def test_an_inner_room_is_entered_by_its_door_only():
    """From outside `pzsl.store.hdf5` only what its `__init__` offers is imported."""
    wrong = []
    for file in FILES:
        home = inner_room(".".join(file.relative_to(ROOT).with_suffix("").parts))
        for line, name in imports_of(file):
            module = module_of(name)
            inner = inner_room(module)
            if inner and inner not in (home, module) and not offered(inner, name):
                wrong.append(f"{file.relative_to(ROOT)}:{line} opens {module}")
    assert not wrong, "\n".join(wrong)


def test_no_file_imports_in_a_circle():
    """Imports under TYPE_CHECKING and inside functions count as well."""
    names = {
        ".".join(f.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): f
        for f in FILES
    }
    left = {
        name: {module_of(used) for _, used in imports_of(file)} & {*names} - {name}
        for name, file in names.items()
        if file.name != "__init__.py"
    }
    while left:
        free = {name for name, needs in left.items() if not needs & set(left)}
        assert free, f"these files import each other: {sorted(left)}"
        left = {name: needs for name, needs in left.items() if name not in free}


def test_no_folder_holds_more_than_20_files():
    folders = Counter(file.parent for file in FILES if file.name != "__init__.py")
    assert not {str(folder): count for folder, count in folders.items() if count > 20}


def test_every_source_file_is_in_a_known_room():
    known = {*MAY_IMPORT, *GROUND, *DOOR}
    assert {room_of(file) for file in FILES} <= known


def test_no_arrow_runs_in_a_circle():
    left = {room: set(rule) for room, rule in MAY_IMPORT.items() if isinstance(rule, set)}
    while left:
        free = {room for room, needs in left.items() if not needs & set(left)}
        assert free, f"these rooms import each other: {sorted(left)}"
        left = {room: needs for room, needs in left.items() if room not in free}


def test_the_table_in_the_docs_says_the_same():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    told: dict[str, set[str] | str] = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        rooms = re.findall(r"`pzsl/(\w+)/`", cells[0])
        if len(cells) != 3 or not rooms:
            continue
        words = {"the ground": set(), NOTHING: NOTHING, ALL: ALL}
        words["all but cli"] = {*MAY_IMPORT} - {"bench", "cli"}
        rule = words.get(cells[2], set(re.split(r",\s*", cells[2])))
        told.update(dict.fromkeys(rooms, rule))
    assert told == MAY_IMPORT
    ground = next(line for line in text.splitlines() if "`pzsl/errors.py`" in line)
    assert set(re.findall(r"(\w+)(?:\.py|/)`", ground.split(" | ")[0])) == GROUND


# --- what stays light ----------------------------------------------------------------------------


def all_modules_after(code: str) -> set[str]:
    """Modules that a fresh interpreter has loaded after running some code."""
    code += "\nimport sys\nprint('\\n' + ' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def modules_after(code: str) -> set[str]:
    """The top-level ones of them."""
    return {name.partition(".")[0] for name in all_modules_after(code)}


IMPORT_WHOLE_ROOMS = """
import importlib, pkgutil
for room in {rooms}:
    package = importlib.import_module("pzsl." + room)
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
"""


def test_help_imports_no_command_and_nothing_heavy():
    code = """
import sys
from pzsl.cli import main
sys.argv = ["pzsl", "--help"]
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
"""
    loaded = all_modules_after(code)
    heavy = {"torch", "open_clip", "torchvision", "numpy", "h5py", "pandas", "scipy", "matplotlib"}
    assert not loaded & {*heavy, "PIL", "jinja2", "tqdm", "pydantic", "rich"}
    own = {name for name in loaded if name.startswith("pzsl.")}
    shared = {f"pzsl.cli.{name}" for name in ("caches", "common", "sigbus", "options")}
    shared |= {f"pzsl.cli.options.{name}" for name in ("command", "lazy")}
    assert own == {"pzsl.cli", "pzsl.errors", "pzsl.progress", *shared}


def test_stage_two_never_imports_open_clip_or_torchvision():
    """In a process that begins with parts of stage two: what they import counts as well."""
    code = IMPORT_WHOLE_ROOMS.format(rooms=STAGE_TWO) + "import sys; print(*sys.modules)"
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "torch" in loaded
    assert not loaded & {"open_clip", "torchvision", "timm", "PIL"}


def test_rooms_that_need_no_torch_never_import_it():
    rooms = ["candidates", "evaluation", "reports"]
    loaded = modules_after(IMPORT_WHOLE_ROOMS.format(rooms=rooms))
    assert not loaded & {"torch", "open_clip", "h5py"}


# --- size ----------------------------------------------------------------------------------------


def test_no_file_is_longer_than_300_lines():
    lengths = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert not {str(file): lines for file, lines in lengths.items() if lines > 300}


def body_length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's code: signature and docstring may be as long as they need."""
    told = isinstance(function.body[0], ast.Expr) and ast.get_docstring(function) is not None
    code = function.body[1:] if told else function.body
    return (function.end_lineno or 0) - code[0].lineno + 1 if code else 0


def test_no_function_is_longer_than_50_lines():
    long = [
        f"{file.relative_to(ROOT)}:{node.lineno} {node.name}"
        for file in FILES
        for node in nodes_of(file.read_text(encoding="utf-8"))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and body_length(node) > 50
    ]
    assert not long


# --- files never execute code --------------------------------------------------------------------

UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
NEEDED = {
    ("torch", "load"): ("weights_only", True),
    ("np", "load"): ("allow_pickle", False),
    ("numpy", "load"): ("allow_pickle", False),
}
UNSAFE_CALLS = {"eval", "exec", "read_pickle", "to_pickle", "unsafe_load", "system", "popen"}


def unsafe_uses(source: str) -> list[str]:
    """What in a source could execute code from a file, one line each."""
    found = []
    for node in nodes_of(source):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            names = [module] if module else [alias.name for alias in node.names]
            bad = {name.partition(".")[0] for name in names} & UNSAFE_MODULES
            found += [f"{node.lineno}: imports {name}" for name in bad]
            if module in {"torch", "numpy"} and "load" in {alias.name for alias in node.names}:
                found.append(f"{node.lineno}: imports load by name")
        elif isinstance(node, ast.Call):
            found += [f"{node.lineno}: {fault}" for fault in unsafe_call(node)]
    return found


def unsafe_call(call: ast.Call) -> Iterator[str]:
    """Why a call could execute code from a file."""
    function = call.func
    keywords = {word.arg: getattr(word.value, "value", None) for word in call.keywords}
    if isinstance(function, ast.Name) and function.id in UNSAFE_CALLS:
        yield f"calls {function.id}"
    if isinstance(function, ast.Attribute):
        owner = function.value.id if isinstance(function.value, ast.Name) else ""
        if (owner, function.attr) in NEEDED:
            name, value = NEEDED[owner, function.attr]
            if keywords.get(name) is not value:
                yield f"calls {owner}.{function.attr} without {name}={value}"
        elif function.attr in UNSAFE_CALLS - {"eval"}:
            yield f"calls {function.attr}"
    if keywords.get("shell") is True:
        yield "runs a shell"


def test_no_file_ever_executes_code():
    found = {
        str(file.relative_to(ROOT)): unsafe_uses(file.read_text(encoding="utf-8")) for file in FILES
    }
    assert not {file: uses for file, uses in found.items() if uses}


@pytest.mark.parametrize(
    ("source", "safe"),
    [
        ("import pickle", False),
        ("from joblib import load", False),
        ("from numpy import load", False),
        ("import torch\ntorch.load(f)", False),
        ("import torch\ntorch.load(f, weights_only=False)", False),
        ("import torch\ntorch.load(f, weights_only=True)", True),
        ("import numpy as np\nnp.load(f)", False),
        ("import numpy as np\nnp.load(f, allow_pickle=False)", True),
        ("eval('1')", False),
        ("model.eval()", True),
        ("pd.read_pickle(f)", False),
        ("subprocess.run(c, shell=True)", False),
    ],
)
def test_the_check_itself_sees_what_it_should(source, safe):
    assert bool(unsafe_uses(source)) is not safe
