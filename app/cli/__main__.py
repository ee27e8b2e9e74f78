"""`python -m app.cli`, the same as `carme`."""

import sys

from app.cli import main

sys.exit(main())
