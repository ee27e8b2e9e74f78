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

others=$((${SLURM_JOB_NUM_NODES:-1} - 1))
if [ "$others" -gt 0 ]; then
    # an agent on each further node, which looks on there. The step takes no processors away from what the person starts with srun
    # and is bound to none; it ends with this script, whose exit status is the job's
    srun --overlap --nodes="$others" --ntasks="$others" --ntasks-per-node=1 --exclude="$SLURMD_NODENAME" \
        --cpu-bind=none --mpi=none "$found" -I "$folder/agent.pyz" stand-by "$folder/session.json" &
fi
exec "$found" -I "$folder/agent.pyz" run "$folder/session.json"
