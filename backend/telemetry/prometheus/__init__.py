"""Telemetry of a Prometheus or VictoriaMetrics that scrapes the nodes' agents."""

from backend.telemetry.prometheus.source import PrometheusTelemetry

__all__ = ["PrometheusTelemetry"]
