"""Costs and budgets: the price list, budgets of accounts, how they are used up, and who is told."""

from backend.accounting.budgets.budgets import Budgets
from backend.accounting.budgets.burndown import BAND, METHOD, Burndown, Forecast
from backend.accounting.budgets.days import name_of
from backend.accounting.budgets.model import (
    METRICS,
    THRESHOLDS,
    BudgetDraft,
    BudgetError,
    BudgetNotFound,
    BudgetRefused,
    BudgetRow,
    Notice,
    PriceDraft,
    PriceRow,
    plain,
)
from backend.accounting.budgets.people import AccountPeople
from backend.accounting.budgets.prices import PriceBook
from backend.accounting.budgets.process import open_watch
from backend.accounting.budgets.watching import BudgetWatch, Console

__all__ = [
    "BAND", "METHOD", "METRICS", "THRESHOLDS", "AccountPeople", "BudgetDraft", "BudgetError", "BudgetNotFound",
    "BudgetRefused", "BudgetRow", "BudgetWatch", "Budgets", "Burndown", "Console", "Forecast", "Notice", "PriceBook",
    "PriceDraft", "PriceRow", "name_of", "open_watch", "plain",
]  # fmt: skip
