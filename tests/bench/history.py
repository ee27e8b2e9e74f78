"""Searching the history of a million and ten million jobs: what people usually ask for, and the harder questions.

Each question is another one each time (other people, other windows, other words); the files are those of the usage
bench, in the page cache. CARME_BENCH_HISTORY: how many jobs, with commas.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator

from backend.accounting.history import History, HistoryPage, HistoryQuestion, Range
from backend.accounting.usage import Scope
from backend.accounting.warehouse import Warehouse
from tests.bench import Figure, _jobs
from tests.bench._console import percentile
from tests.bench.usage import DAY_S, warehouse_of

SIZES = [int(rows) for rows in os.environ.get("CARME_BENCH_HISTORY", "1000000,10000000").split(",")]
TIMES = 40
ALL = Scope(everything=True)
NAMES = ("train", "relax", "align", "sweep", "bash", "mesh")


def _questions(history: History, draw: random.Random) -> dict[str, tuple[str, Callable[[], HistoryPage]]]:
    """By name: the goal, and what asks a new one whenever it is called."""

    def person() -> int:
        return draw.randrange(_jobs.PEOPLE)

    def until_s() -> int:
        return _jobs.UNTIL_S - draw.randrange(600) * DAY_S

    def own(number: int) -> Scope:
        return Scope(user=f"user{number:03d}", uid=20_000 + number)

    def window(days: int) -> tuple[int, int]:
        end_s = until_s()
        return end_s - days * DAY_S, end_s

    usual: dict[str, Callable[[], HistoryPage]] = {
        "own_last_month": lambda: history.search(HistoryQuestion(*window(30)), own(person())),
        "failed_of_user": lambda: history.search(
            HistoryQuestion(users=(f"user{person():03d}",), states=("FAILED",)), ALL
        ),
        "name_90d": lambda: history.search(
            HistoryQuestion(*window(90), name=f"{draw.choice(NAMES)[1:]}-{draw.randrange(40)}"), ALL
        ),
        "gpu_model_week": lambda: history.search(
            HistoryQuestion(*window(7), gpu_types=(draw.choice(["a100", "h100"]),)), ALL
        ),
        "job_number": lambda: history.search(HistoryQuestion(jobs=(1_000_000 + draw.randrange(1_000_000),)), ALL),
        "account_tree_month": lambda: history.search(
            HistoryQuestion(*window(30), accounts=(f"faculty{draw.randrange(_jobs.FACULTIES)}",)), ALL
        ),
    }
    hard: dict[str, Callable[[], HistoryPage]] = {
        "no_such_name_ever": lambda: history.search(HistoryQuestion(name=f"x{draw.random()}"), ALL),
        "idle_cpus_ever": lambda: history.search(
            HistoryQuestion(gpus=Range(4), cpu_percent=Range(None, draw.uniform(10, 20))), ALL
        ),
        "largest_year": lambda: history.search(HistoryQuestion(*window(365), sort="cpus"), ALL),
    }
    return {name: ("<= 200", ask) for name, ask in usual.items()} | {name: ("", ask) for name, ask in hard.items()}


def figures() -> Iterator[Figure]:
    for rows in SIZES:
        size = f"{rows // 1_000_000}m" if rows >= 1_000_000 else str(rows)
        warehouse = Warehouse(warehouse_of(rows))
        history = History(warehouse, clock=lambda: _jobs.UNTIL_S)
        for name, (goal, ask) in _questions(history, random.Random(11)).items():
            ask()  # the files' footers are read once in a process
            times = [_timed(ask) for _ in range(TIMES)]
            against = f"{rows} jobs, {TIMES} different questions, a page of 50"
            yield Figure(f"history_{name}_{size}_p50_ms", percentile(times, 50) * 1000, "ms", "", against)
            yield Figure(f"history_{name}_{size}_p95_ms", percentile(times, 95) * 1000, "ms", goal, against)
        warehouse.close()


def _timed(ask: Callable[[], HistoryPage]) -> float:
    began = time.perf_counter()
    ask()
    return time.perf_counter() - began
