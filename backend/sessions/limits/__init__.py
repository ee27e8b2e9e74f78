"""What a person may ask for: the scheduler's limits as facts, the choices they leave, what breaks them."""

from __future__ import annotations

from backend.sessions.limits.check import problems
from backend.sessions.limits.choices import Site, choices, completed
from backend.sessions.limits.facts import Facts, PersonFacts, facts_of, person_facts

__all__ = ["Facts", "PersonFacts", "Site", "choices", "completed", "facts_of", "person_facts", "problems"]
