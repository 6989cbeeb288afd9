"""The numbers of every method and preset, as they were written down: only what is meant moves."""

from __future__ import annotations

import pytest
from reference import make_reference as reference

TOLERANCE = 1e-4  # of numbers that mostly are percentages
SLOW = pytest.mark.slow
MADE = [name for name, case in reference.CASES.items() if case.features == "made"]
QUICK_ON_CALTECH = ("clip, default", "clip-pzsl, default", "prototype, default", "probe, default")
NOISY = ("clip, default", "clip-pzsl, default")
LONG_ON_CALTECH = "co-reg, paper"  # a quarter of an hour, more than all others together


@pytest.fixture(scope="module")
def held() -> dict:
    return reference.read_reference()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("reference")


def advice(name: str, held: dict) -> str:
    now, then = reference.made_with(), held["made_with"]
    lines = [
        f'If this is meant: python tests/reference/make_reference.py "{name}"',
        "and raise the constant RESULTS, the number that goes into a run's name, so that records "
        "of the old kind don't pass for new ones. If not: something changed what is computed.",
    ]
    if now != then:
        lines.append(f"(The reference was made with {then}; this is {now}.)")
    return "\n".join(lines)


def differences(system: str, expected: dict, found: dict) -> list[str]:
    return [
        f"{system}: {name} was {expected.get(name, 'absent')}, is {found.get(name, 'absent')}"
        for name in reference.METRICS
        if not same(name, expected, found)
    ]


def same(name: str, expected: dict, found: dict) -> bool:
    if name not in expected or name not in found:
        return name not in expected and name not in found
    pair = expected[name], found[name]
    if None in pair:
        return pair == (None, None)
    # Gamma is the mean of two scores, and follows the last bits of a long training.
    tolerance = 20 * TOLERANCE if name == "gamma" else TOLERANCE
    return pair[0] == pytest.approx(pair[1], abs=tolerance, rel=0)


def check(name: str, systems: list, held: dict, folder) -> None:
    cache = reference.make_cache(reference.CASES[name].features, folder)
    wrong = []
    for system in systems:
        expected = held["numbers"].get(name, {}).get(reference.key(system))
        if expected is None:  # named by the test that compares the reference with the registry
            continue
        found = reference.measure(reference.CASES[name], system, cache, folder / "runs")
        wrong += differences(reference.key(system), expected, found)
    if wrong:
        pytest.fail("\n".join([f"{name}:", *wrong, advice(name, held)]), pytrace=False)


@pytest.mark.parametrize("name", reference.CASES)
def test_every_method_and_preset_has_its_numbers(name, held):
    known = held["numbers"].get(name, {})
    listed = [reference.key(system) for system in reference.systems()]
    wrong = [f"{name}: no numbers are held of: {one}" for one in listed if one not in known]
    wrong += [f"{name}: no such method or preset any more: {o}" for o in known if o not in listed]
    if wrong:
        wrong.append(f'Once: python tests/reference/make_reference.py --missing "{name}"')
        pytest.fail("\n".join(wrong), pytrace=False)


def on_made_features() -> list:
    """Every method and preset on each case.

    The cases after the first differ by the sets alone, so that one of them is quick for the
    methods that all others are compared with, and slow for the others.
    """
    return [
        pytest.param(
            name, system, marks=() if quick else SLOW, id=f"{name}-{reference.key(system)}"
        )
        for system in reference.systems()
        for name, quick in zip(MADE, (True, reference.key(system) in NOISY, False), strict=True)
    ]


@pytest.mark.parametrize(("name", "system"), on_made_features())
def test_numbers_on_made_features(name, system, held, folder):
    check(name, [system], held, folder)


def check_on_caltech(systems: list, held: dict, folder) -> None:
    if reference.caltech_file() is None:
        pytest.skip("no Caltech-101 features: set PZSL_TEST_DATA or put them at ../shared/data")
    check("caltech", systems, held, folder)


def test_numbers_of_quick_methods_on_caltech(held, folder):
    quick = [each for each in reference.systems() if reference.key(each) in QUICK_ON_CALTECH]
    check_on_caltech(quick, held, folder)


@SLOW
def test_numbers_of_other_methods_on_caltech(held, folder):
    apart = (*QUICK_ON_CALTECH, LONG_ON_CALTECH)
    others = [each for each in reference.systems() if reference.key(each) not in apart]
    check_on_caltech(others, held, folder)


@SLOW
def test_numbers_of_the_longest_training_on_caltech(held, folder):
    longest = [each for each in reference.systems() if reference.key(each) == LONG_ON_CALTECH]
    check_on_caltech(longest, held, folder)
