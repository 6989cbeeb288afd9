"""The public API: what `pzsl.__all__` names, typed and documented, and nothing else."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import pzsl
from pzsl.errors import UsageError

SOURCE = Path(pzsl.__file__)
FUNCTIONS = [name for name in pzsl.__all__ if inspect.isfunction(getattr(pzsl, name))]


def seen_by_type_checkers() -> dict[str, str]:
    """Names that pzsl/__init__.py imports for type checkers alone -> the room each is from."""
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    found = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom) and node.module
        found |= {alias.name: ".".join(node.module.split(".")[:2]) for alias in node.names}
    return found


def test_type_checkers_see_what_is_imported_on_first_use():
    assert seen_by_type_checkers() == pzsl._PUBLIC
    assert {*pzsl._PUBLIC, "__version__"} == {*pzsl.__all__}
    assert pzsl.__all__ == sorted(pzsl.__all__)


def test_completion_offers_all_names_before_their_first_use():
    code = "import pzsl, pzsl.inference as room; print({*pzsl.__all__} <= {*dir(pzsl)}, dir(room))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("True") and "PartialLabelClassifier" in done.stdout


def test_each_name_is_there_and_others_are_not():
    for name, room in pzsl._PUBLIC.items():
        assert getattr(pzsl, name) is getattr(import_module(room), name)
    with pytest.raises(AttributeError, match="no attribute 'extracts'"):
        _ = pzsl.extracts


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_public_function_is_typed_and_documented(name):
    function = getattr(pzsl, name)
    signature = inspect.signature(function)
    assert signature.return_annotation not in (inspect.Signature.empty, "Any")
    for parameter in signature.parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty, parameter.name
    text = inspect.getdoc(function) or ""
    parts = text.split("\n\n")
    assert len(parts[0].splitlines()) == 1 and parts[0].endswith(".")
    told = text.split("Args:")[1]
    for parameter in signature.parameters:
        assert parameter in told, parameter
    assert "Raises:" in text
    assert "Returns:" in text or signature.return_annotation in ("None", "Cache", "Dataset")


def test_the_estimator_documents_its_parameters_and_methods():
    kind = pzsl.PartialLabelClassifier
    text = inspect.getdoc(kind) or ""
    assert all(name in text for name in inspect.signature(kind).parameters)
    for name, member in inspect.getmembers(kind, inspect.isfunction):
        if not name.startswith("_") and member.__module__.startswith("pzsl"):
            assert inspect.getdoc(member), name
            assert inspect.signature(member).return_annotation is not inspect.Signature.empty, name


def test_the_package_is_marked_as_typed():
    assert (SOURCE.parent / "py.typed").is_file()


WITH_PATHS = {
    **{"annotate": ["cache", "out"], "apply_corrections": ["corrections", "run", "out", "cache"]},
    **{"labels": ["run", "out", "cache", "runs"], "load_cache": ["path"], "merge": ["out"]},
    **{"pack": ["run", "out", "cache"], "predict": ["run", "out", "root", "cache"]},
    **{"refine": ["run", "out", "cache"], "report": ["runs", "out", "compare"]},
    "review": ["run", "out", "cache", "images", "runs"],
}


@pytest.mark.parametrize("name", WITH_PATHS)
def test_what_is_no_path_is_refused_by_the_name_of_its_argument(name, tmp_path):
    function = getattr(pzsl, name)
    parameters = inspect.signature(function).parameters.values()
    needed = {p.name: str(tmp_path / "x") for p in parameters if p.default is p.empty}
    for argument in WITH_PATHS[name]:
        for value in (3, 1.5, b"x", object(), ["a"]):
            with pytest.raises(UsageError, match=f"'{argument}' should be a text or a path, not"):
                function(**{**needed, argument: value})
    first = WITH_PATHS[name][0]
    if first in needed:
        with pytest.raises(UsageError, match=f"'{first}' should be a text or a path, not None"):
            function(**{**needed, first: None})


def test_an_option_that_only_python_lets_through_is_named_as_python_names_it():
    with pytest.raises(UsageError, match=r"'folder' takes no option 'options'"):
        pzsl.extract(dataset="folder", options={"a": 1})
    with pytest.raises(UsageError, match=r"takes no option 'rooot'. Did you mean 'root'"):
        pzsl.extract(dataset="folder", rooot="x")
