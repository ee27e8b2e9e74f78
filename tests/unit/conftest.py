"""Unit tests need no root and no daemon. Property tests have no deadline: a busy machine is no bug."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
