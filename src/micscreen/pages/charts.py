"""Charts as SVG, drawn from numbers: bounded in size whatever the run's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from micscreen.pages.html import escape, rgb
from micscreen.picks import CLASS_NAMES
from micscreen.report import CLASS_COLOURS, KEPT_COLOUR, REJECTED_COLOUR

RECOMMENDED: Final = (0.75, 0.9)
"""Thresholds between which users are advised to stay."""

COLUMNS: Final = 240
"""Most columns of a chart over the run; more micrographs share columns."""

KEPT: Final = rgb(KEPT_COLOUR)
REJECTED: Final = rgb(REJECTED_COLOUR)
BAND: Final = "#dce9f7"
LINE: Final = "#1d2430"


@dataclass(frozen=True, slots=True)
class Axes:
    """A plotting area with its scales.

    Attributes
    ----------
    x, y
        Ranges of the values, (low, high).
    width, height
        Of the whole chart, px of its own coordinates.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    width: float = 560.0
    height: float = 270.0
    left: float = 62.0
    right: float = 24.0
    top: float = 14.0
    bottom: float = 46.0

    def at_x(self, value: float) -> float:
        """Return where a value stands, px."""
        low, high = self.x
        inside = self.width - self.left - self.right
        return round(self.left + (value - low) / ((high - low) or 1.0) * inside, 2)

    def at_y(self, value: float) -> float:
        """Return where a value stands, px; upwards is more."""
        low, high = self.y
        inside = self.height - self.top - self.bottom
        return round(self.height - self.bottom - (value - low) / ((high - low) or 1.0) * inside, 2)

    def rect(self, x: tuple[float, float], y: tuple[float, float], fill: str) -> str:
        """Return a filled rectangle between values."""
        left, right = self.at_x(x[0]), self.at_x(x[1])
        top, bottom = self.at_y(y[1]), self.at_y(y[0])
        return (
            f'<rect x="{left}" y="{top}" width="{max(right - left, 0.3):.2f}" '
            f'height="{max(bottom - top, 0):.2f}" fill="{fill}"/>'
        )

    def upright(self, value: float, words: str) -> str:
        """Return a dashed line at a value of x, with words beside it."""
        x = self.at_x(value)
        end = value > sum(self.x) / 2
        return (
            f'<line x1="{x}" x2="{x}" y1="{self.top}" y2="{self.height - self.bottom}" '
            f'stroke="{LINE}" stroke-width="1.6" stroke-dasharray="5 3"/>'
            f'<text x="{x + (-5 if end else 5)}" y="{self.top + 11}" '
            f'text-anchor="{"end" if end else "start"}">{escape(words)}</text>'
        )

    def polyline(self, x: Sequence[float], y: Sequence[float], colour: str) -> str:
        """Return a line through points; what is no number is left out."""
        known = [(a, b) for a, b in zip(x, y, strict=True) if not math.isnan(b)]
        points = " ".join(f"{self.at_x(a)},{self.at_y(b)}" for a, b in known)
        return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'

    def ticks(
        self, x: Sequence[tuple[float, str]], y: Sequence[tuple[float, str]], words: tuple[str, str]
    ) -> str:
        """Return both axes: (value, text) of each tick, and what they are."""
        bottom, parts = self.height - self.bottom, []
        for value, text in y:
            at = self.at_y(value)
            parts.append(
                f'<line x1="{self.left}" x2="{self.width - self.right}" y1="{at}" y2="{at}" '
                f'stroke="#d5dbe2" stroke-width="0.7"/>'
                f'<text x="{self.left - 6}" y="{at + 4}" text-anchor="end">{escape(text)}</text>'
            )
        for value, text in x:
            at = self.at_x(value)
            parts.append(
                f'<line x1="{at}" x2="{at}" y1="{bottom}" y2="{bottom + 4}" stroke="{LINE}"/>'
                f'<text x="{at}" y="{bottom + 17}" text-anchor="middle">{escape(text)}</text>'
            )
        middle = (self.left + self.width - self.right) / 2
        parts.append(
            f'<line x1="{self.left}" x2="{self.width - self.right}" y1="{bottom}" y2="{bottom}" '
            f'stroke="{LINE}"/>'
            f'<text x="{middle}" y="{self.height - 8}" text-anchor="middle">'
            f"{escape(words[0])}</text>"
            f'<text transform="translate(13 {(self.top + bottom) / 2}) rotate(-90)" '
            f'text-anchor="middle">{escape(words[1])}</text>'
        )
        return "".join(parts)

    def svg(self, parts: Sequence[str], words: str) -> str:
        """Return the chart; `words` say what it shows to those who cannot see it."""
        return (
            f'<svg viewBox="0 0 {self.width:g} {self.height:g}" role="img" '
            f'aria-label="{escape(words)}">{"".join(parts)}</svg>'
        )


TENTHS: Final = [(i / 5, f"{i / 5:g}") for i in range(6)]
PERCENT: Final = [(i / 5, f"{i * 20} %") for i in range(6)]


def goodness_chart(counts: Sequence[int], threshold: float) -> str:
    """Return the histogram of goodness, logarithmic, with the threshold and what is recommended.

    Parameters
    ----------
    counts
        Picks per equal part of 0 to 1.
    threshold
        -1 draws none.
    """
    n = len(counts)
    decades = max(1, math.ceil(math.log10(max(*counts, 1) + 1)))
    axes = Axes((0.0, 1.0), (0.0, float(decades)))
    parts = [axes.rect(RECOMMENDED, axes.y, BAND)]
    marks = [(float(d), _short(10**d)) for d in range(decades + 1)]
    parts.append(axes.ticks(TENTHS, marks, ("goodness", "picks (logarithmic)")))
    for i, count in enumerate(counts):
        if count:
            colour = KEPT if i / n >= threshold - 1e-9 else REJECTED
            top = max(math.log10(count), 0.06)  # a single pick can be seen
            parts.append(axes.rect(((i + 0.08) / n, (i + 0.92) / n), (0.0, top), colour))
    if threshold >= 0:
        parts.append(axes.upright(threshold, f"threshold {threshold:g}"))
    total = sum(counts)
    return axes.svg(parts, f"Histogram of the goodness of {total} picks, threshold {threshold:g}")


def kept_chart(thresholds: Sequence[float], kept: Sequence[int], threshold: float) -> str:
    """Return the share of kept picks against the threshold.

    Parameters
    ----------
    thresholds, kept
        Picks kept at each; the first threshold keeps all.
    threshold
        The chosen one; -1 marks none.
    """
    axes = Axes((0.0, 1.0), (0.0, 1.0))
    shares = [count / max(kept[0], 1) for count in kept]
    parts = [
        axes.rect(RECOMMENDED, axes.y, BAND),
        axes.ticks(TENTHS, PERCENT, ("threshold", "picks kept")),
        axes.polyline(list(thresholds), shares, KEPT),
    ]
    if threshold >= 0:
        parts.append(axes.upright(threshold, f"threshold {threshold:g}"))
    return axes.svg(parts, "Share of picks kept, against the threshold")


def area_chart(areas: NDArray[np.float64], failed: NDArray[np.bool_]) -> str:
    """Return the bad area in the order of the run: columns by class, and the worst of each column.

    Parameters
    ----------
    areas
        Shape (n, 6): share of each micrograph per class of `CLASS_NAMES`; NaN where it failed.
    failed
        Shape (n,): micrographs that could not be screened; marked below the axis.
    """
    n = len(areas)
    columns = min(n, COLUMNS)
    ends = np.linspace(0, n, columns + 1).round().astype(int)
    bad = 1.0 - areas[:, 0]
    axes = Axes((0.0, float(n)), (0.0, 1.0), width=1150.0, height=300.0)
    step = max(1, 10 ** math.floor(math.log10(max(n, 1))) // (2 if str(n)[0] in "12" else 1))
    parts = [axes.ticks([(float(i), f"{i:,}") for i in range(0, n + 1, step)], PERCENT,
                        ("micrographs in the order of the run", "bad area"))]  # fmt: skip
    for start, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        known = ~np.isnan(bad[start:end])
        if known.any():
            base = 0.0
            means = areas[start:end][known].mean(axis=0)
            for index in range(1, len(CLASS_NAMES)):
                if means[index] > 5e-4:
                    top = base + float(means[index])
                    fill = rgb(CLASS_COLOURS[index])
                    parts.append(axes.rect((start, end), (base, top), fill))
                    base = top
            worst = float(bad[start:end][known].max())
            if end - start > 1 and worst > base + 0.02:
                at = axes.at_x((start + end) / 2), axes.at_y(worst)
                parts.append(f'<circle cx="{at[0]}" cy="{at[1]}" r="1.8" fill="{LINE}"/>')
        if failed[start:end].any():
            x, y = axes.at_x((start + end) / 2), axes.height - axes.bottom + 5
            parts.append(
                f'<path d="M{x - 3} {y - 3}l6 6m0 -6l-6 6" stroke="{REJECTED}" stroke-width="1.6"/>'
            )
    return axes.svg(parts, f"Bad area of {n} micrographs by class, in the order of the run")


def _short(count: int) -> str:
    """Return a power of ten with few characters: 10,000, 100 k or 10 M."""
    if count < 100_000:
        return f"{count:,}"
    return f"{count // 1000} k" if count < 1_000_000 else f"{count // 1_000_000:,} M"
