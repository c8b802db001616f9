"""What a training on own labels did, as one HTML page: curve, figures, pictures kept apart."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from micscreen import metrics
from micscreen.cleaning import CleanSettings, clean
from micscreen.evaluate import mask_on
from micscreen.io.files import write_whole
from micscreen.io.labels import IGNORE
from micscreen.micrograph import Micrograph
from micscreen.model.backend import Backend
from micscreen.samples import RealPicture

SIDE: Final = 300
"""Long side of a picture in the contact sheet, px."""

MOST_SHOWN: Final = 24
STYLE: Final = """body{font:15px/1.5 sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .8rem;text-align:right;
border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}
figure{margin:1rem 0}img{vertical-align:top;max-width:100%}figcaption{color:#555}"""


def write_story(
    path: Path,
    title: str,
    history: Sequence[Mapping[str, Any]],
    apart: Sequence[RealPicture],
    networks: Mapping[str, Backend],
) -> None:
    """Write the page, whole or not at all.

    Parameters
    ----------
    path
        HTML file.
    title
        Plain text.
    history
        Rows of `micscreen.train.tune.read_history`.
    apart
        Pictures kept apart, shown worst first.
    networks
        By a word each: what is compared, for instance ``before`` and ``after``.
    """
    shown, rows = [], []
    for name, image, labels, box in apart:
        masks = [
            mask_on(
                clean(Micrograph(image), None, n, CleanSettings(box, contrast="dark")), labels.shape
            )
            for n in networks.values()
        ]
        counts = [metrics.confusion(mask, labels) for mask in masks]
        rows.append((name, counts))
        shown.append((_agreement(counts[-1]), name, _sheet(image, labels, masks), counts))
    shown.sort(key=lambda entry: entry[0])
    parts = [f"<h1>{html.escape(title)}</h1>", _curve(history), _table(list(networks), rows)]
    words = ", ".join(["picture", "label", *networks])
    for _, name, sheet, _ in shown[:MOST_SHOWN]:
        parts.append(
            f"<figure><img alt='{html.escape(name)}: {words}' src='{sheet}'>"
            f"<figcaption>{html.escape(name)}: {html.escape(words)}</figcaption></figure>"
        )
    if not apart:
        parts.append(
            "<p>No picture was kept apart: there were fewer than four, or none was asked.</p>"
        )
    page = (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{html.escape(title)}</title>"
        f"<style>{STYLE}</style><body>{''.join(parts)}</body></html>"
    )
    write_whole(path, page.encode())


def _agreement(count: metrics.Confusion) -> float:
    return 1.0 - count.called_bad if math.isnan(count.recall) else count.iou


def _sheet(
    image: NDArray[np.float32], labels: NDArray[np.uint8], masks: Sequence[NDArray[np.float32]]
) -> str:
    """Return picture, label and masks beside each other, as a data address of a PNG."""
    zoom = SIDE / max(image.shape)
    size = (max(1, round(image.shape[1] * zoom)), max(1, round(image.shape[0] * zoom)))
    low, high = np.percentile(image, (1, 99))
    grey = np.clip((image - low) / max(float(high - low), 1e-12) * 255, 0, 255).astype(np.uint8)
    panel = cv2.cvtColor(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), cv2.COLOR_GRAY2BGR)
    truth = np.where(labels == IGNORE, 0, labels > 0).astype(np.float32)
    panels = [panel, _tinted(panel, truth, (0, 158, 230))]
    panels += [_tinted(panel, mask, (94, 60, 213)) for mask in masks]
    gap = np.full((size[1], 6, 3), 255, np.uint8)
    strip = np.hstack([part for panel in panels for part in (panel, gap)][:-1])
    done, data = cv2.imencode(".png", strip)
    assert done
    return f"data:image/png;base64,{base64.b64encode(data.tobytes()).decode()}"


def _tinted(
    panel: NDArray[np.uint8], mask: NDArray[np.float32], colour: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Return a panel (h, w, 3) with what is bad in a colour (BGR)."""
    strength = 0.5 * cv2.resize(mask, panel.shape[1::-1], interpolation=cv2.INTER_LINEAR)[..., None]
    return np.asarray(panel * (1 - strength) + np.array(colour) * strength, np.uint8)


def _table(names: Sequence[str], rows: Sequence[tuple[str, Sequence[metrics.Confusion]]]) -> str:
    """Return IoU, or the area called bad where nothing is, of each picture."""
    if not rows:
        return ""
    heads = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    lines = [f"<table><tr><th>kept apart</th>{heads}</tr>"]
    for name, counts in rows:
        cells = "".join(f"<td>{_cell(count)}</td>" for count in counts)
        lines.append(f"<tr><td>{html.escape(name)}</td>{cells}</tr>")
    return "".join(lines) + "</table>"


def _cell(count: metrics.Confusion) -> str:
    if math.isnan(count.recall):
        return f"{count.called_bad:.2%} of clean called bad"
    return f"IoU {count.iou:.3f}"


def _curve(history: Sequence[Mapping[str, Any]]) -> str:
    """Return loss and agreement over the rounds as SVG lines."""
    last = max((row["round"] for row in history), default=0)
    lines, width, height = [], 640, 220
    kinds = (("loss", "#d55e00"), ("agreement", "#0072b2"))
    for place, (kind, colour) in enumerate(kinds):
        points = [(row["round"], row[kind]) for row in history if kind in row]
        if not points or last == 0:
            continue
        most = max(1.0, *(value for _, value in points))
        path = " ".join(
            f"{40 + x / last * (width - 60):.1f},{height - 25 - y / most * (height - 45):.1f}"
            for x, y in points
        )
        lines.append(
            f"<polyline fill='none' stroke='{colour}' stroke-width='2' points='{path}'/>"
            f"<text x='{60 + 300 * place}' y='14' fill='{colour}'>{kind}, 0 to {most:.2f}; "
            f"last {points[-1][1]:.3f}</text>"
        )
    axis = (
        f"<path d='M40 {height - 25}H{width - 20}M40 20V{height - 25}' stroke='#888' fill='none'/>"
        f"<text x='{width - 20}' y='{height - 8}' text-anchor='end'>round {last}</text>"
    )
    return f"<svg width='{width}' height='{height}' role='img'>{axis}{''.join(lines)}</svg>"
