"""Jobs that ended, however long ago: found again in the warehouse."""

from backend.accounting.history.attempts import attempts

__all__ = ["attempts"]
