"""The usage engine: one function computes every figure, for pages, embeds, exports, REST and the command line."""

from backend.accounting.usage.catalogue import CATALOGUE, JOB_SIZES, TIME, Catalogue, Dimension, Metric
from backend.accounting.usage.drill import ORDERS, Cell, JobRows
from backend.accounting.usage.engine import Usage
from backend.accounting.usage.question import Answer, BadQuestion, Definitions, Question, Scope

__all__ = [
    "CATALOGUE", "JOB_SIZES", "ORDERS", "TIME", "Answer", "BadQuestion", "Catalogue", "Cell", "Definitions",
    "Dimension", "JobRows", "Metric", "Question", "Scope", "Usage",
]  # fmt: skip
