"""What is to be said of a job: did it use what it asked for, and what to change. The rules are data: rules.toml."""

from backend.telemetry.verdicts.jobfacts import FAILURES, job_facts, similar_failures
from backend.telemetry.verdicts.rulebook import Rulebook, RulesUnusable, Verdict, judge

__all__ = ["FAILURES", "Rulebook", "RulesUnusable", "Verdict", "job_facts", "judge", "similar_failures"]
