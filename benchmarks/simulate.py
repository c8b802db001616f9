"""How many scenes and micrographs per second the simulator makes, and a picture of every kind.

One thread. A scene is what training learns from, 320 x 320 px; micrographs are those of
`micscreen simulate`. The picture goes to docs/pictures/simulate-kinds.jpg, the micrograph on the
left, its truth on the right.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np

from common import write_table
from micscreen.simulate import KINDS, simulate_micrograph, simulate_scene

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "simulate-kinds.jpg"
COLOURS = {1: (0, 160, 255), 2: (255, 120, 0), 3: (0, 200, 0), 4: (200, 0, 200), 5: (0, 0, 255)}
SIDE = 300
COLUMNS = 3
SEED = 11


def panel(kind: str) -> np.ndarray:
    """Draw a micrograph and its truth beside each other, (h, w, 3)."""
    scene = simulate_micrograph(kind, (1600, 1600), 110.0, seed=SEED)
    small = cv2.resize(scene.image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    low, high = np.percentile(small, (0.5, 99.5))
    grey = np.clip((small - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    image = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    truth = cv2.resize(scene.classes, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    coloured = image.copy()
    for label, colour in COLOURS.items():
        where = truth == label
        coloured[where] = (0.6 * coloured[where] + 0.4 * np.array(colour)).astype(np.uint8)
    pair = np.hstack([image, coloured])
    head = np.full((24, pair.shape[1], 3), 255, np.uint8)
    cv2.putText(head, kind, (4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (0, 0, 0), 1, cv2.LINE_AA)
    return np.pad(np.vstack([head, pair]), ((3, 3), (5, 5), (0, 0)), constant_values=255)


def main() -> None:
    """Measure, draw, and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--picture-only", action="store_true")
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    panels = [panel(kind) for kind in KINDS]
    panels += [np.full_like(panels[0], 255)] * (-len(panels) % COLUMNS)
    rows = [np.hstack(panels[i : i + COLUMNS]) for i in range(0, len(panels), COLUMNS)]
    cv2.imwrite(str(PICTURE), np.vstack(rows), [cv2.IMWRITE_JPEG_QUALITY, 82])
    if asked.picture_only:
        return
    lines = ["| what | CPU s each | per second and core |", "|---|---|---|"]
    start = time.process_time()
    for seed in range(asked.scenes):
        simulate_scene(seed)
    each = (time.process_time() - start) / asked.scenes
    lines.append(f"| scene, 320 x 320 px | {each:.3f} | {1 / each:.1f} |")
    for h, w in ((4096, 4096), (8184, 11520)):
        start = time.process_time()
        simulate_micrograph("mixed", (h, w), 200.0, seed=1)
        each = time.process_time() - start
        lines.append(f"| micrograph, {w} x {h} px, box 200 px | {each:.1f} | {1 / each:.2f} |")
    write_table("simulate", "How fast the simulator is", lines)


if __name__ == "__main__":
    main()
