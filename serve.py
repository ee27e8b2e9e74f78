#!/usr/bin/env python3
"""The front door: `python serve.py [--config FILE]` is the same as `carme serve`."""

import sys

from app.cli import main

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))
