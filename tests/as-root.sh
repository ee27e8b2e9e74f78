#!/bin/sh
# Run a command as root: directly, by sudo without a password, or say that it can't be.
if [ "$(id -u)" = 0 ]; then exec "$@"; fi
if sudo -n true 2>/dev/null; then exec sudo -n -E "$@"; fi
echo "This needs root: the real cluster runs under accounts of its own. Run it as root or allow sudo without a password." >&2
exit 1
