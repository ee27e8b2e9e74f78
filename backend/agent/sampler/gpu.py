"""What a vendor's GPUs are read through."""

from __future__ import annotations

from typing import Protocol

from .model import Gpu, Missing


class GpuReader(Protocol):
    """One vendor's management library. A GPU that can't answer stays in the list, its metrics in `missing`."""

    def read(self, missing: Missing) -> list[Gpu]:
        """Every device this process may see, MIG instances after their GPU. Never raises for a device."""

    def close(self) -> None:
        """Let the library go."""
