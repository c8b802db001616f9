"""`micrographs.csv` and `micrographs.star`: one row per micrograph, for people and for curation.

Written from the store only, in the order of the plan, without times: the same inputs give the same
bytes.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

from micscreen.io.exposures import write_exposures
from micscreen.io.files import whole_file
from micscreen.picks import CLASS_NAMES
from micscreen.run.find import EXPOSURES, printable
from micscreen.run.rows import MicrographRow, Scores, kept
from micscreen.run.store import Store

STAR_COLUMNS: Final = {
    "picked_micrograph": "rlnMicrographName",
    "pixel_size": "rlnMicrographPixelSize",
    "status": "micscreenStatus",
    "picks_in": "micscreenPicksIn",
    "picks_kept": "micscreenPicksKept",
    "picks_rejected": "micscreenPicksRejected",
    "picks_unscreened": "micscreenPicksUnscreened",
    "contamination": "micscreenContamination",
    **{f"area_{name}": "micscreenArea" + name.title().replace("_", "") for name in CLASS_NAMES},
    "contrast": "micscreenContrast",
    "suspect": "micscreenSuspect",
    "reason": "micscreenReason",
}
"""Column of the csv -> label in the STAR file."""


def micrograph_records(
    store: Store, threshold: float, on_suspect: Literal["keep", "drop", "flag"]
) -> Iterator[dict[str, str]]:
    """Yield one record per micrograph, in the order of the plan, as text.

    Parameters
    ----------
    store
        The job's.
    threshold, on_suspect
        Decide which picks count as kept.
    """
    for row, scores in store.scored():
        yield _record(row, scores, threshold, on_suspect)


def _record(
    row: MicrographRow,
    scores: Scores | None,
    threshold: float,
    on_suspect: Literal["keep", "drop", "flag"],
) -> dict[str, str]:
    screened = 0 if scores is None else len(scores.rows)
    going_on = 0 if scores is None else int(kept(row, scores, threshold, on_suspect).sum())
    areas = row.area or (None,) * len(CLASS_NAMES)
    return {
        "micrograph": printable(row.path),
        "picked_micrograph": printable(row.picked_path),
        "status": row.status,
        "picks_in": str(row.picks_in),
        "picks_kept": str(going_on),
        "picks_rejected": str(screened - going_on),
        "picks_unscreened": str(row.picks_in - screened),
        "contamination": _number(row.contamination),
        **{f"area_{n}": _number(a) for n, a in zip(CLASS_NAMES, areas, strict=True)},
        "contrast": row.contrast or "",
        "suspect": "; ".join(row.suspect),
        "height": _number(row.height),
        "width": _number(row.width),
        "pixel_size": _number(row.pixel_size),
        "box_size": _number(row.box_size),
        "box_scale": _number(row.box_scale),
        "reason": " ".join((row.reason or "").split()),
        "warnings": "; ".join(row.warnings),
    }


def _number(value: float | None) -> str:
    """Return a number as short text; empty when it is not known."""
    return "" if value is None else f"{value:.6g}"


def write_micrograph_tables(
    store: Store, threshold: float, on_suspect: Literal["keep", "drop", "flag"]
) -> tuple[Path, Path]:
    """Write `micrographs.csv` and `micrographs.star` into the job folder, each whole or not at all.

    Parameters
    ----------
    store
        The job's.
    threshold, on_suspect
        Decide which picks count as kept.
    """
    paths = store.folder / "micrographs.csv", store.folder / "micrographs.star"
    count, filled = 0, Counter[str]()
    with whole_file(paths[0]) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        for record in micrograph_records(store, threshold, on_suspect):
            if not count:
                csv.writer(file, lineterminator="\n").writerow(record)
            csv.writer(file, lineterminator="\n").writerow(record.values())
            filled.update(column for column in STAR_COLUMNS if record[column])
            count += 1
    columns = [c for c in STAR_COLUMNS if filled[c] >= (count if c == "pixel_size" else 1)]
    again = micrograph_records(store, threshold, on_suspect)
    with whole_file(paths[1]) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in _star(again, columns if count else ()))
    return paths


def write_exposure_tables(
    store: Store,
    micrographs: Sequence[str],
    threshold: float,
    on_suspect: Literal["keep", "drop", "flag"],
) -> tuple[Path, ...]:
    """Write cryoSPARC's exposures again, with what was found in each, to ``JOB/exposures``.

    Parameters
    ----------
    store
        The job's.
    micrographs
        What the user named; only .cs and .csg files among it are written.
    threshold, on_suspect
        Decide which picks count as kept.
    """
    sources = [Path(one) for one in micrographs if one.lower().endswith(EXPOSURES)]
    if not sources:
        return ()
    found = {}
    for row, scores in store.scored():
        if row.contamination is None or row.area is None:
            continue
        going_on = 0 if scores is None else int(kept(row, scores, threshold, on_suspect).sum())
        areas = {f"area_{n}": a for n, a in zip(CLASS_NAMES, row.area, strict=True)}
        values = {"contamination": row.contamination, "picks_in": row.picks_in}
        values |= {"picks_kept": going_on, "suspect": float(bool(row.suspect)), **areas}
        found[row.path] = {f"micscreen/{name}": float(value) for name, value in values.items()}
    fields = ["contamination", *(f"area_{n}" for n in CLASS_NAMES)]
    fields += ["picks_in", "picks_kept", "suspect"]
    names = [f"micscreen/{name}" for name in fields]
    written: list[Path] = []
    for source in sources:
        written += write_exposures(source, store.folder / "exposures", found, names)
    return tuple(written)


def _star(records: Iterable[dict[str, str]], columns: Sequence[str]) -> Iterator[str]:
    """Give the lines of a STAR block with some columns of the records.

    Columns of which nothing is known are left out, and pixel sizes unless all are known, since
    RELION would take a gap for a number.
    """
    yield from ("", "# version 30001 micscreen", "", "data_micrographs", "", "loop_")
    yield from (f"_{STAR_COLUMNS[column]} #{i}" for i, column in enumerate(columns, 1))
    for record in records:
        yield " ".join(_star_value(record[column]) for column in columns)
    yield ""


def _star_value(text: str) -> str:
    """Return one value of a STAR row, in quotes where it needs them."""
    if not text:
        return '""'
    plain = not any(c.isspace() for c in text) and text[0] not in "\"'_#$[];"
    if plain and text.lower() not in ("data_", "loop_", "save_", "stop_", "global_"):
        return text
    return '"' + text.replace('"', "'") + '"'
