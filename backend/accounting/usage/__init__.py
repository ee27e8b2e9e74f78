"""The usage engine: one function computes every figure, for pages, embeds, exports, REST and the command line."""

from backend.accounting.usage.drill import ORDERS, Cell, JobRows
from backend.accounting.usage.engine import Usage
from backend.accounting.usage.figures.filters import jobs_in_scope
from backend.accounting.usage.money.prices import GPU, PRICED, Price, PriceList, Prices
from backend.accounting.usage.terms.catalogue import CATALOGUE, JOB_SIZES, TIME, Catalogue, Dimension, Metric
from backend.accounting.usage.terms.question import Answer, BadQuestion, Definitions, Question, Scope

__all__ = [
    "CATALOGUE", "GPU", "JOB_SIZES", "ORDERS", "PRICED", "TIME", "Answer", "BadQuestion", "Catalogue", "Cell",
    "Definitions", "Dimension", "JobRows", "Metric", "Price", "PriceList", "Prices", "Question", "Scope", "Usage",
    "jobs_in_scope",
]  # fmt: skip
