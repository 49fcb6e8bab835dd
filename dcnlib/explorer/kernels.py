"""Kernels of the explorer's page: some are ready before a page is opened, and those of closed pages end."""

import time

from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager


class PageKernels(AsyncMappingKernelManager):
    """Gives a page time to connect to its kernel before that is shut down as one that no page is connected to.

    A kernel that was kept ready has been idle for long when a page takes it.
    """

    patience = 60.0  # seconds

    async def cull_kernel_if_idle(self, kernel_id: str) -> None:
        """Asked every `cull_interval` seconds of each kernel but those that are kept ready."""
        now = time.monotonic()
        if not hasattr(self, "_asked"):
            self._asked: dict[str, tuple[float, float]] = {}
        first, latest = self._asked.get(kernel_id, (now, now))
        if now - latest > 3 * self.cull_interval:  # it was kept ready in between
            first = now
        self._asked[kernel_id] = first, now
        if now - first > self.patience:
            await super().cull_kernel_if_idle(kernel_id)
