"""Sets of coordinates from stored scores: nothing lost, nothing twice, nothing half."""

from __future__ import annotations

import csv
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micscreen.errors import JobError, JobLockedError, PicksError, UsageError
from micscreen.io import FORMATS, read_coordinates
from micscreen.io.table import PickTable
from micscreen.run.export import ASIDE, SETS_LOCK, ExportReport, ExportSettings, export, rethreshold
from micscreen.run.lock import JobLock
from micscreen.run.rows import MicrographRow, Scores
from micscreen.run.settings import InputSettings, ScreenSettings
from micscreen.run.sources import check_sources, describe_sources
from micscreen.run.store import Store
from micscreen.run.tables import write_micrograph_tables

HEAD = "\ndata_particles\n\nloop_\n_rlnMicrographName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\n"


def star_rows(path: Path) -> list[str]:
    """The first three values of each row: what came in, without the goodness."""
    lines = path.read_text().splitlines()
    return [" ".join(line.split()[:3]) for line in lines if ".mrc" in line]


def particles(path: Path, owners: Sequence[int]) -> PickTable:
    rows = "".join(f"mics/m{m}.mrc {i}.50 {i}.250\n" for i, m in enumerate(owners))
    path.write_text(HEAD + rows)
    return read_coordinates(path)


def row_of(position: int, table: int, index: int, n: int, **values: object) -> MicrographRow:
    row = MicrographRow(
        name=f"m{position}",
        position=position,
        path=f"mics/m{position}.mrc",
        picked_path=f"mics/m{position}.mrc",
        source=table,
        micrograph_index=index,
        picks_in=n,
        status="done",
        picked_height=1000,
        picked_width=1000,
        box_size=64.0,
        box_scale=1.0,
    )
    return replace(row, **values)  # type: ignore[arg-type]


def scores_of(table: PickTable, rows: np.ndarray, goodness: np.ndarray) -> Scores:
    n = len(rows)
    return Scores(
        rows=rows.astype(np.int64),
        x=table.x[rows].astype(np.float32),
        y=table.y[rows].astype(np.float32),
        goodness=goodness.astype(np.float32),
        class_index=np.full(n, 2, np.uint8),
        distance=np.full(n, 3.0, np.float32),
        reason=np.where(goodness < 0.5, 1, 0).astype(np.uint8),
    )


def fill(
    job: Path,
    tables: Sequence[PickTable],
    goodness: Sequence[np.ndarray],
    failed: frozenset[str] = frozenset(),
    **values: object,
) -> Store:
    """A job in which every micrograph of the tables was screened, but for the failed ones."""
    job.mkdir(exist_ok=True)
    store = Store(job, create=True)
    inputs = InputSettings(("mics",), ("picks",), box_size=64.0)
    store.note(identity=ScreenSettings(inputs, job).identity())
    store.register([], describe_sources(tables))
    position = 0
    for t, table in enumerate(tables):
        for m, rows in enumerate(table.rows_by_micrograph()):
            row = row_of(position, t, m, len(rows), **values)
            if row.name in failed:
                store.add(replace(row, status="failed", reason="truncated"), None)
            else:
                store.add(row, scores_of(table, rows, goodness[t][rows]))
            position += 1
    store.flush()
    return store


def export_with(store: Store, tables: Sequence[PickTable], **values: object) -> ExportReport:
    return export(store, tables, ExportSettings(**values))  # type: ignore[arg-type]


@settings(deadline=None, max_examples=40)
@given(
    owners=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    failed=st.frozensets(st.sampled_from(["m0", "m1", "m2", "m3"])),
    threshold=st.sampled_from([-1.0, 0.0, 0.5, 0.8, 1.0]),
    on_suspect=st.sampled_from(["keep", "drop", "flag"]),
    seed=st.integers(0, 99),
)
def test_every_row_is_in_exactly_one_set(
    owners: list[int], failed: frozenset[str], threshold: float, on_suspect: str, seed: int
) -> None:
    """Kept, rejected and unscreened together hold each row of the input once, as it was."""
    with tempfile.TemporaryDirectory() as folder:
        table = particles(Path(folder) / "particles.star", owners)
        goodness = np.random.default_rng(seed).choice([0.0, 0.4, 0.5, 0.8, 0.9, 1.0], len(owners))
        job = Path(folder) / "job"
        with fill(job, [table], [goodness], failed, suspect=("odd",)) as store:
            report = export_with(store, [table], threshold=threshold, on_suspect=on_suspect)
        found: Counter[str] = Counter()
        for one in report.folders:
            for path in one.iterdir():
                found.update(star_rows(path))
        assert found == Counter(star_rows(table.source))
        assert report.kept + report.rejected + report.unscreened == len(owners)
        assert sum(report.rejected_by.values()) == report.rejected


def test_the_threshold_is_inclusive_and_names_the_sets(tmp_path: Path) -> None:
    """Goodness equal to the threshold is kept; the folders say threshold and verdict."""
    table = particles(tmp_path / "particles.star", [0, 0, 1])
    with fill(tmp_path / "job", [table], [np.array([0.8, 0.79, 1.0])]) as store:
        report = export_with(store, [table])
        assert [path.name for path in report.folders] == [
            "picks_auto_080",
            "picks_auto_080_rejected",
        ]
        full = export_with(store, [table], threshold=-1)
        assert [path.name for path in full.folders] == ["picks_full"]
    assert star_rows(report.folders[0] / "particles.star") == [
        "mics/m0.mrc 0.50 0.250",
        "mics/m1.mrc 2.50 2.250",
    ]
    assert (full.kept, full.rejected) == (3, 0)
    assert "_micscreenGoodness" in (report.folders[0] / "particles.star").read_text()


def test_suspect_micrographs_follow_the_option(tmp_path: Path) -> None:
    """keep keeps all their picks, drop drops all, flag decides by score; others are untouched."""
    table = particles(tmp_path / "particles.star", [0, 0, 0])
    with fill(
        tmp_path / "job", [table], [np.array([0.1, 0.2, 0.9])], suspect=("inverted",)
    ) as store:
        counts = {
            word: export_with(store, [table], on_suspect=word).kept
            for word in ("keep", "drop", "flag")
        }
    assert counts == {"keep": 3, "drop": 0, "flag": 1}


def test_a_set_is_replaced_whole(tmp_path: Path) -> None:
    """Exporting again leaves no file of the older set, none of its folders, nothing half."""
    table = particles(tmp_path / "particles.star", [0, 1])
    job = tmp_path / "job"
    with fill(job, [table], [np.ones(2)], frozenset({"m1"})) as store:
        first = export_with(store, [table])
        assert (job / "picks_auto_080_unscreened").is_dir()
        (first.folders[0] / "older.star").touch()
        (job / f"{ASIDE}new-killed").mkdir()
        (job / "masks").mkdir()
        (job / "masks" / ".tmp-123-m0.tif").touch()
        store.add(row_of(1, 0, 1, 1), scores_of(table, np.array([1]), np.ones(1)))
        second = export_with(store, [table])
    assert not (job / "picks_auto_080_unscreened").exists()
    assert [path.name for path in second.folders[0].iterdir()] == ["particles.star"]
    assert not list(job.rglob(".tmp*"))


def test_a_set_that_fails_leaves_the_older_one(tmp_path: Path) -> None:
    """When writing stops in the middle, the set that was there is still whole."""
    table = particles(tmp_path / "particles.star", [0, 1])
    with fill(tmp_path / "job", [table], [np.ones(2)]) as store:
        report = export_with(store, [table])
        before = (report.folders[0] / "particles.star").read_bytes()
        table.source.write_text(HEAD + "mics/m0.mrc 1 1\n")
        with pytest.raises(PicksError):
            export_with(store, [table])
    assert (report.folders[0] / "particles.star").read_bytes() == before
    assert not list((tmp_path / "job").glob(".tmp*"))


def per_micrograph(folder: Path, names: Sequence[str]) -> list[PickTable]:
    tables = []
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x,y\n1,2\n3,4\n")
        tables.append(read_coordinates(path))
    return tables


def test_files_keep_their_names_and_empty_ones_are_valid(tmp_path: Path) -> None:
    """One file per micrograph in, one out; where all picks go, a valid file with no picks."""
    tables = per_micrograph(tmp_path / "picks", ["m0.csv", "m1.csv"])
    with fill(tmp_path / "job", tables, [np.ones(2), np.zeros(2)]) as store:
        kept_folder, rejected_folder = export_with(store, tables).folders
    for folder, counts in ((kept_folder, [2, 0]), (rejected_folder, [0, 2])):
        assert [len(read_coordinates(folder / f"m{i}.csv")) for i in (0, 1)] == counts


def test_equal_file_names_keep_their_folders(tmp_path: Path) -> None:
    """Files of the same name from two grids do not overwrite each other."""
    tables = per_micrograph(tmp_path / "picks", ["grid1/m.csv", "grid2/m.csv"])
    with fill(tmp_path / "job", tables, [np.ones(2), np.ones(2)]) as store:
        folder = export_with(store, tables).folders[0]
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.csv"))
    assert found == ["grid1/m.csv", "grid2/m.csv"]


def test_files_that_share_a_third_one_are_written_side_by_side(tmp_path: Path) -> None:
    """Sixty Xmipp files with one config.xmd between them come out whole, with their box."""
    (tmp_path / "picks").mkdir()
    config = "# XMIPP_STAR_1 *\ndata_properties\n _particleSize 64\n"
    (tmp_path / "picks/config.xmd").write_text(config)
    head = "# XMIPP_STAR_1 *\ndata_particles\nloop_\n _xcoor\n _ycoor\n"
    tables = []
    for number in range(60):
        path = tmp_path / "picks" / f"m{number}.pos"
        path.write_text(head + " 10 20\n 30 40\n")
        tables.append(read_coordinates(path))
    assert tables[0].box_size == 64.0
    with fill(tmp_path / "job", tables, [np.ones(2)] * 60) as store:
        folder = export_with(store, tables).folders[0]
    found = [read_coordinates(path) for path in folder.glob("*.pos")]
    assert [(len(table), table.box_size) for table in found] == [(2, 64.0)] * 60


def test_picks_of_a_failed_micrograph_stand_in_the_third_set_alone(tmp_path: Path) -> None:
    """A file whose micrograph failed is neither kept nor rejected, and has no goodness."""
    tables = per_micrograph(tmp_path / "picks", ["m0.csv", "m1.csv"])
    with fill(tmp_path / "job", tables, [np.ones(2), np.ones(2)], frozenset({"m1"})) as store:
        report = export_with(store, tables)
    files = {folder.name: sorted(p.name for p in folder.iterdir()) for folder in report.folders}
    assert files == {
        "picks_auto_080": ["m0.csv"],
        "picks_auto_080_rejected": ["m0.csv"],
        "picks_auto_080_unscreened": ["m1.csv"],
    }
    assert (report.folders[2] / "m1.csv").read_text() == "x,y\n1,2\n3,4\n"


@settings(deadline=None, max_examples=25)
@given(scale=st.floats(0.1, 8.0))
def test_coordinates_follow_the_other_micrographs_when_asked(scale: float) -> None:
    """On the scale of the other set pixel centres map to pixel centres; else text stays as is."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = particles(folder / "particles.star", [0, 0])
        with fill(folder / "job", [table], [np.ones(2)], box_scale=scale) as store:
            moved = export_with(store, [table], coordinate_scale="micrographs").folders[0]
            x = read_coordinates(moved / "particles.star").x
            assert np.allclose(x, (table.x + 0.5) * scale - 0.5, atol=2e-6)
            same = export_with(store, [table]).folders[0]
        assert star_rows(same / "particles.star") == star_rows(table.source)


@pytest.mark.parametrize("name", [k for k, f in FORMATS.items() if f.write_new is not None])
def test_sets_convert_to_every_format_that_can_be_written(tmp_path: Path, name: str) -> None:
    """--format NAME writes files that read back as NAME, with the same centres."""
    table = particles(tmp_path / "particles.star", [0, 0, 1])
    with fill(tmp_path / "job", [table], [np.array([1.0, 0.0, 1.0])]) as store:
        report = export_with(store, [table], output_format=name)
    found = [
        x
        for path in sorted(report.folders[0].iterdir())
        if path.is_file() and path.name.endswith(FORMATS[name].extensions)
        for x in read_coordinates(path, format=name).x
    ]
    assert np.allclose(sorted(found), [0.5, 2.5], atol=0.51)
    assert (report.kept, report.rejected) == (2, 1)


def test_formats_that_cannot_be_written_are_refused_at_once() -> None:
    """Asking for a conversion that is impossible names those that are possible."""
    with pytest.raises(UsageError, match="csv"):
        ExportSettings(output_format="nonsense")


def test_a_new_threshold_needs_only_store_and_coordinates(tmp_path: Path) -> None:
    """Rethreshold writes what a run with that threshold would, without any micrograph."""
    table = particles(tmp_path / "particles.star", [0, 0, 1, 1])
    goodness = np.array([0.5, 0.9, 0.95, 0.2])
    fill(tmp_path / "job", [table], [goodness]).close()
    report = rethreshold(tmp_path / "job", 0.93)
    assert (report.kept, report.rejected, report.unscreened) == (1, 3, 0)
    assert [path.name for path in report.folders] == ["picks_auto_093", "picks_auto_093_rejected"]
    assert star_rows(report.folders[0] / "particles.star") == ["mics/m1.mrc 2.50 2.250"]
    assert report.rejected_by == {"ice_contamination": 3}
    with pytest.raises(UsageError):
        rethreshold(tmp_path / "job", 1.2)


def test_changed_or_missing_coordinates_are_refused(tmp_path: Path) -> None:
    """Scores belong to rows of a file: another file is refused, a touched one is not."""
    table = particles(tmp_path / "particles.star", [0, 0])
    fill(tmp_path / "job", [table], [np.ones(2)]).close()
    os.utime(table.source, (1, 1))
    assert rethreshold(tmp_path / "job", 0.5).kept == 2
    text = table.source.read_text()
    table.source.write_text(text.replace("1.50", "1.51"))
    with pytest.raises(PicksError, match="changed"):
        rethreshold(tmp_path / "job", 0.5)
    table.source.unlink()
    with pytest.raises(PicksError, match="gone"):
        rethreshold(tmp_path / "job", 0.5)


def test_all_files_that_changed_are_counted_in_one_error(tmp_path: Path) -> None:
    """Of two changed and one missing file the user hears in one message."""
    tables = per_micrograph(tmp_path, ["a.csv", "b.csv", "c.csv"])
    sources = describe_sources(tables)
    check_sources(sources)
    (tmp_path / "a.csv").write_text("x,y\n1,3\n3,4\n")
    (tmp_path / "b.csv").write_text("x,y\n")
    (tmp_path / "c.csv").unlink()
    with pytest.raises(PicksError, match=r"1 are gone.*2 have changed"):
        check_sources(sources)


def test_sets_are_written_by_one_at_a_time_but_also_during_a_run(tmp_path: Path) -> None:
    """A run does not stop a rethreshold, another rethreshold does; an empty job is refused."""
    table = particles(tmp_path / "particles.star", [0])
    fill(tmp_path / "job", [table], [np.ones(1)]).close()
    with JobLock(tmp_path / "job"):
        assert rethreshold(tmp_path / "job", 0.5).kept == 1
    with JobLock(tmp_path / "job", SETS_LOCK), pytest.raises(JobLockedError):
        rethreshold(tmp_path / "job", 0.6)
    (tmp_path / "new").mkdir()
    Store(tmp_path / "new", create=True).close()
    with pytest.raises(JobError, match="nothing was screened"):
        rethreshold(tmp_path / "new", 0.5)


def test_the_micrograph_tables_count_what_the_sets_hold(tmp_path: Path) -> None:
    """csv and STAR list each micrograph in order with kept, rejected and unscreened picks."""
    table = particles(tmp_path / "particles.star", [0, 0, 1, 2])
    with fill(tmp_path / "job", [table], [np.array([1, 0, 1, 1])], frozenset({"m2"})) as store:
        csv_path, star_path = write_micrograph_tables(store, 0.8, "flag")
    records = list(csv.DictReader(csv_path.open()))
    columns = ("picked_micrograph", "status", "picks_kept", "picks_rejected", "picks_unscreened")
    assert [tuple(record[c] for c in columns) for record in records] == [
        ("mics/m0.mrc", "done", "1", "1", "0"),
        ("mics/m1.mrc", "done", "1", "0", "0"),
        ("mics/m2.mrc", "failed", "0", "0", "1"),
    ]
    text = star_path.read_text()
    assert "_rlnMicrographName #1" in text and "_rlnMicrographPixelSize" not in text
    assert text.count("\nmics/m") == 3


def test_star_values_with_blanks_are_quoted(tmp_path: Path) -> None:
    """Names and reasons with blanks, quotes and line ends are one value in the STAR file."""
    import gemmi

    row = row_of(0, 0, 0, 0, picked_path="my mics/_a.mrc", pixel_size=1.5, source=None)
    with Store(tmp_path, create=True) as s:
        s.add(replace(row, status="failed", reason='it\'s "broken"\nhere'), None)
        s.flush()
        _, path = write_micrograph_tables(s, 0.8, "flag")
    block = gemmi.cif.read(str(path)).find_block("micrographs")
    assert [gemmi.cif.as_string(v) for v in block.find_values("_rlnMicrographName")] == [
        "my mics/_a.mrc"
    ]
    assert [gemmi.cif.as_string(v) for v in block.find_values("_micscreenReason")] == [
        "it's 'broken' here"
    ]
    assert list(block.find_values("_rlnMicrographPixelSize")) == ["1.5"]
