"""The report of a job as one page, from values alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from micscreen.pages.charts import RECOMMENDED, area_chart, goodness_chart, kept_chart
from micscreen.pages.html import (
    bullets,
    escape,
    figure,
    numbers,
    page,
    pairs,
    paragraph,
    section,
    shortened,
    table,
)
from micscreen.picks import CLASS_NAMES
from micscreen.report import CLASS_COLOURS

LISTED: Final = 100
"""How many failed, suspect and empty micrographs are listed, of each kind."""

TABLED: Final = (-1.0, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
"""Thresholds whose counts stand in the table, beside the chosen one."""


@dataclass(frozen=True, slots=True)
class MicrographFigures:
    """What the page says of one micrograph.

    Attributes
    ----------
    name
        As it can be printed.
    status, reason
        `done`, `failed` (with the reason) or `pending`.
    picks_in, kept
        Numbers of picks.
    rejected
        Number of rejected picks per class of `CLASS_NAMES`; the first: by no class.
    contamination
        Mean over the micrograph; None when it was not screened.
    area
        Share of the micrograph per class; None when it was not screened.
    suspect
        Why the domain guard distrusts it.
    """

    name: str
    status: str
    reason: str
    picks_in: int
    kept: int = 0
    rejected: tuple[int, ...] = (0,) * len(CLASS_NAMES)
    contamination: float | None = None
    area: tuple[float, ...] | None = None
    suspect: tuple[str, ...] = ()

    @property
    def bad_area(self) -> float:
        """Share of the micrograph that is bad; 0 when it was not screened."""
        return 0.0 if self.area is None else 1.0 - self.area[0]


@dataclass(frozen=True, slots=True)
class JobFigures:
    """What the page says of a job.

    Attributes
    ----------
    name
        Of the job folder.
    threshold, on_suspect
        How kept picks are counted.
    micrographs
        In the order of the run.
    histogram
        Picks per equal part of 0 to 1 of goodness.
    kept_at
        Picks kept at each threshold of a dense row from 0 to 1, (threshold, count).
    tabled
        The same at `TABLED` and the chosen threshold.
    about
        Parameters and versions, as names and texts.
    warnings
        What the run told the user.
    card
        The model card, and a sentence about it.
    """

    name: str
    threshold: float
    on_suspect: str
    micrographs: tuple[MicrographFigures, ...]
    histogram: tuple[int, ...]
    kept_at: tuple[tuple[float, int], ...]
    tabled: tuple[tuple[float, int], ...]
    about: Mapping[str, str]
    warnings: tuple[str, ...]
    card: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Micrographs of which the page shows more: positions in `JobFigures.micrographs`."""

    worst: tuple[int, ...]
    best: tuple[int, ...]
    sample: tuple[int, ...]


def choose(micrographs: Sequence[MicrographFigures], sampled: Sequence[str], each: int) -> Chosen:
    """Choose the worst and best micrographs, and of the others the sample that has pictures.

    The worst have the largest bad area; the best the least contamination, among those that keep
    picks where any does.

    Parameters
    ----------
    micrographs
        All of the job.
    sampled
        Names of those that have a picture.
    each
        How many are worst and best at most.
    """
    done = [i for i, m in enumerate(micrographs) if m.area is not None]
    each = min(each, (len(done) + 1) // 2)
    worst = sorted(done, key=lambda i: (-micrographs[i].bad_area, i))
    worst = [i for i in worst[:each] if micrographs[i].bad_area > 0]
    rest = [i for i in done if i not in set(worst) and not micrographs[i].suspect]
    keeping = [i for i in rest if micrographs[i].kept] or rest
    best = sorted(keeping, key=lambda i: (micrographs[i].contamination or 0, -micrographs[i].kept))
    best = best[:each]
    there, above = set(sampled), {*worst, *best}
    sample = (i for i, m in enumerate(micrographs) if m.name in there and i not in above)
    return Chosen(tuple(worst), tuple(best), tuple(sample))


def job_page(job: JobFigures, chosen: Chosen, pictures: Mapping[str, str]) -> str:
    """Return the whole page.

    Parameters
    ----------
    job
        All figures.
    chosen
        Of `choose`.
    pictures
        HTML of a picture, by the micrograph's name; those without one stand in tables only.
    """
    done = sum(m.status == "done" for m in job.micrographs)
    at = "all picks kept" if job.threshold == -1 else f"threshold {job.threshold:g}"
    subtitle = f"micscreen report: {done:,} of {len(job.micrographs):,} micrographs screened, {at}"
    return page(
        f"Screening of {job.name}",
        subtitle,
        [
            _overview(job),
            _goodness(job),
            _run(job),
            _classes(job),
            _listed(job),
            _ranked("Worst micrographs", "The largest bad area.", job, chosen.worst, pictures),
            _ranked(
                "Best micrographs", "The least contamination, and picks that are kept.",
                job, chosen.best, pictures,
            ),
            _gallery(job, chosen.sample, pictures),
            section("Parameters and versions", pairs(job.about)),
            section("What the run warned of", bullets(job.warnings, LISTED, "micscreen show JOB")),
            _card(job),
        ],
    )  # fmt: skip


def _overview(job: JobFigures) -> str:
    """Return the large numbers."""
    counts = dict.fromkeys(("done", "failed", "pending"), 0)
    for one in job.micrographs:
        counts[one.status] += 1
    suspect = sum(bool(m.suspect) for m in job.micrographs)
    picks_in = sum(m.picks_in for m in job.micrographs)
    kept = sum(m.kept for m in job.micrographs)
    rejected = sum(sum(m.rejected) for m in job.micrographs)
    screened = max(kept + rejected, 1)
    areas = [m.bad_area for m in job.micrographs if m.area is not None]
    mean = sum(areas) / max(len(areas), 1)
    entries = [
        (f"{counts['done']:,}", "micrographs screened"),
        (f"{picks_in:,}", "picks in"),
        (f"{kept:,}", f"picks kept ({kept / screened:.1%})"),
        (f"{rejected:,}", f"picks rejected ({rejected / screened:.1%})"),
        (f"{mean:.2%}", "bad area, mean of micrographs"),
        (f"{suspect:,}", "suspect micrographs"),
        (f"{counts['failed']:,}", "failed micrographs"),
    ]
    if picks_in - kept - rejected:
        entries.append((f"{picks_in - kept - rejected:,}", "picks not screened"))
    note = ""
    if counts["pending"]:
        note = paragraph(
            f"Not finished: {counts['pending']:,} micrographs are still to be screened."
        )
    return section("Overview", note, numbers(entries))


def _goodness(job: JobFigures) -> str:
    """Return the histogram, the curve, and the table of thresholds."""
    total = max(job.kept_at[0][1] if job.kept_at else 0, 1)
    rows = [
        ("all" if t == -1 else f"{t:g}", f"{n:,}", f"{n / total:.1%}", f"{total - n:,}")
        for t, n in job.tabled
    ]
    marked = [t for t, _ in job.tabled].index(job.threshold)
    curve = kept_chart([t for t, _ in job.kept_at], [n for _, n in job.kept_at], job.threshold)
    low, high = RECOMMENDED
    return section(
        "Goodness of the picks",
        paragraph(
            "A pick is kept when its goodness, one minus the contamination in its neighbourhood, "
            f"is at least the threshold. {low:g} to {high:g} (shaded) is recommended; higher "
            "rejects more.",
            quiet=True,
        ),
        f'<div class="side">{figure(goodness_chart(job.histogram, job.threshold))}{figure(curve)}'
        "</div>",
        table(("threshold", "kept", "share", "rejected"), rows, marked=marked),
        paragraph("Another threshold: micscreen rethreshold JOB --threshold T", quiet=True),
    )


def _run(job: JobFigures) -> str:
    """Return the bad area in the order of the run."""
    if not job.micrographs:
        return ""
    unknown = (float("nan"),) * len(CLASS_NAMES)
    areas = np.array([m.area or unknown for m in job.micrographs], np.float64)  # (n, 6)
    failed = np.array([m.status == "failed" for m in job.micrographs], np.bool_)
    return section(
        "Bad area over the run",
        f'<div class="wide">{figure(area_chart(areas, failed))}</div>',
        paragraph(
            "Columns: mean bad area by class, in the colours of the next table. Dots: the worst "
            "micrograph of a column that stands for several. Crosses below the axis: failed.",
            quiet=True,
        ),
    )


def _classes(job: JobFigures) -> str:
    """Return the table of classes."""
    done = [m for m in job.micrographs if m.area is not None]
    rejected = np.sum([m.rejected for m in job.micrographs] or [(0,) * 6], axis=0)
    total = max(int(rejected.sum()) + sum(m.kept for m in job.micrographs), 1)
    rows = []
    for index, name in enumerate(CLASS_NAMES[1:], 1):
        areas = [m.area[index] for m in done if m.area is not None]
        rows.append(
            (
                name.replace("_", " "),
                f"{sum(areas) / max(len(areas), 1):.2%}",
                f"{max(areas, default=0.0):.1%}",
                f"{sum(area > 0.01 for area in areas):,}",
                f"{rejected[index]:,}",
                f"{rejected[index] / total:.2%}",
            )
        )
    rows.append(
        ("none: no image there", "", "", "", f"{rejected[0]:,}", f"{rejected[0] / total:.2%}")
    )
    head = ("class", "mean area", "largest", "micrographs above 1 %", "picks rejected", "of all")
    return section("Classes", table(head, rows, swatches=CLASS_COLOURS[1:]))


def _listed(job: JobFigures) -> str:
    """Return the micrographs that want a look: failed, suspect, without a kept pick."""
    failed = [f"{m.name}: {m.reason}" for m in job.micrographs if m.status == "failed"]
    suspect = [f"{m.name}: {'; '.join(m.suspect)}" for m in job.micrographs if m.suspect]
    empty = [
        f"{m.name}: 0 of {m.picks_in:,} picks kept"
        for m in job.micrographs
        if m.status == "done" and m.picks_in and not m.kept
    ]
    parts = []
    for words, entries, rest in (
        ("failed", failed, "micscreen show JOB --failed"),
        ("suspect", suspect, "micscreen show JOB --suspect"),
        ("without a kept pick", empty, "micscreen show JOB --micrographs"),
    ):
        if entries:
            parts.append(f"<h3>{len(entries):,} {words}</h3>{bullets(entries, LISTED, rest)}")
    return section("Micrographs that want a look", *parts)


def _ranked(
    heading: str, words: str, job: JobFigures, which: Sequence[int], pictures: Mapping[str, str]
) -> str:
    """Return a table of micrographs, and the pictures that there are of them."""
    if not which:
        return ""
    rows = []
    for i in which:
        one = job.micrographs[i]
        assert one.area is not None
        most = 1 + int(np.argmax(one.area[1:]))
        name = CLASS_NAMES[most].replace("_", " ") if one.area[most] > 0 else ""
        picks = f"{one.kept:,} of {one.picks_in:,}"
        rows.append((f"{i + 1:,}", shortened(one.name, 120), f"{one.bad_area:.1%}", name, picks))
    head = ("number", "micrograph", "bad area", "most of it", "picks kept")
    return section(
        heading,
        paragraph(words, quiet=True),
        table(head, rows, text=(1, 3)),
        _pictures([job.micrographs[i] for i in which], pictures),
    )


def _gallery(job: JobFigures, which: Sequence[int], pictures: Mapping[str, str]) -> str:
    """Return the sample of pictures."""
    inside = _pictures([job.micrographs[i] for i in which], pictures)
    if not inside:
        return ""
    words = (
        "Others, spread over the run. Circles: kept picks; crosses: rejected; tinted: bad regions."
    )
    return section("Sample", paragraph(words, quiet=True), inside)


def _pictures(which: Sequence[MicrographFigures], pictures: Mapping[str, str]) -> str:
    """Return the pictures of some micrographs."""
    found = [
        figure(
            pictures[m.name],
            f"{shortened(m.name, 120)}: {m.kept:,} of {m.picks_in:,} picks kept, "
            f"bad area {m.bad_area:.1%}",
        )
        for m in which
        if m.name in pictures
    ]
    return f'<div class="pictures">{"".join(found)}</div>' if found else ""


def _card(job: JobFigures) -> str:
    """Return the model card, folded."""
    text, words = job.card
    card = f"<details><summary>Model card</summary><pre>{escape(text)}</pre></details>"
    return section("Model", paragraph(words), card if text else "")


def known_settings(identity: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the settings of a job that were given or matter, as names and short texts."""
    texts = {}
    for group in identity.values():
        for name, value in group.items():
            if value is None or value in ([], ()):
                continue
            shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            texts[name.replace("_", " ")] = shortened(shown)
    return texts
