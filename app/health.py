"""Whether the console is up, whether it can do its work, and its figures."""

from __future__ import annotations

import time

import psutil

from app.embeds import EmbedDesk
from app.handler import ConsoleHandler
from app.private import ConsoleTornado, count_documents, open_sockets
from backend.store import models

STARTED_S = time.time()


class HealthHandler(ConsoleHandler):
    """Says that this process answers, and no more."""

    def get(self) -> None:
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish("ok\n")

    head = get


class ReadyHandler(ConsoleHandler):
    """Whether the database answers and there is a snapshot of the cluster."""

    async def get(self) -> None:
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        ready = await self.run(self._ready)
        self.set_status(200 if ready else 503)
        self.finish("ready\n" if ready else "not ready\n")

    head = get

    def _ready(self) -> bool:
        with self.services.db.read() as db:
            db.query(models.Login.id).limit(1).all()
        self.services.snapshots.refresh()
        return bool(self.services.snapshots.clusters)


class MetricsHandler(ConsoleHandler):
    """This process's figures in the text format of Prometheus."""

    async def get(self) -> None:
        telemetry = await self.run(self._telemetry)
        console = self.application
        assert isinstance(console, ConsoleTornado)  # noqa: S101 - there is no other here
        process = psutil.Process()
        cpu = process.cpu_times()
        sockets = list(open_sockets(console))
        figures = [
            ("carme_web_documents", "gauge", "Pages kept in memory", count_documents(console)),
            ("carme_web_sockets", "gauge", "Open pages", len(sockets)),
            ("carme_web_embed_figures_total", "counter", "Figures computed for embeds", self._embed_figures()),
            ("carme_web_people", "gauge", "People with an open page", len({name for name, _, _ in sockets})),
            *telemetry,
            ("process_cpu_seconds_total", "counter", "CPU time", cpu.user + cpu.system),
            ("process_resident_memory_bytes", "gauge", "Memory in use", process.memory_info().rss),
            ("process_start_time_seconds", "gauge", "Start of the process", STARTED_S),
        ]
        self.set_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        for name, kind, words, value in figures:
            self.write(f"# HELP {name} {words}\n# TYPE {name} {kind}\n{name} {value}\n")
        await self.finish()

    def _telemetry(self) -> list[tuple[str, str, str, float]]:
        state = self.services.telemetry.state
        found: list[tuple[str, str, str, float]] = [
            ("carme_telemetry_bytes", "gauge", "Telemetry of jobs on disk", state.size_bytes),
            ("carme_telemetry_failing", "gauge", "1 while telemetry can't be taken in or read", int(bool(state.error))),
        ]
        if state.as_of_s is not None:
            found.append(("carme_telemetry_newest_sample_seconds", "gauge", "Newest sample of all", state.as_of_s))
        return found

    def _embed_figures(self) -> int:
        desk: EmbedDesk = self.settings["embed_desk"]
        return desk.figures.made
