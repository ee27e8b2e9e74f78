"""Embeds: what other sites' pages get of the console, by a token and nothing else."""

from __future__ import annotations

from app.embeds.desk import EmbedDesk
from app.embeds.handlers import ROUTES

__all__ = ["ROUTES", "EmbedDesk"]
