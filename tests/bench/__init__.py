"""The figures: how fast, how heavy, how many. `make bench` prints each as one JSON line.

A module here that has `figures()` yields `Figure`s. Ratios are measured side by side in one run.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measured number; `goal` reads like "<= 150", `against` says what it was held against."""

    name: str
    value: float
    unit: str
    goal: str = ""
    against: str = ""
