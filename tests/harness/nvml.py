"""Build the pretend NVML library: the one fake, since no machine of the tests has a GPU."""

from __future__ import annotations

import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("nvml_shim.c")


def build(folder: Path, state_folder: Path | None = None) -> Path:
    """Compile the shim into `folder`, which is then what LD_LIBRARY_PATH names. Raises CalledProcessError.

    `state_folder`: where each pretend node's devices are described, for processes that are told nothing else.
    """
    library = folder / "libnvidia-ml.so.1"
    named = [f'-DSTATE_FOLDER="{state_folder}"'] if state_folder else []
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O1", *named, "-Wl,-soname,libnvidia-ml.so.1", str(SOURCE), "-o", str(library)],
        check=True,
    )
    return folder
