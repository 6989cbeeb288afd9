"""Options outside their ranges, and settings of another type: one line each, exit 2."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest
from problems import write_cache

from pzsl import extract, predict, train
from pzsl.errors import UsageError, UserError
from pzsl.methods import METHODS, load_method, make_options
from pzsl.methods.option_help import describe_options

OPTIONS = [
    (method, option, getattr(load_method(method)[1](), option.name))
    for method in METHODS
    for option in fields(load_method(method)[1])
]
NUMBERS = [(m, o) for m, o, value in OPTIONS if type(value) in (int, float)]
READ_WITH = {
    **{name: {"search": False} for name in ("alpha", "beta")},
    **{name: {"k_means": True} for name in ("layers", "mining_rank")},
    "mixup_alpha": {"mixup": True},
    "fold_share": {"calibrate": True},
}
"""Option -> what has to be set for it to be read, if the method has that."""
CHEAP = ["--method", "clip", "--rate", "0.1", "--seeds", "1", "--workers", "1"]


def test_each_option_states_its_range_or_its_words():
    for method, option, value in OPTIONS:
        told = option.metadata.keys() & {"range", "known"}
        free = isinstance(value, bool) or (method, option.name) == ("conse", "classifier")
        assert bool(told) != free, (method, option.name)


@pytest.mark.parametrize("method", METHODS)
def test_a_number_outside_its_range_is_refused_by_name(method):
    for option in [option for name, option in NUMBERS if name == method]:
        allowed = option.metadata["range"]
        outside = [allowed.low - 1, "nan", "inf", 10**400, True]
        outside += [allowed.low] if allowed.above else []
        outside += [allowed.high] if allowed.below else []
        outside += [allowed.high + 1] if math.isfinite(allowed.high) else []
        for value in outside:
            with pytest.raises(UsageError, match=f"Option '{option.name}' ") as caught:
                make_options(method, changes={option.name: value})
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", METHODS)
def test_each_option_says_by_itself_what_it_does(method):
    for option in describe_options(method):
        assert option["about"] and not option["about"].startswith("of "), option["name"]


def test_the_options_of_a_method_are_listed_as_they_are_set(pzsl):
    code, out, _ = pzsl("methods", "lws")
    assert code == 0
    assert "\nbeta=1.0  (at least 0)\n    leverage of the labels outside the candidates" in out
    assert "\npsi=sigmoid  (sigmoid or logistic)\n" in out
    assert "\ncalibrate=on\n" in out and "\nepochs=10  (at least 0)\n" in out
    assert out.index("psi=") < out.index("epochs=")
    code, _, err = pzsl("methods", "proden2")
    assert code == 2 and "Did you mean 'proden'?" in err


def test_the_line_names_the_range():
    with pytest.raises(UsageError, match="'batch_size' should be at least 1 and at most 1,000,"):
        make_options("proden", changes={"batch_size": 0})
    with pytest.raises(UsageError, match="'temperature' should be above 0, not 0"):
        make_options("pico", changes={"temperature": 0})
    with pytest.raises(UsageError, match=r"'psi' .*'sigmod'.* Did you mean 'sigmoid'"):
        make_options("lws", changes={"psi": "sigmod"})
    with pytest.raises(UsageError, match=r"Unknown method 'prodn'.*'proden'"):
        make_options("conse", changes={"classifier": "prodn"})


@pytest.mark.slow
@pytest.mark.parametrize(("method", "option"), NUMBERS, ids=lambda v: getattr(v, "name", v))
def test_the_ends_of_a_range_train_or_say_why_not(method, option, tmp_path):
    cache = write_cache(tmp_path / "c.h5")
    allowed = option.metadata["range"]
    ends = [max(math.nextafter(allowed.low, 1), 1e-30) if allowed.above else allowed.low]
    if allowed.high == 1:
        ends.append(math.nextafter(1, 0) if allowed.below else 1)
    for end in ends:
        needed = READ_WITH.get(option.name, {})
        budget = {"epochs": 2, "min_steps": 4, option.name: end}
        budget |= {name: on for name, on in needed.items() if hasattr(load_method(method)[1], name)}
        try:
            rows = train(cache, method=method, rate=0.3, seeds=1, settings=budget, workers=1,
                         runs=tmp_path / str(end))["runs"]  # fmt: skip
        except UserError as error:
            assert "diverged" in str(error), (end, str(error))
        else:
            assert all(math.isfinite(rows[0][name]) for name in ("S", "U", "H"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--memory", "nan"], "--memory should be a number from 0"),
        (["--memory", "-1"], "--memory should be a number from 0"),
        (["--checkpoint-seconds", "nan"], "--checkpoint-seconds should be a number"),
        (["--rate", "nan"], "--rate should be a number"),
        (["--rate", "2"], "should lie in 0..1"),
        (["--eta", "inf"], "--eta should be a number"),
        (["--noise", "noisy", "--eta", "3"], "--eta should be a number from 0 to 1"),
        (["--noise", "instance:nan"], "Rate nan"),
        (["--few-shot", "nan"], "--few-shot should be a number"),
        (["--few-shot", "1.5"], "--few-shot should be a whole number"),
        (["--first-seed", "-1"], "--first-seed should be a whole number from 0"),
        (["--seeds", "0"], "--seeds should be a whole number from 1"),
        (["--seeds", "1000000000"], "--seeds should be a whole number from 1"),
        (["--workers", "0"], "--workers should be a whole number from 1"),
        (["--set", "batch_size=0"], "'batch_size' should be at least 1"),
        (["--set", "epochs=inf"], "'epochs' takes a number"),
        (["--set", "fold_share=-1"], "'fold_share' should be above 0"),
    ],
)
def test_a_wrong_number_on_the_command_line_is_one_line(words, told, pzsl, tmp_path):
    cache = str(write_cache(tmp_path / "c.h5"))
    code, out, err = pzsl("train", "--cache", cache, *CHEAP, *words)
    last = err.splitlines()[-1]
    assert (code, out) == (2, "") and last.startswith("pzsl: ") and told in last, err


VALUES = ['"5"', '""', "1.5", "nan", "inf", "-1", "true", "[]", "[1]", "[[1]]", "[{}]", "{}",
          "1979-05-27", "12:30:00", "9" * 18, "1e300", '["a", 1]', '"\\u001b[2J"']  # fmt: skip
KEYS = ["method", "preset", "noise", "rate", "eta", "few_shot", "seeds", "first_seed", "labels",
        "set", "off", "set.lr"]  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
def test_toml_of_any_type_is_read_or_refused_in_one_line(key, pzsl, tmp_path):
    cache = str(write_cache(tmp_path / "c.h5", each=3))
    file = tmp_path / "c.toml"
    for value in VALUES:
        cheap = [w for k in ("method", "rate", "seeds") if k != key for w in (f"--{k}", OWN[k])]
        file.write_text(f"{key} = {value}\n")
        code, _, err = pzsl("train", "--cache", cache, "--config", str(file), "--workers", "1",
                            "--runs", str(tmp_path / "runs"), *cheap)  # fmt: skip
        assert code in (0, 1, 2) and "fault in pzsl" not in err, (value, err)
        assert code == 0 or err.splitlines()[-1].startswith("pzsl: "), (value, err)
        assert "\x1b" not in err


OWN = {"method": "clip", "rate": "0.1", "seeds": "1"}


def test_parts_to_switch_off_may_be_one_text(pzsl, tmp_path):
    cache = str(write_cache(tmp_path / "c.h5"))
    (tmp_path / "c.toml").write_text('off = "calibrate"\nmethod = "clip"\nseeds = 1\nrate = 0.1\n')
    words = ["--config", str(tmp_path / "c.toml"), "--runs", str(tmp_path / "runs"), "--json"]
    assert pzsl("train", "--cache", cache, "--workers", "1", *words)[0] == 0


@pytest.mark.parametrize("name", ["batch_size", "workers"])
def test_counts_of_extract_and_predict_start_at_one(name, tmp_path):
    told = f"--{name.replace('_', '-')} should be a whole number from 1, not 0"
    with pytest.raises(UsageError, match=told):
        predict(tmp_path / "run", [tmp_path / "x.png"], **{name: 0})
    with pytest.raises(UsageError, match=told):
        extract("shapes", out=tmp_path / "x.h5", **{name: 0})
