"""Each option is said once: Python, its docstring and the command line's help list the same."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.main import get_command

import pzsl as library
from pzsl.candidates import known_noises
from pzsl.cli import app
from pzsl.datasets import known_datasets
from pzsl.errors import UsageError
from pzsl.methods import METHODS, known_methods
from pzsl.requests import LABELS, ExtractRequest, TrainRequest, described, is_plain_name

PAIRS = pytest.mark.parametrize(
    ("command", "request_of"), [("train", TrainRequest), ("extract", ExtractRequest)]
)
OF_THE_COMMAND = {"train": {"--config", "--json"}, "extract": {"--float16", "--json"}}
"""What only a command line needs: a file of options, how to print, a short form."""


@PAIRS
def test_python_takes_the_options_of_the_request_with_their_defaults(command, request_of):
    signature = inspect.signature(getattr(library, command)).parameters
    options = {one.name: one for one in described(request_of)}
    assert signature.keys() == options.keys()
    for name, parameter in signature.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            continue
        given = None if parameter.default is parameter.empty else parameter.default
        assert given == options[name].default, name
        assert (parameter.default is parameter.empty) == options[name].required, name


@PAIRS
def test_the_docstring_tells_every_option(command, request_of):
    text = inspect.getdoc(getattr(library, command)) or ""
    told = text.split("Args:")[1].split("Returns:")[0]
    named = set()
    for names in re.findall(r"^\s*(\w+(?:, \w+)*): ", told, re.MULTILINE):
        named |= set(names.split(", "))
    assert {one.name for one in described(request_of)} <= named


@PAIRS
def test_the_command_line_takes_the_options_of_the_request(command, request_of):
    group = get_command(app)
    params = group.commands[command].params
    flags = {flag for param in params for flag in param.opts if flag != "--help"}
    wanted = {flag for one in described(request_of) for flag in one.flags}
    assert flags == wanted | OF_THE_COMMAND[command]


@PAIRS
def test_the_help_tells_every_option_its_kinds_and_its_default(pzsl, command, request_of):
    code, out, _ = pzsl(command, "--help")
    assert code == 0 and max(map(len, out.splitlines())) <= 80
    shown = re.sub(r"\s+", " ", out)
    for one in described(request_of):
        for flag in one.flags:
            assert re.search(rf"{flag} ", shown), flag
        if isinstance(one.default, str | float) and not isinstance(one.default, bool):
            value = f"{one.default:g}" if isinstance(one.default, float) else str(one.default)
            assert f"[{value}]" in shown, one.name
        if one.flags:
            assert f"{one.group}:" in out, one.group


def test_train_and_extract_say_every_name_that_they_know(pzsl):
    train, extract = (re.sub(r"\s+", " ", pzsl(name, "--help")[1]) for name in ("train", "extract"))
    presets = {preset for entry in METHODS.values() for preset in entry.presets}
    for name in (*known_methods(), *known_noises(), *presets, *LABELS):
        assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", train), name
    for name in known_datasets():
        assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", extract), name


def test_values_of_a_request_keep_their_plain_types():
    kinds = {
        type(one.default) for made in (TrainRequest, ExtractRequest) for one in described(made)
    }
    assert kinds <= {type(None), bool, int, float, str, tuple}
    assert is_plain_name("sun")


def test_images_of_one_s_own_that_are_given_as_a_data_set_are_met_with_the_right_option(
    pzsl, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("my photos").mkdir()
    Path("labels.csv").write_text("path,label\n")
    told = "Unknown data set 'my photos'. For a folder of your own images: "
    told += '--dataset folder --root "my photos".'
    code, _, err = pzsl("extract", "--dataset", "my photos")
    assert code == 2 and told in err
    with pytest.raises(UsageError, match=re.escape(told)):
        library.extract(Path("my photos"))
    with pytest.raises(UsageError, match=r"table of your own images: --table labels\.csv\.$"):
        library.extract("labels.csv")
    with pytest.raises(UsageError, match="Did you mean 'sun'"):
        library.extract("sum")


@pytest.mark.parametrize(
    "call",
    [
        library.extract,
        lambda frame: library.train("cache.h5", settings=frame),
        library.labels,
        library.report,
        lambda frame: library.PartialLabelClassifier(scale=frame).fit(np.eye(2), [0, 1]),
    ],
)
def test_a_wrong_value_is_shown_in_one_line_however_long_it_is(call):
    with pytest.raises(UsageError) as error:
        call(pd.DataFrame({"path": ["a.png"] * 100}))
    assert "\n" not in str(error.value) and "not a value of type DataFrame" in str(error.value)
