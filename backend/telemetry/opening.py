"""Which telemetry the settings name."""

from __future__ import annotations

from backend.telemetry.model import Telemetry
from backend.telemetry.remote import Remote
from backend.telemetry.store import StoreReader
from config import Settings


def open_telemetry(settings: Settings) -> Telemetry:
    """What pages ask. Never fails: what can't be read is told by its state."""
    data_dir = settings.instance.data_dir
    return StoreReader(data_dir / "telemetry", Remote(data_dir))
