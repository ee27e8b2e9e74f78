#!/bin/sh
# find-python.sh [3.12]: print the Python to build an environment from, 3.11 or what is asked for at least: the
# system's own if it is new enough, so that every account of the machine may run it, else the first on PATH.
least=${1:-3.11}
for candidate in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
    if "$candidate" -c "import sys; sys.exit(sys.version_info < (3, ${least#3.}))" 2>/dev/null; then
        command -v "$candidate"
        exit 0
    fi
done
case $least in
3.11) systems="Debian 12+, Ubuntu 24.04+" ;;
*) systems="Debian 13+, Ubuntu 24.04+" ;;
esac
echo "Python $least or later was not found. Install it ($systems: apt install python3 python3-venv)." >&2
exit 1
