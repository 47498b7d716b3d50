"""From numbers to verdicts: which gates a clip fails, with the value and the threshold of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Gate:
    """One rule: ``number`` of every person must not be on the wrong side of ``threshold``.

    Attributes:
        reason: the funnel's word when it fails.
        number: key in a person's numbers.
        side: ``min`` = must be at least, ``max`` = must be at most.
    """

    reason: str
    number: str
    side: Literal["min", "max"]
    threshold: float

    def fails(self, value: float) -> bool:
        """Whether the value is on the wrong side. The threshold itself passes."""
        return value < self.threshold if self.side == "min" else value > self.threshold


@dataclass(frozen=True)
class Failure:
    """A gate that one person failed."""

    reason: str
    person: str
    number: str
    value: float
    side: str
    threshold: float

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return dict(vars(self))


def failed_gates(gates: Sequence[Gate], persons: Mapping[str, Mapping[str, float]]) -> list[Failure]:
    """Every failure, in the order of the gates, then of the persons.

    Args:
        persons: person to name of number to value, from ``quality.json``.

    Raises:
        KeyError: a person lacks a number that a gate asks for.
    """
    return [
        Failure(gate.reason, person, gate.number, float(numbers[gate.number]), gate.side, gate.threshold)
        for gate in gates
        for person, numbers in sorted(persons.items())
        if gate.fails(float(numbers[gate.number]))
    ]
