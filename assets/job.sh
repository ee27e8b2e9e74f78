#!/bin/sh
# A session's job. Constant text: all about the session stands in the folder that is the only argument.
set -eu
folder=$1

# the oldest system Python that will do is 3.9; el8's `python3` is older
for python in python3 python3.13 python3.12 python3.11 python3.10 python3.9; do
    if command -v "$python" >/dev/null 2>&1 &&
        "$python" -I -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then
        found=$python
        break
    fi
done
if [ -z "${found:-}" ]; then
    echo "carme: this node has no Python 3.9 or later" >&2
    exit 2
fi

if [ "${SLURM_JOB_NUM_NODES:-1}" -gt 1 ]; then
    # one agent a node; the first node's runs the apps, and its end ends the others. The step takes no
    # processors away from what the person starts with srun, and is bound to none
    exec srun --overlap --ntasks-per-node=1 --cpu-bind=none --mpi=none --wait=5 --kill-on-bad-exit=1 \
        -- "$found" -I "$folder/agent.pyz" run "$folder/session.json"
fi
exec "$found" -I "$folder/agent.pyz" run "$folder/session.json"
