"""What the reaction-path benchmark records of one run, and how a claim is judged."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BARRIER_TOLERANCE", "FALSE_ABOVE", "FORCE_TOLERANCE", "Outcome"]

BARRIER_TOLERANCE = 0.010  # eV
# eV/Å, by what was claimed. An optimizer that stops at |F| < 0.05 is not blamed for the last digit of a recalculation;
# a band of which not every image was evaluated where it lies is certified to 10 % more.
FORCE_TOLERANCE = {"saddle": 0.0501, "band": 0.055, "strict": 0.0501}
FALSE_ABOVE = 0.055  # eV/Å: a claim whose recalculated force is above this is a false certificate


@dataclass(frozen=True)
class Outcome:
    """What one method did from one start.

    Attributes
    ----------
    problem, seed, method, tuned
        Which run; `tuned` problems were looked at when constants were chosen.
    calls
        Calculator calls on movable images, counted outside the method; fallbacks and checks are included.
    success
        The barrier is within 10 meV of the reference and the force below the tolerance of the claim, both recalculated.
    claimed
        Whether the method said that it converged.
    barrier_error
        Recalculated barrier minus reference, eV.
    fmax
        Recalculated largest band force, eV/Å; true force on the climbing image where only the saddle is claimed.
    cpu_ms
        CPU time of the method per band point, calculators excluded, ms.
    note
        Why it stopped, or what broke.
    coordinates
        Free components; 0 where it was not recorded.
    rounds
        Band points, or batches of evaluations: what would be waited for if every image had its own processor.
    prior_calls
        Calls of the prior mean, counted outside the method.
    cpu_seconds
        CPU time of the whole run, calculators and prior excluded, s.
    claim
        What was certified: ``"saddle"`` (the climbing image), ``"band"`` (all images, with a model's word for some),
        ``"strict"`` (all images, each evaluated where it lies), or nothing.
    fallback
        Whether the method gave up its own way and another one finished.
    """

    problem: str
    seed: int
    method: str
    tuned: bool
    calls: int
    success: bool
    claimed: bool
    barrier_error: float
    fmax: float
    cpu_ms: float
    note: str
    coordinates: int = 0
    rounds: int = 0
    prior_calls: int = 0
    cpu_seconds: float = 0.0
    claim: str = ""
    fallback: bool = False

    @property
    def key(self) -> tuple[str, int, str]:
        """What makes two outcomes the same run."""
        return self.problem, self.seed, self.method

    @property
    def false_certificate(self) -> bool:
        """The claimed force does not hold up."""
        return self.claimed and not self.fmax < FALSE_ABOVE

    @property
    def wrong_barrier(self) -> bool:
        """The claimed force holds up, at another saddle than the reference."""
        return self.claimed and not self.false_certificate and not abs(self.barrier_error) < BARRIER_TOLERANCE
