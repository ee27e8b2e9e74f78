"""Which telemetry the settings name."""

from __future__ import annotations

from backend.telemetry.model import Telemetry
from backend.telemetry.prometheus import PrometheusTelemetry
from backend.telemetry.prometheus.api import Api
from backend.telemetry.remote import Remote
from backend.telemetry.store import StoreReader
from config import Settings


def open_telemetry(settings: Settings) -> Telemetry:
    """What pages ask. Never fails: what can't be read is told by its state."""
    told = settings.telemetry
    if told.source == "prometheus":
        return PrometheusTelemetry(Api(told.prometheus_url, told.prometheus_token), every_s=told.prometheus_every_s)
    data_dir = settings.instance.data_dir
    return StoreReader(data_dir / "telemetry", Remote(data_dir))
