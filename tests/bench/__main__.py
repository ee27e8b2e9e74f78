"""Run the figures: `python -m tests.bench [--only NAME ...]`."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path

PARTS = tuple(
    sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, help="run this part only; may be repeated")
    wanted = parser.parse_args().only or PARTS
    failed = False
    for part in wanted:
        try:
            for figure in importlib.import_module(f"tests.bench.{part}").figures():
                line = asdict(figure) | {"value": round(figure.value, 4)}
                print(json.dumps(line), flush=True)
        except Exception:
            logging.exception("%s failed", part)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
