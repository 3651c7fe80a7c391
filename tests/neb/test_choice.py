"""Which method "auto" means, what it says about it, and what does not go together."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.calculators.emt import EMT

from sciopt.core.errors import InputError
from sciopt.neb.choice import Choice, automatic
from sciopt.neb.coordinates import Coordinates
from sciopt.neb.handover import stored_seconds
from sciopt.neb.images import Images
from sciopt.neb.path import find_path
from sciopt.neb.run_folder import RunFolder

QUICK: dict[str, Any] = {
    "seconds": 0.001,
    "coordinates": 30,
    "noise": 0.0,
    "springs": "uniform",
    "climb": True,
    "given": False,
}
SLOW = {**QUICK, "seconds": 30.0}


@pytest.mark.parametrize(
    ("situation", "method", "words"),
    [
        (QUICK, "imagewise", "auto: imagewise, for evaluations of only 0.001 s"),
        (SLOW, "gp", "auto: gp, for 30 s per evaluation"),
        ({**QUICK, "noise": 0.05}, "lbfgs", "tail averaging, for noisy forces of only 0.001 s"),
        ({**SLOW, "noise": 0.05}, "gp", "30 s"),
        ({**SLOW, "springs": "string"}, "lbfgs", "auto: lbfgs, for string springs"),
        ({**QUICK, "springs": "energy"}, "lbfgs", "auto: lbfgs, for energy springs"),
        ({**QUICK, "given": True}, "gp", "auto: gp, for the prior or the batch that was asked for"),
        ({**SLOW, "climb": 0.5}, "imagewise", "imagewise"),
        ({**SLOW, "climb": False}, "gp", "gp"),
        ({**SLOW, "coordinates": 5000}, "imagewise", "imagewise"),
        # What an earlier session decided holds, whatever the clock says now.
        ({**QUICK, "begun": "gp"}, "gp", "auto: gp, which this run began with"),
        ({**QUICK, "begun": "gp, then band"}, "gp", "auto: gp, which this run began with"),
        ({**SLOW, "begun": "band"}, "imagewise", "that were quick when this run began"),
        ({**SLOW, "begun": "band", "noise": 0.05}, "lbfgs", "that were quick when this run began"),
    ],
)
def test_what_auto_means(situation: dict[str, Any], method: str, words: str) -> None:
    choice = automatic("auto", **situation)
    assert choice.method == method
    assert words in choice.why
    assert "\n" not in choice.why


@pytest.mark.parametrize("method", ["gp", "imagewise", "lbfgs"])
def test_what_was_asked_for_is_not_questioned(method: str) -> None:
    assert automatic(method, **{**SLOW, "springs": "string"}) == Choice(method)


def test_quick_calculators_get_the_image_wise_band(hop: Any) -> None:
    found = find_path(hop.initial, hop.final, EMT, images=5)
    assert found.converged
    assert found.method.startswith("imagewise (auto: imagewise, for evaluations of only 0.0")


def test_slow_calculators_get_the_surrogate(hop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Images, "fastest", property(lambda self: 7.0, lambda self, value: None), raising=False)
    found = find_path(hop.initial, hop.final, EMT, images=5)
    assert found.converged
    assert found.method == "gp (auto: gp, for 7 s per evaluation)"


def test_a_resumed_run_keeps_to_its_method(hop: Any, counting: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """What is remembered takes no time, and says nothing about the calculator."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr("sciopt.neb.run_folder.RunFolder.finish", lambda self, result: None)
    first = find_path(hop.initial, hop.final, EMT, images=5, out=tmp_path / "quick")
    book = counting(EMT)
    again = find_path(hop.initial, hop.final, book, images=5, out=tmp_path / "quick", resume=True)
    assert first.method.startswith("imagewise")
    assert again.method == "imagewise (auto: imagewise, for evaluations that were quick when this run began)"
    assert book.calls == 0
    with monkeypatch.context() as patch:
        patch.setattr(Images, "fastest", property(lambda self: 7.0, lambda self, value: None), raising=False)
        first = find_path(hop.initial, hop.final, EMT, images=5, out=tmp_path / "slow")
    again = find_path(hop.initial, hop.final, book, images=5, out=tmp_path / "slow", resume=True)
    assert first.method.startswith("gp")
    assert again.method == "gp (auto: gp, which this run began with)"
    assert book.calls == 0


def test_times_of_earlier_sessions(hop: Any, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, Coordinates.of(hop.initial))
    assert np.isinf(stored_seconds(folder))
    head = "call,image,purpose,energy_eV,fmax_eV_per_A,seconds\n"
    (tmp_path / "log.csv").write_text(head)
    assert np.isinf(stored_seconds(folder))
    (tmp_path / "log.csv").write_text(head + "1,0,endpoints,-1.0,0.01,0.9000\n2,6,endpoints,-1.0,0.01,0.2000\n3,1,im")
    assert stored_seconds(folder) == 0.2
    # Half a number is no number.
    (tmp_path / "log.csv").write_text(head + "1,0,endpoints,-1.0,0.01,0.9000\n2,6,endpoints,-1.0,0.01,0.0")
    assert stored_seconds(folder) == 0.9


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "lbfgs", "prior": "emt"}, "prior belongs to the Gaussian process; use it with method='gp'"),
        ({"method": "imagewise", "batch": 2}, "batch belongs to the Gaussian process"),
        ({"method": "gp", "batch": 0}, "batch is 0; expected at least 1 image at a time"),
        ({"method": "gp", "springs": "string"}, "method 'gp' spaces its images itself"),
        ({"method": "gp", "certify": "truth"}, "certify is 'truth'; expected 'saddle', 'band' or 'strict'"),
        ({"method": "gp", "max_calls": 0}, "max_calls is 0"),
        ({"method": "kriging"}, "unknown method 'kriging'; known are auto, gp, imagewise"),
        ({"method": "gp", "learning_rate": 0.1}, "learning_rate"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(
    hop: Any, counting: Any, options: dict[str, Any], words: str
) -> None:
    book = counting(EMT)
    with pytest.raises(InputError, match=words) as caught:
        find_path(hop.initial, hop.final, book, images=5, **options)
    assert "\n" not in str(caught.value)
    assert book.calls == 0
