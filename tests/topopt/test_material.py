from __future__ import annotations

import numpy as np
import pytest

from sciopt.core.errors import InputError
from sciopt.topopt.material import RAMP, SIMP

LAWS = [SIMP(3.0, 2.0, 1e-3), SIMP(1.7, 1.0, 0.0), RAMP(8.0, 2.0, 1e-3), RAMP(0.0)]


@pytest.mark.parametrize("law", LAWS)
def test_ends_are_void_and_solid(law):
    np.testing.assert_allclose(law.modulus(np.array([0.0, 1.0])), [law.Emin, law.E0], rtol=1e-15)


@pytest.mark.parametrize("law", LAWS)
def test_slope_is_the_derivative(law):
    rho = np.linspace(0.05, 0.95, 19)
    errors = []
    for h in (1e-2, 5e-3):
        central = (law.modulus(rho + h) - law.modulus(rho - h)) / (2 * h)
        errors.append(np.abs(central - law.slope(rho)).max())
    # Linear laws have no error to fall, the others that of central differences, h².
    assert errors[0] < 1e-12 or 3.5 < errors[0] / errors[1] < 4.6


def test_published_values():
    # Stolpe and Svanberg: at half density the modulus is 1 / (2 + q), the slope at void 1 / (1 + q).
    half = np.array([0.5])
    np.testing.assert_allclose(RAMP(6.0, 1.0, 0.0).modulus(half), 1 / 8)
    np.testing.assert_allclose(RAMP(6.0, 1.0, 0.0).slope(np.array([0.0])), 1 / 7)
    np.testing.assert_allclose(SIMP(3.0, 1.0, 0.0).modulus(half), 1 / 8)


def test_softened_goes_from_linear_to_itself():
    rho = np.linspace(0.0, 1.0, 11)
    for law in LAWS:
        np.testing.assert_allclose(law.softened(0.0).modulus(rho), law.Emin + rho * (law.E0 - law.Emin), rtol=1e-14)
        assert law.softened(1.0) == law
    assert SIMP(3.0).softened(0.5) == SIMP(2.0)
    assert RAMP(8.0).softened(0.5) == RAMP(4.0)


@pytest.mark.parametrize("make", [lambda: SIMP(0.5), lambda: RAMP(-1.0), lambda: SIMP(np.nan), lambda: RAMP(8.0, 1, 1)])
def test_nonsense_is_refused(make):
    with pytest.raises(InputError, match=r"must be|expected"):
        make()
