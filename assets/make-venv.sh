#!/bin/sh
# make-venv.sh PYTHON FOLDER: a fresh virtual environment, also where Debian's python3-venv is not installed.
set -eu
python=$1 folder=$2
[ -n "$python" ] || exit 1 # find-python.sh has said what is missing
rm -rf "$folder"
if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" = 0 ]; then as_root=""; elif sudo -n true 2>/dev/null; then as_root="sudo -n"; else
        echo "This Python can't make virtual environments. As root: apt install $package. Then run make again." >&2
        exit 1
    fi
    echo "installing $package ..."
    $as_root apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -q --no-install-recommends "$package" >/dev/null
fi
"$python" -m venv "$folder"
# What an editable install builds with.
PIP_DISABLE_PIP_VERSION_CHECK=1 "$folder/bin/python" -m pip --quiet install 'setuptools>=68' wheel
