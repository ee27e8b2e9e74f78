"""The usage engine: one function computes every figure, for pages, embeds, exports, REST and the command line."""

from backend.accounting.usage.question import Answer, BadQuestion, Definitions, Question, Scope

__all__ = ["Answer", "BadQuestion", "Definitions", "Question", "Scope"]
