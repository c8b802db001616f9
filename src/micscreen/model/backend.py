"""The seam to the network: one small method, and who can answer it.

`open_backend` chooses ONNX Runtime, on the CPU or on CUDA, or torch on CUDA. `FakeBackend` answers
by a rule instead of a network; it ships, so that everybody can test a pipeline without weights.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from micscreen.errors import DeviceError, MissingDependencyError, ModelError
from micscreen.model.weights import ModelSpec, int8_twin, model_path, sha256_of, spec_from
from micscreen.picks import CLASS_NAMES

CUDA_HINT: Final = (
    "pip install 'micscreen[cuda]' on a machine with an NVIDIA driver, or use --device cpu."
)


class Backend(Protocol):
    """Something that answers class probabilities; safe to share between threads."""

    @property
    def spec(self) -> ModelSpec:
        """What the network expects."""
        ...

    @property
    def device(self) -> str:
        """Where it runs, and by what: `cpu (onnxruntime)`, `cuda:0 (torch)`."""
        ...

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return probabilities (n, 6, H, W) for channels (n, 3, H, W).

        H and W are multiples of `spec.multiple`.
        """
        ...


def open_backend(
    model: str | Path = "default", *, device: str = "auto", threads: int | None = 1
) -> Backend:
    """Open a network.

    Parameters
    ----------
    model
        Name of packaged weights, or path of an ONNX file.
    device
        `cpu`; `cuda`, `cuda:1` or `cuda:0,1` (calls take turns); or `auto`: CUDA when ONNX Runtime
        has it and it works, else the CPU. The result's `device` says which. On the CPU packaged
        weights run in int8; give the path of their file to run it as it is.
    threads
        CPU threads per call; 1 is best when several workers share the network, None lets ONNX
        Runtime take all cores.

    Raises
    ------
    ModelError
        When there are no such weights, or they cannot be used.
    DeviceError
        When the device that was asked for is not there.
    """
    path = model_path(str(model))
    kind, _, numbers = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (numbers and kind != "cuda"):
        raise DeviceError(f"there is no device {device!r}", hint="auto, cpu, cuda, cuda:0,1")
    if kind == "cpu":
        return _on_cpu(path, threads)
    if kind == "auto":
        return _automatic(path, threads)
    try:
        wanted = [int(number) for number in numbers.split(",")] if numbers else [0]
    except ValueError:
        raise DeviceError(f"there is no device {device!r}", hint="cuda, cuda:1, cuda:0,1") from None
    opened = [_on_cuda(path, number) for number in wanted]
    return opened[0] if len(opened) == 1 else TurnsBackend(opened)


def _automatic(path: Path, threads: int | None) -> Backend:
    """Open on CUDA when ONNX Runtime has it and it works, else on the CPU."""
    if "CUDAExecutionProvider" in _onnxruntime().get_available_providers():
        try:
            return OnnxBackend(path, cuda=0)
        except DeviceError:
            pass  # Built for CUDA, but no driver or device: the choice is ours, `device` tells it.
    return _on_cpu(path, threads)


def _on_cpu(path: Path, threads: int | None) -> Backend:
    """Open on the CPU; packaged weights in their int8 form, which is three times as fast."""
    twin = int8_twin(path)
    if twin is None:
        return OnnxBackend(path, threads=threads)
    backend = OnnxBackend(twin, threads=threads)
    backend.spec = replace(backend.spec, sha256=sha256_of(path))  # the same weights, rounded
    backend.device = "cpu (onnxruntime, int8)"
    return backend


def _on_cuda(path: Path, number: int) -> Backend:
    """Open on a CUDA device, by ONNX Runtime or else by torch; raise DeviceError with both whys."""
    from micscreen.model.torch_backend import TorchBackend

    reasons = []
    if "CUDAExecutionProvider" in _onnxruntime().get_available_providers():
        try:
            return OnnxBackend(path, cuda=number)
        except DeviceError as error:
            reasons.append(error.what)
    else:
        reasons.append("ONNX Runtime was installed without CUDA")
    try:
        return TorchBackend(path, device=f"cuda:{number}")
    except (DeviceError, MissingDependencyError) as error:
        reasons.append(error.what)
    raise DeviceError(
        f"CUDA device {number} cannot be used: {'; '.join(reasons)}",
        where="--device",
        hint=CUDA_HINT,
    )


def _onnxruntime() -> Any:
    """Import ONNX Runtime when it is first needed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            "running the network needs onnxruntime", hint="pip install onnxruntime"
        ) from error
    return onnxruntime


class OnnxBackend:
    """The network in ONNX Runtime; one session serves all threads.

    Parameters
    ----------
    path
        ONNX file: one input (n, 3, H, W), one output (n, 6, H, W), named `logits` when the softmax
        is still to be done.
    threads
        CPU threads per call; None: all cores.
    cuda
        Number of the CUDA device; None for the CPU.
    """

    def __init__(self, path: Path, *, threads: int | None = 1, cuda: int | None = None) -> None:
        runtime = _onnxruntime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # It plans memory per shape, and shapes vary here.
        options.log_severity_level = 4  # What matters is raised below.
        providers: list[Any] = ["CPUExecutionProvider"]
        if cuda is not None:
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": str(cuda)}))
        try:
            session = runtime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # ONNX Runtime's errors have no base class of their own.
            raise _failure(error, path, cuda) from error
        if cuda is not None and "CUDAExecutionProvider" not in session.get_providers():
            raise DeviceError(f"ONNX Runtime cannot use CUDA device {cuda}", hint=CUDA_HINT)
        self.spec: ModelSpec = spec_from(session.get_modelmeta().custom_metadata_map, path)
        self.device = f"{'cpu' if cuda is None else f'cuda:{cuda}'} (onnxruntime)"
        inputs, outputs = session.get_inputs(), session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise ModelError("a network has one input and one output", where=path)
        self._session, self._input = session, inputs[0].name
        self._is_logits = outputs[0].name == "logits"

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return probabilities (n, 6, H, W) for channels (n, 3, H, W)."""
        answer = np.asarray(self._session.run(None, {self._input: batch})[0], np.float32)
        return softmax(answer) if self._is_logits else answer


def _failure(error: Exception, path: Path, cuda: int | None) -> ModelError:
    """Return what it means that an ONNX file could not be opened."""
    if cuda is not None and "CUDA" in str(error):
        return DeviceError(f"ONNX Runtime cannot use CUDA device {cuda}", hint=CUDA_HINT)
    return ModelError(
        f"ONNX Runtime cannot open these weights ({error})",
        where=path,
        hint="Give an ONNX file that micscreen's training exported.",
    )


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn logits (n, k, H, W) into probabilities over the k classes."""
    logits = logits - logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits


class TurnsBackend:
    """Several back ends of one network; calls take turns."""

    def __init__(self, backends: Sequence[Backend]) -> None:
        self.spec = backends[0].spec
        self.device = ", ".join(backend.device for backend in backends)
        self._turns = itertools.cycle(backends)
        self._lock = threading.Lock()

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return probabilities (n, 6, H, W) for channels (n, 3, H, W)."""
        with self._lock:
            backend = next(self._turns)
        return backend.predict(batch)


class FakeBackend:
    """A rule in place of a network, for tests: deterministic, NumPy only, sees 24 px far.

    What is darker than its surroundings over 9 px is ice contamination, over 33 px support film;
    what is much brighter over 9 px is damaged.
    """

    def __init__(self, box_px: float = 16.0) -> None:
        from micscreen.preprocess import NORMALISATION

        self.device = "cpu (fake)"
        self.spec = ModelSpec(
            name="fake",
            version="1",
            classes=CLASS_NAMES,
            box_px=box_px,
            normalisation=NORMALISATION,
            margin=32,
            multiple=8,
            contrast="dark",
            sha256="0" * 64,
        )

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return probabilities (n, 6, H, W) for channels (n, 3, H, W)."""
        maps = np.zeros((len(batch), len(CLASS_NAMES), *batch.shape[2:]), np.float32)
        for channels, answer in zip(batch, maps, strict=True):
            near, wide = _box_mean(channels[0], 4), _box_mean(channels[0], 16)  # (H, W)
            ice = 1.0 / (1.0 + np.exp(6.0 * (near + 1.3)))
            film = 1.0 / (1.0 + np.exp(8.0 * (wide + 1.0)))
            damaged = 1.0 / (1.0 + np.exp(6.0 * (1.5 - near)))
            answer[0] = (1.0 - ice) * (1.0 - film) * (1.0 - damaged)
            share = (1.0 - answer[0]) / (ice + film + damaged)
            answer[1], answer[2], answer[5] = film * share, ice * share, damaged * share
        return maps


def _box_mean(image: NDArray[np.float32], reach: int) -> NDArray[np.float64]:
    """Return the mean over a square of 2 reach + 1 px around every pixel, edges repeated."""
    side = 2 * reach + 1
    padded = np.pad(image.astype(np.float64), reach, mode="edge")
    for axis in (0, 1):
        total = np.cumsum(padded, axis=axis)
        total = np.concatenate([np.zeros_like(np.take(total, [0], axis)), total], axis=axis)
        count = total.shape[axis]
        upper = np.take(total, np.arange(side, count), axis)
        padded = (upper - np.take(total, np.arange(count - side), axis)) / side
    return padded
