"""What happens on a worker of a cluster: the network is opened, and a job is done."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from micscreen.errors import ModelError
from micscreen.model.backend import Backend, open_backend
from micscreen.model.weights import ModelSpec
from micscreen.run.engine import Job, Result

M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3

_LOCK: Final = threading.Lock()


class WorkersNetwork:
    """Stands for a network that is opened where it is used: once in each worker process.

    Parameters
    ----------
    model
        Name of packaged weights, or path of an ONNX file that the workers see.
    device
        `auto`, `cpu` or `cuda`: on the workers.
    spec
        What the weights are; a worker that has others under this name refuses them.
    """

    def __init__(self, model: str, device: str, spec: ModelSpec) -> None:
        self.spec, self.device = spec, f"{device} (on the workers)"
        self._asked = (model, device, spec.sha256)

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return probabilities (n, 6, H, W) for channels (n, 3, H, W)."""
        with _LOCK:  # so that the first two threads do not both open it
            backend = _opened(*self._asked)
        return backend.predict(batch)


def network_on_workers(model: str, device: str) -> WorkersNetwork:
    """Return what stands for named weights, or an ONNX file, on the workers.

    The file is opened here once, on the CPU, to know what the weights are.
    """
    if Path(model).expanduser().is_file():
        model = str(Path(model).expanduser().absolute())
    return WorkersNetwork(model, device, open_backend(model, device="cpu").spec)


@cache
def _opened(model: str, device: str, sha256: str) -> Backend:
    backend = open_backend(model, device=device, threads=1)
    if backend.spec.sha256 != sha256:
        raise ModelError(
            "the weights on this worker are not those of the machine that began the run",
            where=model,
            hint="Install the same version of micscreen everywhere.",
        )
    return backend


def do(function: Callable[[Job], Result], job: Job) -> Result:
    """Do one job on a worker."""
    _settle()
    return function(job)


@cache
def _settle() -> None:
    """Make this worker process work as the threads of one machine do.

    Its threads are the parallel ones, not OpenCV's. And freed memory is used again: Dask's nanny
    sets MALLOC_TRIM_THRESHOLD_, after which glibc asks the system for every large array anew, and
    touching the new pages takes longer than the work. These are the values (mallopt(3)) that
    glibc would have come to by itself.
    """
    import ctypes

    import cv2

    cv2.setNumThreads(1)
    with suppress(OSError, AttributeError):  # no glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, 32 << 20)
        mallopt(M_TRIM_THRESHOLD, 64 << 20)
