"""What people look at: thumbnails with mask and picks, and the table at the end of a run.

Everything is made from values; nothing here knows a run, a store or a micrograph file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from micscreen.errors import UsageError
from micscreen.io.files import write_whole
from micscreen.picks import CLASS_NAMES, Picks

if TYPE_CHECKING:
    from rich.table import Table

Colour = tuple[int, int, int]
Picture = NDArray[np.uint8]

CLASS_COLOURS: Final[tuple[Colour, ...]] = (
    (0, 0, 0),
    (230, 159, 0),  # support film: orange
    (0, 114, 178),  # ice contamination: blue
    (86, 180, 233),  # crystalline ice: sky blue
    (204, 121, 167),  # aggregate: reddish purple
    (240, 228, 66),  # damaged: yellow
)
"""Per class, RGB of Okabe and Ito's palette, which colour-blind people can tell apart."""

UNTYPED: Final[Colour] = (255, 255, 255)
"""Of bad regions whose class is not known."""

_COLOURS: Final = (*CLASS_COLOURS, UNTYPED)
_NAMES: Final = (*CLASS_NAMES, "bad_region")

KEPT_COLOUR: Final[Colour] = (0, 158, 115)  # bluish green
REJECTED_COLOUR: Final[Colour] = (213, 94, 0)  # vermilion

INK: Final[Colour] = (236, 236, 236)
PAPER: Final[Colour] = (24, 24, 24)
ROW: Final = 22
"""Height of a line of the legend, px."""

TEXT: Final = 0.45
BAD: Final = 0.5
"""Contamination from which a pixel is inside the line that is drawn."""


SIDE: Final = 768
"""Long side of a thumbnail without its legend, px."""

# --- thumbnails -----------------------------------------------------------------------------------


def sharp_preview(image: NDArray[Any], side: int = SIDE) -> Picture:
    """Return a micrograph (h, w) as 8 bit for `draw_thumbnail`, with a long side of `side` px.

    The network's own picture is too coarse to look at: a box has 16 px there. The darkest and
    brightest two hundredths are cut; a micrograph that is smaller stays as small as it is.
    """
    from micscreen.resample import resample

    factor = min(1.0, side / max(image.shape))
    picture = resample(image, tuple(max(1, round(n * factor)) for n in image.shape)).image
    low, high = np.percentile(picture[::2, ::2], (1, 99))
    stretched = (picture - low) * (255.0 / max(float(high - low), 1e-20))
    return np.asarray(np.clip(stretched, 0, 255).round(), np.uint8)


def draw_thumbnail(
    preview: Picture,
    maps: NDArray[np.float32],
    picks: Picks | None,
    scale: float,
    threshold: float,
    *,
    pixel_size: float | None = None,
    side: int = SIDE,
    title: str = "",
) -> Picture:
    """Draw a micrograph with its bad regions and its picks.

    Bad regions are tinted and outlined in the colour of their class; kept picks are open circles,
    rejected ones crosses, in different colours. Below stand the title, the counts, and each class
    that is there with its share of the picture.

    Parameters
    ----------
    preview
        Shape (H', W'): the micrograph at any scale, see `sharp_preview`.
    maps
        Shape (6, h', w'): probability of each class of `CLASS_NAMES`, over the same field; or
        (2, h', w'): good and bad, of no known class.
    picks
        Scored, in px of the micrograph; None draws none.
    scale
        px of `preview` per px of the micrograph.
    threshold
        Picks with goodness >= threshold are kept; -1 keeps all.
    pixel_size
        Å/px of the micrograph, for the scale bar; None draws none.
    side
        Long side of the picture without its legend, px.
    title
        First line of the legend.

    Returns
    -------
    Shape (H, W, 3), RGB.
    """
    import cv2

    from micscreen.score import keep

    zoom = side / max(preview.shape)
    width, height = (max(1, round(n * zoom)) for n in (preview.shape[1], preview.shape[0]))
    big = cv2.resize(preview, (width, height), interpolation=cv2.INTER_CUBIC)
    classes = np.stack([cv2.resize(m, (width, height)) for m in maps])  # (6, H, W)
    worst = 1 + classes[1:].argmax(axis=0)  # (H, W): the likeliest of the bad classes
    worst = worst if len(maps) > 2 else np.full_like(worst, len(CLASS_NAMES))
    contamination = 1.0 - classes[0]
    regions = np.where(contamination >= BAD, worst, 0)
    picture = _tinted(big, contamination, worst)
    _outline(picture, regions)
    kept = None
    if picks is not None and picks.goodness is not None:
        kept = keep(picks.goodness, threshold)
        _draw_picks(picture, picks.rescaled(scale * zoom), kept)
    if pixel_size is not None and min(width, height) >= 100:
        _scale_bar(picture, pixel_size / (scale * zoom))
    return np.vstack([picture, _legend(width, title, _entries(regions, kept, threshold))])


def _tinted(big: Picture, contamination: NDArray[np.float32], worst: NDArray[np.int64]) -> Picture:
    """Return the picture (H, W, 3) with the colours of the classes over what is bad."""
    colour = np.array(_COLOURS, np.float32)[worst]  # (H, W, 3)
    strength = (0.35 * np.clip((contamination - 0.25) / 0.5, 0.0, 1.0))[..., None]
    tinted = big[..., None] * (1.0 - strength) + colour * strength
    return np.asarray(tinted.round(), np.uint8)


def _outline(picture: Picture, regions: NDArray[np.int64]) -> None:
    """Draw a line around each bad region, in the colour of its class."""
    import cv2

    for index in np.unique(regions[regions > 0]).tolist():
        region = (regions == index).astype(np.uint8)
        lines, _ = cv2.findContours(region, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, lines, -1, _COLOURS[index], 2, cv2.LINE_AA)


def _draw_picks(picture: Picture, picks: Picks, kept: NDArray[np.bool_]) -> None:
    """Draw circles and crosses about as large as the particles, with a dark rim."""
    import cv2

    height, width = picture.shape[:2]
    radius = float(np.clip((picks.box_size or 0.0) / 3.0, 4.0, 14.0))
    near_x = (picks.x > -radius) & (picks.x < width + radius)
    near = near_x & (picks.y > -radius) & (picks.y < height + radius)
    # in 1/16 px, the fractions that OpenCV's drawing takes
    x, y = (np.round(v[near] * 16).astype(int).tolist() for v in (picks.x, picks.y))
    r, arm = round(radius * 16), round(max(radius * 0.7, 4.0) * 16)
    for line, rim in ((4, True), (2, False)):
        for u, v, is_kept in zip(x, y, kept[near].tolist(), strict=True):
            if is_kept:
                colour = PAPER if rim else KEPT_COLOUR
                cv2.circle(picture, (u, v), r, colour, line, cv2.LINE_AA, 4)
            else:
                colour = PAPER if rim else REJECTED_COLOUR
                for sign in (-1, 1):
                    ends = (u - arm, v - sign * arm), (u + arm, v + sign * arm)
                    cv2.line(picture, *ends, colour, line, cv2.LINE_AA, 4)


def _scale_bar(picture: Picture, pixel_size: float) -> None:
    """Draw a bar of a round length, about a fifth of the width; `pixel_size` is Å per px here."""
    import cv2

    height, width = picture.shape[:2]
    wanted = 0.2 * width * pixel_size / 10.0  # nm
    power = 10.0 ** np.floor(np.log10(wanted))
    length = float(max(step * power for step in (1, 2, 5) if step * power <= wanted))
    bar = round(length * 10.0 / pixel_size)
    left, bottom = 16, height - 16
    box = picture[bottom - 34 : bottom + 8, left - 8 : left + bar + 8]
    box[:] = PAPER
    cv2.rectangle(picture, (left, bottom - 5), (left + bar, bottom), INK, -1)
    _write(picture, f"{length:g} nm", left, bottom - 14)


def _entries(
    regions: NDArray[np.int64], kept: NDArray[np.bool_] | None, threshold: float
) -> list[tuple[str, Colour, str]]:
    """Return (mark, colour, text) for each thing the legend explains."""
    entries = []
    if kept is not None:
        n = int(kept.sum())
        entries.append(("circle", KEPT_COLOUR, f"kept {n}"))
        if threshold != -1:
            rejected = f"rejected {len(kept) - n} (below {threshold:g})"
            entries.append(("cross", REJECTED_COLOUR, rejected))
    shares = np.bincount(regions.ravel(), minlength=len(_NAMES)) / max(regions.size, 1)
    for index, name in enumerate(_NAMES[1:], 1):
        if shares[index] > 0:
            words = f"{name.replace('_', ' ')} {shares[index]:.1%}"
            entries.append(("square", _COLOURS[index], words))
    return entries


def _legend(width: int, title: str, entries: Sequence[tuple[str, Colour, str]]) -> Picture:
    """Return the strip (H, width, 3) below the picture; as many lines as the entries need."""
    lines: list[list[tuple[int, tuple[str, Colour, str]]]] = [[]]
    at = 10
    for entry in entries:
        needed = 24 + _text_width(entry[2]) + 18
        if lines[-1] and at + needed > width:
            lines.append([])
            at = 10
        lines[-1].append((at, entry))
        at += needed
    first = 1 if title else 0
    strip = np.empty(((first + len(lines)) * ROW + 10, width, 3), np.uint8)
    strip[:] = PAPER
    if title:
        _write(strip, _fitted(title, width - 20), 10, 5 + ROW - 7)
    for number, line in enumerate(lines, first):
        for left, (mark, colour, text) in line:
            middle = 5 + number * ROW + ROW // 2
            _mark(strip, mark, left + 8, middle, colour)
            _write(strip, text, left + 24, middle + 4)
    return strip


def _mark(picture: Picture, mark: str, x: int, y: int, colour: Colour) -> None:
    import cv2

    if mark == "circle":
        cv2.circle(picture, (x, y), 6, colour, 2, cv2.LINE_AA)
    elif mark == "cross":
        cv2.line(picture, (x - 5, y - 5), (x + 5, y + 5), colour, 2, cv2.LINE_AA)
        cv2.line(picture, (x - 5, y + 5), (x + 5, y - 5), colour, 2, cv2.LINE_AA)
    else:
        cv2.rectangle(picture, (x - 6, y - 6), (x + 6, y + 6), colour, -1)


def _ascii(text: str) -> str:
    """Return what OpenCV's letters can show."""
    return text.encode("ascii", "replace").decode()


def _text_width(text: str) -> int:
    import cv2

    (width, _), _ = cv2.getTextSize(_ascii(text), cv2.FONT_HERSHEY_SIMPLEX, TEXT, 1)
    return int(width)


def _fitted(text: str, width: int) -> str:
    """Return `text`, without its middle when it is wider than `width` px."""
    shown = text
    while len(text) > 8 and _text_width(shown) > width:
        text = text[: len(text) // 2 - 1] + text[len(text) // 2 + 1 :]
        shown = text[: len(text) // 2] + "..." + text[len(text) // 2 :]
    return shown


def _write(picture: Picture, text: str, x: int, y: int) -> None:
    import cv2

    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(picture, _ascii(text), (x, y), font, TEXT, INK, 1, cv2.LINE_AA)


def write_thumbnail(path: Path, picture: Picture) -> None:
    """Write an RGB picture (H, W, 3) as PNG or JPEG, by the name's ending; whole or not at all.

    Raises
    ------
    UsageError
        For another ending.
    """
    import cv2

    ending = path.suffix.lower()
    options = {".png": [], ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 92]}
    options[".jpeg"] = options[".jpg"]
    if ending not in options:
        raise UsageError(
            f"thumbnails are .png or .jpg, not {ending!r}", where=path, hint="Change the ending."
        )
    done, data = cv2.imencode(ending, picture[..., ::-1], options[ending])
    assert done  # only a lack of memory keeps OpenCV from it
    write_whole(path, data.tobytes())


# --- which micrographs get one --------------------------------------------------------------------


def select_spread(count: int, limit: int) -> NDArray[np.int64]:
    """Return which of `count` micrographs get a thumbnail: `limit` of them, evenly spread."""
    n = max(0, min(count, limit))
    return (np.arange(n) * 2 + 1) * count // (2 * max(n, 1))


def take_sample(names: Iterable[str], limit: int) -> list[str]:
    """Return `limit` of the names, spread at random, and the same ones in whatever order they come.

    Those with the smallest hash values are taken, so that a stream knows of each name at once
    whether it is among the sample of all so far.
    """
    return sorted(nsmallest(max(0, limit), names, key=name_rank))


def name_rank(name: str) -> bytes:
    """Return what orders names at random, but always alike."""
    return hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=8).digest()


# --- the table at the end of a run ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """What the table needs to know of one micrograph.

    Attributes
    ----------
    picks_in, kept
        Numbers of picks.
    rejected
        Number of rejected picks per class of `CLASS_NAMES`; the first is those that no class
        condemns (outside the frame, for example).
    failed
        Whether it could not be screened; its picks are then neither kept nor rejected.
    suspect
        Whether the domain guard distrusts it.
    """

    picks_in: int
    kept: int = 0
    rejected: tuple[int, ...] = (0,) * len(CLASS_NAMES)
    failed: bool = False
    suspect: bool = False


def summary_lines(rows: Iterable[SummaryRow]) -> list[tuple[str, int, str]]:
    """Return the table at the end of a run as (what, count, remark); lines of 0 are left out.

    Shares of kept and rejected picks are of the screened ones.
    """
    micrographs = failed = suspect = picks_in = kept = unscreened = 0
    rejected = np.zeros(len(CLASS_NAMES), np.int64)
    for row in rows:
        micrographs += 1
        failed += row.failed
        suspect += row.suspect
        picks_in += row.picks_in
        unscreened += row.picks_in if row.failed else 0
        kept += row.kept
        rejected += np.array(row.rejected)
    screened = max(kept + int(rejected.sum()), 1)
    lines = [
        ("micrographs", micrographs, ""),
        ("  failed", failed, "not screened"),
        ("  suspect", suspect, "look at them"),
        ("picks in", picks_in, ""),
        ("  kept", kept, f"{kept / screened:.1%}"),
        ("  rejected", int(rejected.sum()), f"{rejected.sum() / screened:.1%}"),
    ]
    for index, name in [*enumerate(CLASS_NAMES[1:], 1), (0, "no class")]:
        count = int(rejected[index])
        lines.append((f"    {name.replace('_', ' ')}", count, f"{count / screened:.1%}"))
    lines.append(("  not screened", unscreened, "micrographs failed"))
    always = ("micrographs", "picks in", "  kept", "  rejected")
    return [line for line in lines if line[1] or line[0] in always]


def summary_table(rows: Iterable[SummaryRow], title: str | None = None) -> Table:
    """Return the table at the end of a run for a terminal."""
    from rich.table import Table

    table = Table(title=title, show_header=False, box=None, pad_edge=False)
    table.add_column("what")
    table.add_column("count", justify="right")
    table.add_column("remark", justify="right", style="dim")
    styles = {"  failed": "red", "  suspect": "yellow"}
    for what, count, remark in summary_lines(rows):
        table.add_row(what, f"{count:,}", remark, style=styles.get(what))
    return table


def goodness_histogram(counts: Sequence[int], threshold: float, width: int = 40) -> list[str]:
    """Return how goodness is distributed, a line per bin, with a mark at the threshold's bin.

    Parameters
    ----------
    counts
        Picks per bin; the bins are equal parts of 0 to 1.
    threshold
        -1 marks nothing.
    width
        Characters of the longest bar.
    """
    most, n = max(counts, default=0), len(counts)
    lines = []
    for index, count in enumerate(counts if most else ()):
        eighths = -(-count * width * 8 // most)
        bar = "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
        mark = f"  <- threshold {threshold:g}" if index == min(int(threshold * n), n - 1) else ""
        lines.append(f"{index / n:.2f}-{(index + 1) / n:.2f} {bar} {count:,}{mark}")
    return lines
