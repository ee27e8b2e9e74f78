"""The truth of the accounts: the console's figures beside sreport and sacct, each difference by its name."""

from __future__ import annotations

from backend.accounting.truth.checks import BadMonth, Check, ask, check_of, last_checks, parted
from backend.accounting.truth.comparison import REASONS, Beside, Comparison, Line, NothingToCompare, compare
from backend.accounting.truth.figures import TRES
from backend.accounting.truth.selfcheck import SelfCheck
from backend.accounting.truth.window import is_month, month_before, month_of

__all__ = [
    "REASONS",
    "TRES",
    "BadMonth",
    "Beside",
    "Check",
    "Comparison",
    "Line",
    "NothingToCompare",
    "SelfCheck",
    "ask",
    "check_of",
    "compare",
    "is_month",
    "last_checks",
    "month_before",
    "month_of",
    "parted",
]
