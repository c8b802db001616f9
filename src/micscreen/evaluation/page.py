"""The evaluation as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from micscreen.evaluation.measure import THRESHOLDS, Measured
from micscreen.io.labels import BAD_OF_ANY_KIND, IGNORE
from micscreen.pages.charts import PERCENT, TENTHS, Axes
from micscreen.pages.html import (
    bullets,
    figure,
    numbers,
    page,
    pairs,
    paragraph,
    section,
    shortened,
    table,
)
from micscreen.pages.pictures import inside
from micscreen.picks import CLASS_NAMES
from micscreen.report import CLASS_COLOURS, INK

SHEETS: Final = 60
"""Most pictures of which a sheet is shown; the worst ones."""

SHEET_BYTES: Final = 7_000_000
"""All of them together."""

TABLED: Final = 500
"""Most pictures in the table; the worst ones. All stand in the JSON."""

WORDS: Final = [name.replace("_", " ") for name in CLASS_NAMES]


def worst_first(measured: Sequence[Measured]) -> list[Measured]:
    """Sort by how much of a picture is called wrongly; the largest share first."""

    def wrong(one: Measured) -> float:
        p = one.figures.pixels
        total = p.hit + p.missed + p.false_alarm + p.passed
        return (p.missed + p.false_alarm) / max(total, 1)

    return sorted(measured, key=lambda one: (-wrong(one), one.name))


def evaluation_page(
    title: str,
    figures: Mapping[str, Any],
    measured: Sequence[Measured],
    about: Mapping[str, str],
    failed: Sequence[tuple[str, str]],
) -> str:
    """Return the page.

    Parameters
    ----------
    title
        Of the page.
    figures
        Of `summary`.
    measured
        The pictures.
    about
        What was measured with what, as names and texts.
    failed
        Name and reason of pictures that could not be measured.
    """
    order = worst_first(measured)
    subtitle = f"micscreen evaluate: {len(measured)} labelled pictures, {about['weights']}"
    return page(
        title,
        subtitle,
        [
            _overview(figures),
            _picks(figures["pooled"]),
            _classes(figures),
            _calibration(figures),
            section("Sources", _table("source", figures["sources"].items())),
            section(
                "Pictures, worst first",
                _table("picture", [(m.name, m.figures.record()) for m in order[:TABLED]]),
            ),
            _sheets(order),
            section("Not measured", bullets([": ".join(f) for f in failed], 100, "see the JSON")),
            section("What was measured", pairs(about)),
        ],
    )


def _percent(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _overview(figures: Mapping[str, Any]) -> str:
    entries = [
        (_number(figures["iou_mean_over_sources"]), "IoU of bad regions, mean over sources"),
        (_percent(figures["clean_area_called_bad"]), "called bad on pictures without bad regions"),
        (_percent(figures["true_particles_lost_080"]), "true particles lost at 0.8"),
        (_percent(figures["picks_on_bad_removed_080"], 1), "picks on bad regions removed at 0.8"),
        (_number(figures["typing_macro_f1"]), "macro-F1 of the classes present"),
        (
            _number(figures["calibration_error_mean_over_pictures"]),
            f"calibration error, mean over pictures ({_number(figures['calibration_error_pooled'])}"
            " pooled)",
        ),
    ]
    return section("Overview", numbers(entries))


def _picks(pooled: Mapping[str, Any]) -> str:
    """Return what the thresholds do to picks."""
    columns = [
        ("true_particles", "true_particles_lost", "true particles lost"),
        ("picks_on_bad", "picks_on_bad_removed", "picks on bad regions removed"),
        ("picks_elsewhere", "picks_elsewhere_removed", "picks elsewhere removed"),
    ]
    columns = [column for column in columns if pooled[column[0]]]
    if not columns:
        return ""
    rows = [
        (f"{t:.2f}", *(_percent(pooled[share][f"{t:.2f}"]) for _, share, _ in columns))
        for t in THRESHOLDS
    ]
    head = ("threshold", *(f"of {pooled[n]:,} {words}" for n, _, words in columns))
    marked = THRESHOLDS.index(0.8)
    words = "True particles and picks elsewhere lie outside labelled bad regions."
    return section("Picks", table(head, rows, marked=marked), paragraph(words, quiet=True))


def _classes(figures: Mapping[str, Any]) -> str:
    """Return the figures per class and the confusion matrix."""
    by_class = figures["pooled"]["classes"]
    if not by_class:
        return ""
    keys = ("iou", "precision", "recall", "f1")
    rows = [
        (
            name.replace("_", " "),
            _percent(one["called_bad"], 1),
            *(_number(one.get(k)) for k in keys),
        )
        for name, one in by_class.items()
    ]
    colours = [CLASS_COLOURS[CLASS_NAMES.index(name)] for name in by_class]
    head = ("class", "called bad, of any kind", "IoU", "precision", "recall", "F1")
    parts = [table(head, rows, swatches=colours)]
    if figures["typing"]:
        typing = np.array(figures["typing"], np.float64)
        shares = typing / np.maximum(typing.sum(axis=1, keepdims=True), 1)
        there = [i for i in range(len(CLASS_NAMES)) if typing[i].sum()]
        matrix = [(WORDS[i], *(_percent(v, 1) for v in shares[i])) for i in there]
        parts += ["<h3>Labelled class, and what it is called</h3>"]
        parts += [table(("labelled", *WORDS), matrix)]
    return section("Classes", *parts)


def _calibration(figures: Mapping[str, Any]) -> str:
    """Return the reliability diagram."""
    bins = np.array(figures["reliability"])
    axes = Axes((0.0, 1.0), (0.0, 1.0), width=420.0, height=380.0)
    known = bins[0] > 0
    chance = (bins[1][known] / bins[0][known]).tolist()
    share = (bins[2][known] / bins[0][known]).tolist()
    dots = [
        f'<circle cx="{axes.at_x(a)}" cy="{axes.at_y(b)}" r="4" fill="#0072b2"/>'
        for a, b in zip(chance, share, strict=True)
    ]
    words = ("contamination predicted (mean of bin)", "bad in truth")
    parts = [
        axes.ticks(TENTHS, PERCENT, words),
        axes.polyline((0.0, 1.0), (0.0, 1.0), "#8a94a3"),
        axes.polyline(chance, share, "#0072b2"),
        *dots,
    ]
    counts = [
        (f"{i / len(bins[0]):.2f}-{(i + 1) / len(bins[0]):.2f}", f"{int(n):,}")
        for i, n in enumerate(bins[0])
    ]
    diagram = axes.svg(parts, "Reliability diagram: share of bad pixels against predicted")
    return section(
        "Calibration",
        f'<div class="side">{figure(diagram, "On the grey line probabilities are right.")}'
        f"{table(('contamination', 'pixels'), counts)}</div>",
    )


def _table(what: str, records: Any) -> str:
    """Return a table of records by name."""
    rows = [
        (
            shortened(name, 80),
            _percent(r["bad"], 1),
            _number(r.get("iou_mean_over_pictures", r["iou"])),
            _number(r["precision"]),
            _number(r["recall"]),
            _percent(r["called_bad"]),
            _number(r["calibration_error"]),
            f"{r['true_particles']:,}",
            _percent(r["true_particles_lost"]["0.80"]),
            f"{r['picks_on_bad']:,}",
            _percent(r["picks_on_bad_removed"]["0.80"], 1),
        )
        for name, r in records
    ]
    head = (
        what, "bad", "IoU", "precision", "recall", "called bad", "calibration error", "particles",
        "lost at 0.8", "picks on bad", "removed",
    )  # fmt: skip
    return table(head, rows)


def _sheets(order: Sequence[Measured]) -> str:
    """Return input, prediction and truth side by side."""
    shown = order[:SHEETS]
    limit = SHEET_BYTES // max(len(shown), 1)
    figures = []
    for one in shown:
        f = one.figures.pixels
        iou = "-" if np.isnan(f.iou) else f"{f.iou:.2f}"
        words = (
            f"{shortened(one.name, 80)} ({one.source}): IoU {iou}, called bad {f.called_bad:.1%}"
        )
        words += f", bad {one.figures.bad:.1%}"
        sheet = inside(contact_sheet(one), limit, f"Input, prediction and truth of {one.name}")
        figures.append(figure(sheet, words))
    words = "From left to right: the picture, what was found, what is labelled (grey: left out)."
    if len(order) > SHEETS:
        words += f" The {SHEETS} worst of {len(order)}."
    return section("Contact sheets, worst first", paragraph(words, quiet=True), *figures)


def contact_sheet(one: Measured) -> NDArray[np.uint8]:
    """Return input, prediction and truth side by side: (h, 3 w + 16, 3), RGB."""
    import cv2

    h, w = one.image.shape
    grey = np.repeat(one.image[..., None], 3, axis=2)
    panels = [grey]
    for classes in (one.found, one.truth):
        big = cv2.resize(classes, (w, h), interpolation=cv2.INTER_NEAREST)
        colours = np.zeros((256, 3), np.float32)
        colours[: len(CLASS_COLOURS)] = CLASS_COLOURS
        colours[BAD_OF_ANY_KIND], colours[IGNORE] = (213, 94, 0), (128, 128, 128)
        tinted = 0.45 * grey + 0.55 * colours[big]
        panels.append(np.where((big > 0)[..., None], tinted, grey).astype(np.uint8))
    gap = np.full((h, 8, 3), INK, np.uint8)
    return np.concatenate([panels[0], gap, panels[1], gap, panels[2]], axis=1)
