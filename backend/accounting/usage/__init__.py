"""The usage engine: one function computes every figure, for pages, embeds, exports, REST and the command line."""

from backend.accounting.usage.drill import ORDERS, Cell, JobRows
from backend.accounting.usage.engine import Usage
from backend.accounting.usage.figures.filters import AccountTree, jobs_in_scope, put_projects
from backend.accounting.usage.money.prices import GPU, PRICED, Price, PriceList, Prices
from backend.accounting.usage.terms.catalogue import (
    CATALOGUE,
    JOB_SIZES,
    NO_PROJECTS,
    PROJECT,
    PROJECT_METHOD,
    TIME,
    Catalogue,
    Dimension,
    Metric,
)
from backend.accounting.usage.terms.question import Answer, BadQuestion, Definitions, Question, Scope

__all__ = [
    "CATALOGUE", "GPU", "JOB_SIZES", "NO_PROJECTS", "ORDERS", "PRICED", "PROJECT", "PROJECT_METHOD", "TIME",
    "AccountTree", "Answer", "BadQuestion", "Catalogue", "Cell", "Definitions", "Dimension", "JobRows", "Metric",
    "Price", "PriceList", "Prices", "Question", "Scope", "Usage", "jobs_in_scope", "put_projects",
]  # fmt: skip
