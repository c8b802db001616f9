"""Training on people's own labels: rounds of fitting, judged on pictures kept apart."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from micscreen import metrics
from micscreen.cleaning import CleanSettings, clean
from micscreen.evaluate import mask_on
from micscreen.io.files import write_whole
from micscreen.micrograph import Micrograph
from micscreen.model.unet import UNetConfig
from micscreen.model.unfold import network_from
from micscreen.model.weights import ModelSpec
from micscreen.picks import CLASS_NAMES
from micscreen.preprocess import NORMALISATION
from micscreen.samples import MARGIN, SCENES_PER_SHARD, RealPicture, write_shard
from micscreen.simulate import Recipe
from micscreen.train.fit import FitSettings, fit
from micscreen.train.ship import export

BOX_PX: Final = 16.0
HISTORY: Final = "history.jsonl"
BEST: Final = "best.pt"


@dataclass(frozen=True)
class TuneSettings:
    """How to train on own labels.

    Attributes
    ----------
    fit
        Steps, rate and shares of the fitting itself.
    scenes
        Simulated scenes that are mixed in, so that what the labels do not show is not forgotten.
    patience
        Rounds without progress on the pictures kept apart, after which training ends.
    name
        Of the weights.
    """

    fit: FitSettings
    scenes: int = 512
    patience: int = 8
    name: str = "own"


@dataclass(frozen=True)
class Judgement:
    """What a network does on pictures kept apart.

    Attributes
    ----------
    agreement
        Mean over pictures of the IoU of what is bad, or of the share called good where nothing is.
    iou
        Mean IoU over pictures with something bad; None without any.
    clean_called_bad
        Mean share of area called bad over pictures with nothing bad; None without any.
    """

    agreement: float
    iou: float | None
    clean_called_bad: float | None


def tune(
    settings: TuneSettings,
    learnt: Sequence[RealPicture],
    apart: Sequence[RealPicture],
    out: Path,
    start: Path | None,
    tell: Callable[[Mapping[str, Any]], None] = print,
) -> Path:
    """Train until the schedule ends or the pictures kept apart show no more progress.

    Interrupted, it goes on where it was when it is called again with the same arguments.

    Parameters
    ----------
    settings
        How.
    learnt, apart
        Pictures to learn from, and to judge by; without the latter the schedule runs to its end.
    out
        Folder for everything: ``last.pt``, ``best.pt``, ``history.jsonl``, ``scenes/``, and
        ``model.onnx`` when it is done.
    start
        Weights to begin with; None begins with nothing.
    tell
        Gets a row per round: its place in the schedule, the loss, and the judgement.

    Returns
    -------
    The ONNX file of the best round; of the start itself if no round was better.
    """
    out.mkdir(parents=True, exist_ok=True)
    shards = make_scenes(out / "scenes", settings, tell) if settings.fit.real_share < 1 else None
    history = read_history(out)
    if not history:
        first = judge(network_from(start), apart) if start and apart else None
        history.append(_keep(out, {"round": 0}, first))
        tell(history[-1])
    while not _ended(settings, history):
        rows: list[Mapping[str, Any]] = []
        last = fit(settings.fit, shards, out, learnt, start=start, most_chunks=1, tell=rows.append)
        if not rows:
            break
        found = judge(network_from(last), apart) if apart else None
        row = {"round": len(history), "steps": rows[0]["steps"], "loss": rows[0]["loss"]}
        better = found is None or found.agreement > best_agreement(history)
        if better:
            aside = out / f"{BEST}.part"
            shutil.copyfile(last, aside)
            aside.replace(out / BEST)
        history.append(_keep(out, row, found))
        tell(history[-1])
    return _ship(settings, out, start)


def make_scenes(
    folder: Path, settings: TuneSettings, tell: Callable[[Mapping[str, Any]], None]
) -> Path:
    """Simulate the scenes that are mixed in; those that are there already are kept."""
    shards = max(1, round(settings.scenes / SCENES_PER_SHARD))
    for shard in range(shards):
        per_shard = min(SCENES_PER_SHARD, max(2, settings.scenes // shards))
        write_shard(folder, shard, 1000 + settings.fit.seed, Recipe(), scenes=per_shard)
        tell({"scenes": (shard + 1) * per_shard})
    return folder


def judge(net: Any, pictures: Sequence[RealPicture]) -> Judgement:
    """Screen pictures as users do and compare with their labels."""
    backend = NetworkBackend(net)
    with_bad, without = [], []
    for _, image, labels, box in pictures:
        found = clean(Micrograph(image), None, backend, CleanSettings(box, contrast="dark"))
        count = metrics.confusion(mask_on(found, labels.shape), labels)
        if np.isnan(count.recall):
            without.append(count.called_bad)
        else:
            with_bad.append(count.iou)
    agreement = float(np.mean([*with_bad, *(1.0 - share for share in without)]))
    iou = float(np.mean(with_bad)) if with_bad else None
    return Judgement(agreement, iou, float(np.mean(without)) if without else None)


class NetworkBackend:
    """A network in torch as a back end, for judging while it is trained."""

    def __init__(self, net: Any) -> None:
        self._net = net.eval().cpu()
        about = ("training", "0", CLASS_NAMES, BOX_PX, NORMALISATION, MARGIN)
        self.spec = ModelSpec(*about, UNetConfig().multiple, "dark", "")
        self.device = "cpu (torch)"

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return probabilities (n, 6, H, W) for channels (n, 3, H, W)."""
        import torch

        with torch.inference_mode():
            answer = torch.softmax(self._net(torch.from_numpy(batch)), dim=1)
        return np.asarray(answer.numpy(), np.float32)


def read_history(out: Path) -> list[dict[str, Any]]:
    """Return the rows of the rounds so far."""
    path = out / HISTORY
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def best_agreement(history: Sequence[Mapping[str, Any]]) -> float:
    """Return the best agreement so far; below all if there is none."""
    return max((row["agreement"] for row in history if "agreement" in row), default=-1.0)


def _keep(out: Path, row: dict[str, Any], found: Judgement | None) -> dict[str, Any]:
    """Add a row to the history on disk, and return it."""
    if found is not None:
        row |= asdict(found)
    lines = [*map(json.dumps, read_history(out)), json.dumps(row)]
    write_whole(out / HISTORY, ("\n".join(lines) + "\n").encode())
    return row


def _ended(settings: TuneSettings, history: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the rounds since the best one have used up the patience."""
    judged = [row["agreement"] for row in history if "agreement" in row]
    return bool(judged) and len(judged) - 1 - int(np.argmax(judged)) >= settings.patience


def _ship(settings: TuneSettings, out: Path, start: Path | None) -> Path:
    """Write ``model.onnx`` from the best round."""
    model = out / "model.onnx"
    if (out / BEST).exists():
        export(out / BEST, model, "1", BOX_PX, name=settings.name)
    elif start is not None and start.suffix == ".onnx":
        shutil.copyfile(start, model)
    elif start is not None:
        export(start, model, "1", BOX_PX, name=settings.name)
    return model
