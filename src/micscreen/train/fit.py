"""Fitting the network: chunks of 64 steps, a checkpoint between them, as many sessions as it takes.

A chunk is decided by the seed, its number and the shards present when it began, and a checkpoint
is written between chunks only, so that an interrupted training continues as if nothing had
happened.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from micscreen.errors import DeviceError, MissingDependencyError, UsageError
from micscreen.model.loss import disagreement, loss_of
from micscreen.model.team import Team
from micscreen.model.unet import UNetConfig, build_unet
from micscreen.model.unfold import grown, network_from, renormalise
from micscreen.samples import BatchPlan, RealPicture, ahead, chunk_batches

STEPS_PER_CHUNK: Final = 64


@dataclass(frozen=True)
class FitSettings:
    """How to train.

    Attributes
    ----------
    seed
        Decides weights, order and jitter.
    steps
        Batches until the end of the cosine; 0: decided by minutes alone.
    minutes
        Wall time until the end of the cosine, over all sessions; 0: decided by steps alone.
    batch
        Pictures per step.
    crop
        Side of the training crop, px, a multiple of 16.
    rate
        Highest learning rate of AdamW.
    decay
        Weight decay.
    ema
        Decay per step of the running average of the weights, which is what ships.
    settle
        From this part of the schedule on, the normalisation layers use the averages that they will
        use in the field, and the other weights adapt to them.
    real_share
        Share of real pictures in the batches.
    paste_share
        Share of samples onto which objects of real pictures are copied.
    rough_share
        Share of simulated samples that are made rougher; of real ones four times as many.
    overlay_share
        Share of real pictures onto which simulated contaminants are painted.
    resize_share
        Share of simulated samples that are made smaller or larger, as a wrong box would.
    agree
        Weight of a second loss: the contamination that the averaged weights find in the same
        picture turned or mirrored is to be found here too (Tarvainen & Valpola 2017, mean teacher).
    agree_resize
        In every second step they see it also smaller or larger by this factor, as with a wrong box;
        1: never.
    kinds
        Weight of telling the bad classes apart in the loss.
    precision
        Of the convolutions: ``float32``, or ``bfloat16``, which is faster where the machine has it
        (AVX512-BF16, AMX, CUDA); weights and loss stay float32.
    soften
        Divides the logits of the weights to begin with: the sharpness of their export, undone.
    device
        ``auto``, ``cpu`` or ``cuda``.
    """

    seed: int = 0
    steps: int = 0
    minutes: float = 0.0
    batch: int = 8
    crop: int = 256
    rate: float = 3e-3
    decay: float = 1e-2
    ema: float = 0.997
    settle: float = 0.8
    real_share: float = 0.12
    paste_share: float = 0.08
    rough_share: float = 0.1
    overlay_share: float = 0.3
    resize_share: float = 0.0
    agree: float = 0.0
    agree_resize: float = 1.0
    kinds: float = 0.3
    precision: str = "float32"
    soften: float = 1.0
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.steps <= 0 and self.minutes <= 0:
            raise UsageError("training needs an end", hint="give --steps or --minutes")
        if self.precision not in ("float32", "bfloat16"):
            raise UsageError(f"there is no precision {self.precision!r}", hint="float32, bfloat16")
        if self.crop % UNetConfig().multiple:
            raise UsageError(f"the crop of {self.crop} px is no multiple of 16")


def open_device(name: str) -> Any:
    """Return the torch device for ``auto``, ``cpu`` or ``cuda``; never another than was asked."""
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError(
            "training needs torch", hint="pip install 'micscreen[train]'"
        ) from error
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            "cuda was asked for, but torch sees no such device",
            hint="use --device cpu, or install a torch built for CUDA",
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def fit(
    settings: FitSettings,
    shards: Path | None,
    out: Path,
    pictures: Sequence[RealPicture] = (),
    team: Team | None = None,
    *,
    most_chunks: int | None = None,
    start: Path | None = None,
    tell: Callable[[Mapping[str, Any]], None] = print,
) -> Path:
    """Train, or continue a training, and return the checkpoint.

    Parameters
    ----------
    settings
        How; a continued training must have the same.
    shards
        Folder of shards; may still be growing. None when all samples are real.
    out
        Folder for ``last.pt`` and ``log.jsonl``.
    pictures
        Labelled real pictures.
    team
        This process's place among several that train together.
    most_chunks
        Stop after so many chunks in this session, as an interruption would.
    start
        Where the first weights come from: the averaged ones of another training's checkpoint, or
        an ONNX file that was exported.
    tell
        Gets the row of the log at the end of each chunk.
    """
    import torch

    device = open_device(settings.device)
    team = team or Team()
    state = _Training(settings, device, out, team, start)
    share = settings.batch // team.size
    kinds = "real_share", "paste_share", "rough_share", "overlay_share", "resize_share"
    shares = {kind: getattr(settings, kind) for kind in kinds}
    part = {"part": team.rank, "parts": team.size}
    plan = BatchPlan(STEPS_PER_CHUNK, share, settings.crop, **shares, **part)
    session = 0
    while state.progress() < 1.0 and (most_chunks is None or session < most_chunks):
        rng = np.random.default_rng([settings.seed, state.chunk, 50])
        present = sorted(shards.glob("shard-*.npz")) if shards else []
        paths = state.choose_shards(rng, present) if settings.real_share < 1 else []
        jitter = np.random.default_rng([settings.seed, state.chunk, 51, team.rank])
        if state.folded and settings.settle > 0:
            state.unfold(shards, pictures, replace(plan, steps=8))
        total, spent, began = 0.0, 0.0, time.monotonic()
        for images, classes in ahead(chunk_batches(rng, jitter, paths, pictures, plan)):
            if state.progress() >= 1.0:
                break
            batch = torch.from_numpy(images).to(device, memory_format=torch.channels_last)
            total += state.step(batch, torch.from_numpy(classes).long().to(device), spent)
            spent, began = time.monotonic() - began, time.monotonic()
        row = state.end_chunk(total / STEPS_PER_CHUNK)
        if team.rank == 0:
            tell(row)
        session += 1
    return state.path


class _Training:
    """Weights, optimiser and place in the schedule; all of it lives in one checkpoint."""

    def __init__(
        self, settings: FitSettings, device: Any, out: Path, team: Team, start: Path | None
    ) -> None:
        import torch

        self.settings, self.path, self.team = settings, out / "last.pt", team
        self.chunk, self.steps, self.elapsed = 0, 0, 0.0
        self.seen: list[str] = []
        torch.manual_seed(settings.seed)
        out.mkdir(parents=True, exist_ok=True)
        saved = None
        if self.path.exists():
            saved = torch.load(self.path, map_location=device, weights_only=True)
            self._check(saved["settings"])
        if saved:
            net = build_unet(UNetConfig(**saved["config"]))
        else:
            net = grown(network_from(start), UNetConfig()) if start else build_unet(UNetConfig())
        if start and not saved:
            with torch.no_grad():
                net.head.weight /= settings.soften
                net.head.bias /= settings.soften
        self.net = net.to(device, memory_format=torch.channels_last).train()
        self.teacher = copy.deepcopy(self.net).eval().requires_grad_(False)
        self.average = self.teacher.state_dict()  # the teacher's own tensors
        self.optimiser = torch.optim.AdamW(
            self.net.parameters(), lr=settings.rate, weight_decay=settings.decay
        )
        self.folded = not saved and start is not None and start.suffix == ".onnx"
        if saved:
            self._restore(saved)

    def _check(self, settings: Mapping[str, Any]) -> None:
        if settings != asdict(self.settings):
            raise UsageError(
                "this training was begun with other settings",
                where=self.path,
                hint=f"it had {settings}",
            )

    def _restore(self, saved: Mapping[str, Any]) -> None:
        self.net.load_state_dict(saved["net"])
        self.teacher.load_state_dict(saved["average"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.chunk, self.steps, self.elapsed = saved["chunk"], saved["steps"], saved["elapsed"]
        self.seen = saved["seen"]

    def progress(self) -> float:
        """Place in the schedule, 0 to 1."""
        by_steps = self.steps / self.settings.steps if self.settings.steps else 0.0
        minutes = self.settings.minutes
        return max(by_steps, self.elapsed / (60.0 * minutes) if minutes else 0.0)

    def unfold(self, shards: Path | None, real: Sequence[RealPicture], plan: BatchPlan) -> None:
        """Take the statistics of normalisation that an ONNX file has not from a few batches."""
        import torch

        plan = replace(plan, part=0, parts=1)  # all processes see the same
        shuffle = np.random.default_rng([self.settings.seed, 52])
        jitter = np.random.default_rng([self.settings.seed, 53])
        paths = sorted(shards.glob("shard-*.npz"))[:2] if shards else []
        batches = chunk_batches(shuffle, jitter, paths, real, plan)
        device = next(self.net.parameters()).device
        renormalise(self.net, (torch.from_numpy(images).to(device) for images, _ in batches))
        self.net.train()
        self.teacher.load_state_dict(self.net.state_dict())
        self.folded = False

    def choose_shards(self, rng: np.random.Generator, present: Sequence[Path]) -> list[Path]:
        """Choose two shards, those that were not seen yet first."""
        if not present:
            raise UsageError("there are no shards", hint="make some: micscreen.train shards")
        fresh = [path for path in present if path.name not in self.seen][:2]
        self.seen += [path.name for path in fresh]
        if fresh:
            return fresh
        drawn = rng.choice(np.arange(len(present)), min(2, len(present)), False)
        return [present[i] for i in drawn.tolist()]

    def step(self, images: Any, classes: Any, spent: float) -> float:
        """One step of AdamW and of the running average; `spent` s of wall time are booked."""
        import torch

        warm = min(1.0, (self.steps + 1) / 200)
        rate = self.settings.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * self.progress())))
        for group in self.optimiser.param_groups:
            group["lr"] = rate * warm
        if self.progress() >= self.settings.settle:
            for layer in self.net.modules():
                if isinstance(layer, torch.nn.BatchNorm2d):
                    layer.eval()
        self.optimiser.zero_grad(set_to_none=True)
        low = self.settings.precision == "bfloat16"
        with torch.autocast(images.device.type, torch.bfloat16, enabled=low):
            logits = self.net(images)
            expected = self.expected(images) if self.settings.agree else None
        loss = loss_of(logits.float(), classes, self.settings.kinds)
        if expected is not None:
            loss = loss + self.settings.agree * disagreement(logits.float(), expected.float())
        loss.backward()
        gradients = [weight.grad for weight in self.net.parameters()]
        self.elapsed = self.team.mean(gradients, self.elapsed + spent)
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.optimiser.step()
        self.steps += 1
        keep = min(self.settings.ema, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            for name, value in self.net.state_dict().items():
                if value.dtype.is_floating_point:
                    self.average[name].lerp_(value, 1.0 - keep)
                else:
                    self.average[name].copy_(value)
        return float(loss.detach())

    def expected(self, images: Any) -> Any:
        """Return the teacher's logits (n, 6, h, w) for the pictures turned, mirrored, resized."""
        import torch
        from torch.nn.functional import interpolate

        turns, mirror = 1 + self.steps % 3, self.steps // 3 % 2 == 1
        turned = torch.rot90(images, turns, (2, 3))
        turned = turned.flip(3) if mirror else turned
        factor = (1.0, 1.0 / self.settings.agree_resize, 1.0, self.settings.agree_resize)
        turned = resized(turned, factor[self.steps % 4])
        with torch.no_grad():
            logits = self.teacher(turned.contiguous(memory_format=torch.channels_last))
        if logits.shape[2:] != images.shape[2:]:
            logits = interpolate(logits.float(), images.shape[2:], mode="bilinear")
        return torch.rot90(logits.flip(3) if mirror else logits, -turns, (2, 3))

    def end_chunk(self, loss: float) -> dict[str, Any]:
        """Write checkpoint and log, of which the new row is returned."""
        import torch

        for state in (self.net.state_dict(), self.average):
            self.team.mean([value for value in state.values() if value.dtype.is_floating_point])
        self.chunk += 1
        if self.team.rank:
            return {}
        saved = {
            "settings": asdict(self.settings),
            "config": self.net.config.as_dict(),
            "net": self.net.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            **{name: getattr(self, name) for name in ("chunk", "steps", "elapsed", "seen")},
        }
        aside = self.path.with_suffix(".part")
        torch.save(saved, aside)
        aside.replace(self.path)
        row = {"chunk": self.chunk, "steps": self.steps, "elapsed_s": round(self.elapsed, 1)}
        row |= {"samples": self.steps * self.settings.batch, "loss": round(loss, 4)}
        with (self.path.parent / "log.jsonl").open("a") as log:
            log.write(json.dumps(row) + "\n")
        return row


def resized(images: Any, factor: float) -> Any:
    """Return channels (n, 3, h, w) about so much larger, with sides that are multiples of 16.

    The first two keep their spread, as the normalisation of a picture of that size would give it.
    """
    from torch.nn.functional import interpolate

    multiple = UNetConfig().multiple
    shape = [multiple * round(side * factor / multiple) for side in images.shape[2:]]
    if factor == 1.0:
        return images
    other = interpolate(images, shape, mode="bilinear", antialias=True)
    spread = images[:, :2].std((2, 3), keepdim=True)
    other[:, :2] *= spread / other[:, :2].std((2, 3), keepdim=True).clamp(min=1e-6)
    return other
