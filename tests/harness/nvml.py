"""Build the pretend NVML library: the one fake, since no machine of the tests has a GPU."""

from __future__ import annotations

import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("nvml_shim.c")


def build(folder: Path) -> Path:
    """Compile the shim into `folder`, which is then what LD_LIBRARY_PATH names. Raises CalledProcessError."""
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O1", "-Wl,-soname,libnvidia-ml.so.1", str(SOURCE), "-o", str(library)],
        check=True,
    )
    return folder
