#!/bin/sh
# Print the Python to build the environment from: the system's own if it is new enough, so that every account
# of the machine may run it, else the first on PATH.
for candidate in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        command -v "$candidate"
        exit 0
    fi
done
echo "Python 3.11 or later was not found. Install it (Debian 12+, Ubuntu 24.04+: apt install python3 python3-venv)." >&2
exit 1
