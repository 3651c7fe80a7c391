"""Calculators by name: options are data, never code, and every mistake is one sentence."""

from __future__ import annotations

import json
import pickle
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import get_calculator_class
from ase.calculators.emt import EMT
from ase.calculators.fd import calculate_numerical_forces
from ase.calculators.names import names
from ase.units import kB
from hypothesis import given
from hypothesis import strategies as st
from tblite.ase import TBLite

from sciopt.calculators import NamedCalculator, calculator_factory, calculator_names
from sciopt.core.errors import InputError


def test_emt() -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    np.testing.assert_array_equal(calculator_factory("emt")().get_forces(atoms), EMT().get_forces(atoms))
    assert calculator_factory("EMT", ["asap_cutoff=True"])().parameters.asap_cutoff is True


def test_lj_is_argon_and_smooth() -> None:
    sigma, epsilon = 3.4, 120 * kB
    calculator = calculator_factory("lj")()
    dimer = Atoms("Ar2", [[0, 0, 0], [2 ** (1 / 6) * sigma, 0, 0]])
    assert calculator.get_potential_energy(dimer) == pytest.approx(-epsilon, rel=1e-9)
    np.testing.assert_allclose(calculator.get_forces(dimer), 0, atol=1e-9)
    distances = np.linspace(2.9 * sigma, 3.1 * sigma, 2001)
    energies, forces = [], []
    for distance in distances:
        dimer.positions[1, 0] = distance
        energies.append(calculator.get_potential_energy(dimer))
        forces.append(calculator.get_forces(dimer)[1, 0])
    assert energies[-1] == forces[-1] == 0
    # A potential that is only shifted at its cutoff has a jump of this size in its force.
    jump = 24 * epsilon * 3.0**-7 / sigma
    assert np.abs(np.diff(forces)).max() < 0.01 * jump
    dimer.positions[1, 0] = 2.6 * sigma
    np.testing.assert_allclose(
        calculator.get_forces(dimer), calculate_numerical_forces(dimer_with(dimer), eps=1e-4), atol=1e-9
    )


def dimer_with(dimer: Atoms) -> Atoms:
    atoms = dimer.copy()
    atoms.calc = calculator_factory("lj")()
    return atoms


def test_lj_options_win_over_the_defaults() -> None:
    parameters = calculator_factory("lj", ["sigma=2.5", "smooth=false"])().parameters
    assert (parameters.sigma, parameters.rc, parameters.smooth) == (2.5, 7.5, False)


@pytest.mark.parametrize("method", ["GFN2-xTB", "GFN1-xTB", "IPEA1-xTB"])
def test_tblite_is_quiet(method: str, capfd: pytest.CaptureFixture[str]) -> None:
    water = molecule("H2O")
    calculator = calculator_factory(f"tblite:{method.lower()}")()
    energy = calculator.get_potential_energy(water)
    assert capfd.readouterr() == ("", "")
    assert energy == pytest.approx(TBLite(method=method, verbosity=0).get_potential_energy(water), abs=1e-6)


def test_tblite_options_reach_it() -> None:
    water = molecule("H2O")
    factory = calculator_factory("tblite", ["charge=1", "multiplicity=2", 'solvation=["alpb", "water"]'])
    expected = TBLite(charge=1, multiplicity=2, solvation=("alpb", "water"), verbosity=0)
    assert factory.options["method"] == "GFN2-xTB"
    assert factory().get_potential_energy(water) == pytest.approx(expected.get_potential_energy(water), abs=1e-6)


def test_factories_can_be_sent_to_other_processes() -> None:
    for spec in ("emt", "lj", "tblite:GFN1-xTB", "morse", "orca"):
        factory = calculator_factory(spec)
        copy = pickle.loads(pickle.dumps(factory))
        assert isinstance(copy, NamedCalculator)
        assert (copy.name, copy.make, copy.options) == (factory.name, factory.make, factory.options)


def test_every_call_makes_a_new_calculator() -> None:
    factory = calculator_factory("emt")
    assert factory() is not factory()


@pytest.mark.parametrize("name", ["morse", "nwchem", "vasp", "mopac", "espresso"])
def test_names_are_those_of_ase(name: str) -> None:
    assert calculator_factory(name).make is get_calculator_class(name)
    assert set(names) < set(calculator_names())


def test_options_are_literals() -> None:
    texts = [
        "a=1",
        "b=-2.5e-3",
        "c=true",
        "d=False",
        "e=PBE",
        "f=[4, 4, 1]",
        'g={"x": null}',
        "h=None",
        "i=.5",
        "j=a=b",
    ]
    texts += ["k=1_000", 'l="1"', "m=", "n=NaN", "o=+3", "p=1e5", "q=2."]
    options = calculator_factory("nwchem", texts).options
    values = [1, -2.5e-3, True, False, "PBE", [4, 4, 1], {"x": None}, None, 0.5, "a=b", "1_000", "1", "", "NaN", 3, 1e5]
    values.append(2.0)
    assert list(options) == list("abcdefghijklmnopq")
    assert list(options.values()) == values
    assert [type(value) for value in options.values()] == [type(value) for value in values]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=5,
    )
)
def test_json_comes_back_as_it_was(value: object) -> None:
    assert calculator_factory("nwchem", [f"key={json.dumps(value)}"]).options["key"] == value


@given(st.text(alphabet="()_.'os systemimport+ *", min_size=1).map(str.strip))
def test_text_is_never_evaluated(text: str) -> None:
    assert calculator_factory("nwchem", [f"key={text}"]).options["key"] == text


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("emtt", [], r"unknown calculator 'emtt' \(did you mean emt\?\); known: .*tblite"),
        ("gfn2", [], r"unknown calculator 'gfn2' \(did you mean tblite:GFN2-xTB\?\)"),
        ("os", [], "unknown calculator 'os'"),
        ("os.path:join", [], "unknown calculator"),
        ("ase.calculators.emt:EMT", [], "unknown calculator"),
        ("socketio", [], "unknown calculator"),
        ("", [], "unknown calculator ''"),
        ("emt:x", [], "emt takes nothing after a colon"),
        ("tblite:GFN-2xTB", [], r"tblite has no method 'GFN-2xTB' \(did you mean GFN2-xTB\?\)"),
        ("tblite:GFN2-xTB", ["method=GFN1-xTB"], "method of tblite is given twice"),
        ("tblite", ["acuracy=0.1"], r"tblite has no option 'acuracy' \(did you mean accuracy\?\); known: method"),
        ("lj", ["cutoff=3"], "lj has no option 'cutoff'; known: epsilon, sigma, rc, ro, smooth"),
        ("emt", ["x=1"], "emt has no option 'x'; known: asap_cutoff"),
        ("emt", ["asap_cutoff"], "'asap_cutoff' is not of the form key=value"),
        ("emt", ["1=2"], "'1=2' is not of the form key=value"),
        ("lj", ["rc=5", "rc=6"], "option 'rc' is given twice"),
        ("vasp", ["kpts=[4,4"], r"option kpts=\[4,4 is not valid JSON"),
    ],
)
def test_mistakes_are_named(spec: str, options: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        calculator_factory(spec, options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("spec", "module", "package"),
    [("mace_mp", "mace", "mace-torch"), ("asap", "asap3", "asap3"), ("tblite:GFN2-xTB", "tblite", "tblite")],
)
def test_missing_packages_are_named(spec: str, module: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for loaded in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=f"needs the Python package {module}, .* pip install {package}$"):
        calculator_factory(spec)


def test_what_a_calculator_refuses_is_named() -> None:
    with pytest.raises(InputError, match=r"calculator tip3p cannot be made with radius=3: .*unexpected keyword"):
        calculator_factory("tip3p", ["radius=3"])()
    with pytest.raises(InputError, match=r"calculator tersoff cannot be made with no options: .*parameters"):
        calculator_factory("tersoff")()
