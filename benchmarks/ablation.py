"""What each ingredient of the training brings, on real pictures of sources that were left out.

A base learns from simulated scenes alone. From it every arm goes on for as many steps, with the
whole recipe or with one ingredient less; with real pictures once for each half of the sources of
`train`, which is then what it is judged on. `val` is not touched. Trainings are short: the table
ranks ingredients, its figures are not those of weights that ship. Interrupted, the same command
goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from common import write_table
from micscreen.evaluate import Row, evaluate, summary
from micscreen.model.unfold import network_from
from micscreen.train.tune import NetworkBackend

FOLDS = (("mic", "e10059"), ("e10017", "e10028", "lattice", "magellon", "raw_", "vesicle"))
"""Beginnings of the names of the pictures that are left out, and judged."""

WHOLE: Mapping[str, float] = {
    "real-share": 0.12,
    "paste-share": 0.08,
    "overlay-share": 0.4,
    "rough-share": 0.1,
    "resize-share": 0.5,
    "agree": 1.0,
    "agree-resize": 1.3,
    "kinds": 0.6,
}
PLAIN: Mapping[str, float] = {
    "real-share": 0.0,
    "paste-share": 0.0,
    "overlay-share": 0.0,
    "rough-share": 0.0,
    "resize-share": 0.0,
    "agree": 0.0,
    "agree-resize": 1.0,
    "kinds": 0.3,
}
ARMS: Mapping[str, Mapping[str, float]] = {
    "everything": WHOLE,
    "no real pictures": {**WHOLE, "real-share": 0.0, "paste-share": 0.0, "overlay-share": 0.0},
    "no real objects pasted": {**WHOLE, "paste-share": 0.0},
    "no simulated contaminants on real pictures": {**WHOLE, "overlay-share": 0.0},
    "nothing made rougher": {**WHOLE, "rough-share": 0.0},
    "no wrong boxes": {**WHOLE, "resize-share": 0.0, "agree-resize": 1.0},
    "no agreement": {**WHOLE, "agree": 0.0, "agree-resize": 1.0},
    "half the weight on classes": {**WHOLE, "kinds": 0.3},
    "simulated scenes alone, nothing else": PLAIN,
}


def fit(
    work: Path, name: str, shares: Mapping[str, float], asked: argparse.Namespace, *more: object
) -> Path:
    """Train, or continue, and return the checkpoint."""
    out = work / name
    words: list[object] = ["--shards", work / "shards", "--out", out, "--seed", asked.seed]
    words += ["--threads", 1, "--precision", asked.precision, *more]
    if shares["real-share"]:
        words += ["--real", asked.data / "train"]
    words += [word for key, value in shares.items() for word in (f"--{key}", value)]
    command = [sys.executable, "-m", "micscreen.train", "fit", *map(str, words)]
    with (work / f"{name}.log").open("a") as log:
        subprocess.run(command, check=True, stdout=log, stderr=log)
    return out / "last.pt"


def judged(checkpoint: Path, data: Path, fold: tuple[str, ...]) -> list[Row]:
    """Screen the pictures that were left out."""
    return evaluate(NetworkBackend(network_from(checkpoint)), data / "train", only=fold)


def main() -> None:
    """Train all arms, judge them and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument(
        "--work", type=Path, required=True, help="holds shards/; trainings go there"
    )
    parser.add_argument("--base-steps", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--at-once", type=int, default=2)
    asked = parser.parse_args()
    more = "--steps", asked.base_steps, "--processes", asked.at_once
    base = fit(asked.work, f"base-{asked.seed}", PLAIN, asked, *more)

    def run(arm: tuple[str, int]) -> Path:
        name = f"{list(ARMS).index(arm[0])}-{arm[1]}-{asked.seed}"
        start = "--steps", asked.steps, "--rate", 1.5e-3, "--start", base
        left_out = ("--hold-out", *FOLDS[arm[1]]) if ARMS[arm[0]]["real-share"] else ()
        return fit(asked.work, name, ARMS[arm[0]], asked, *start, *left_out)

    wanted = [(name, i) for name, arm in ARMS.items() for i in range(2 if arm["real-share"] else 1)]
    with ThreadPoolExecutor(asked.at_once) as pool:
        made = dict(zip(wanted, pool.map(run, wanted), strict=True))
    lines = [
        f"Base: {8 * asked.base_steps:,} samples of simulated scenes; each arm {8 * asked.steps:,} "
        f"more; seed {asked.seed}. Judged on the halves of the sources of `train`, each left out "
        "in turn.",
        "",
        "| training | IoU, mean over sources | IoU, mean over pictures | clean called bad | lost |",
        "|---|---|---|---|---|",
    ]
    found = {}
    for name in ("base", *ARMS):
        checkpoints = [
            base if name == "base" else made.get((name, i), made.get((name, 0))) for i in range(2)
        ]
        rows = [
            row
            for c, fold in zip(checkpoints, FOLDS, strict=True)
            for row in judged(c, asked.data, fold)
        ]
        one = found[name] = summary(rows)
        iou = one["iou_mean_over_sources"]
        lines.append(
            f"| {name} | {iou:.3f} | {one['iou_mean_over_pictures']:.3f} | "
            f"{one['clean_area_called_bad']:.2%} | {one['true_picks_lost']:.2%} |"
        )
    write_table(f"ablation_{asked.seed}", "What each ingredient brings", lines)
    plain = {k: {n: None if np.isnan(v) else v for n, v in one.items()} for k, one in found.items()}
    (asked.work / f"ablation-{asked.seed}.json").write_text(json.dumps(plain, indent=1))


if __name__ == "__main__":
    main()
