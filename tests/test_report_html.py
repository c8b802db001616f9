"""`micscreen report`: one HTML file with everything in it, of any job."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import mrcfile
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from micscreen.cli import cli
from micscreen.errors import JobError, UsageError
from micscreen.io import write_mask
from micscreen.model.weights import model_path, sha256_of
from micscreen.pages.charts import area_chart, goodness_chart
from micscreen.pages.html import POLICY
from micscreen.pages.job import MicrographFigures, choose
from micscreen.report import REJECTED_COLOUR, UNTYPED
from micscreen.run.report import _drawn, gather, kept_at, write_report
from micscreen.run.rows import MicrographRow, Scores, kept
from micscreen.run.settings import InputSettings, ScreenSettings
from micscreen.run.store import Store
from micscreen.run.summary import summarise
from micscreen.run.tables import micrograph_records
from micscreen.run.watch import fingerprint

CHROMIUM = shutil.which("chromium")


def scores(goodness: NDArray[np.float32], seed: int = 0) -> Scores:
    n = len(goodness)
    rng = np.random.default_rng(seed)
    return Scores(
        rows=np.arange(n), x=np.zeros(n, np.float32), y=np.zeros(n, np.float32),
        goodness=goodness, class_index=rng.integers(0, 6, n).astype(np.uint8),
        distance=np.zeros(n, np.float32), reason=np.zeros(n, np.uint8),
    )  # fmt: skip


def row(i: int, name: str, status: str = "done", **more: object) -> MicrographRow:
    if status == "done":
        bad = (i % 10) / 10
        more = {"contamination": bad, "area": (1 - bad, bad, 0, 0, 0, 0), **more}
    path = name.replace("\\xe9", "\udce9") + ".mrc"
    return MicrographRow(name, i, path, path, status=status, **more)  # type: ignore[arg-type]


def make_job(
    folder: Path, /, rows: list[tuple[MicrographRow, Scores | None]], **noted: object
) -> Path:
    settings = ScreenSettings(InputSettings(("m",), ("c",)), folder)
    folder.mkdir(parents=True, exist_ok=True)
    with Store(folder, create=True) as store:
        model = {"name": model_path().stem, "sha256": sha256_of(model_path())}
        about = {"identity": settings.identity(), "model": model, "version": "1", **noted}
        store.note(**about)
        for one, found in rows:
            store._forget(one.name)
            if one.status == "pending":
                store.place(one)
            else:
                store.add(one, found)
    return folder


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job with done, suspect, failed, empty and pending micrographs, and three thumbnails."""
    folder = tmp_path_factory.mktemp("report") / "job <1>"
    rng = np.random.default_rng(5)
    rows: list[tuple[MicrographRow, Scores | None]] = []
    for i in range(40):
        goodness = rng.uniform(0, 1, 30).astype(np.float32).round(2)
        doubt = {"suspect": ("noise: nothing is in it",)} if i == 7 else {}
        one = row(i, f"mic_{i:02d}", picks_in=30, **doubt)
        rows.append((one, scores(goodness * (i != 9), i)))
    rows.append((row(40, "bad<script>", "failed", reason="a & b", picks_in=4), None))
    rows.append((row(41, "later", "pending", picks_in=5), None))
    make_job(folder, rows, warnings=["mind the <gap>"])
    (folder / "thumbnails").mkdir()
    for name in ("mic_09", "mic_12", "mic_30"):
        picture = rng.integers(0, 255, (120, 100, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / "thumbnails" / f"{name}.png"), picture)
    return folder


class Reader(HTMLParser):
    """Checks that elements are closed in order, and collects texts and what is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.names: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href", "data", "action")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def read(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    assert reader.open == []
    reader.text = " ".join(reader.text.split())
    return reader


def test_the_page_is_whole_and_loads_nothing(job: Path, tmp_path: Path) -> None:
    """Elements are closed, there is no script, and every picture is inside the file."""
    reader = read(write_report(job, tmp_path / "r.html"))
    assert reader.addresses
    assert all(address.startswith("data:image/jpeg;base64,") for address in reader.addresses)
    assert {"script", "link", "iframe", "object", "embed"}.isdisjoint(reader.names)
    assert POLICY.startswith("default-src 'none'")
    assert POLICY in (tmp_path / "r.html").read_text()
    for address in reader.addresses:
        data = np.frombuffer(base64.b64decode(address.split(",")[1]), np.uint8)
        assert cv2.imdecode(data, cv2.IMREAD_COLOR) is not None


def test_every_part_of_the_report_is_there(job: Path, tmp_path: Path) -> None:
    """Overview, goodness, run, classes, lists, worst, best, sample, parameters, warnings, card."""
    text = read(write_report(job, tmp_path / "r.html")).text
    for words in (
        "Overview", "Goodness of the picks", "Bad area over the run", "Classes",
        "Micrographs that want a look", "Worst micrographs", "Best micrographs", "Sample",
        "Parameters and versions", "What the run warned of", "Model card", "Not finished: 1",
        "bad<script>: a & b", "mic_07: noise: nothing is in it", "mic_09: 0 of 30 picks kept",
        "mind the <gap>", "Screening of job <1>", "support film", sha256_of(model_path()),
        "on suspect flag", "What fails",
    ):  # fmt: skip
        assert words in text, words


def test_the_numbers_are_those_of_the_store(job: Path) -> None:
    """Counts at every threshold, per class and micrograph agree with `show` and the tables."""
    for threshold in (None, -1.0, 0.35, 0.9):
        with Store(job) as store:
            figures = gather(store, threshold)
            summary = summarise(store, threshold).record()
            records = list(micrograph_records(store, figures.threshold, "flag"))
        assert sum(m.kept for m in figures.micrographs) == summary["kept"]
        assert dict(figures.tabled)[figures.threshold] == summary["kept"]
        rejected = np.sum([m.rejected for m in figures.micrographs], axis=0).tolist()
        assert rejected == list(summary["rejected_by"].values())
        assert [str(m.kept) for m in figures.micrographs] == [r["picks_kept"] for r in records]
        assert sum(figures.histogram) == 40 * 30
        assert figures.kept_at[0] == (0.0, 1200)


@pytest.mark.parametrize("on_suspect", ["flag", "keep", "drop"])
def test_the_curve_counts_as_the_export_does(on_suspect: str) -> None:
    """At each threshold, on its very edge too, the curve has as many picks as `kept` gives."""
    rng = np.random.default_rng(1)
    found = scores((rng.integers(0, 101, 500) / 100).astype(np.float32))
    thresholds = np.array([-1.0, *np.linspace(0, 1, 101)])
    for suspect in ((), ("noise: it is",)):
        one = row(3, "m", suspect=suspect)
        wanted = [kept(one, found, t, on_suspect).sum() for t in thresholds]  # type: ignore[arg-type]
        assert kept_at(one, found, thresholds, on_suspect).tolist() == wanted


def test_worst_and_best_are_what_they_say(job: Path) -> None:
    """Worst by bad area, best by contamination and with kept picks; the sample is of the others."""
    with Store(job) as store:
        figures = gather(store)
    chosen = choose(figures.micrographs, ["mic_09", "mic_12", "mic_30"], 4)
    named = [[figures.micrographs[i].name for i in part]
             for part in (chosen.worst, chosen.best, chosen.sample)]  # fmt: skip
    assert named[0] == ["mic_09", "mic_19", "mic_29", "mic_39"]
    assert set(named[1]) == {"mic_00", "mic_10", "mic_20", "mic_30"}
    assert named[2] == ["mic_12"]
    clean = [
        MicrographFigures(str(i), "done", "", 1, 1, area=(1.0, 0, 0, 0, 0, 0)) for i in range(9)
    ]
    assert choose(clean, [], 4).worst == ()


def test_the_same_job_gives_the_same_bytes_and_is_not_changed(job: Path, tmp_path: Path) -> None:
    """Two reports are alike, the job keeps its bytes, and the default place is in the job."""
    before = {p: p.read_bytes() for p in job.rglob("*") if p.is_file()}
    one, two = (write_report(job, tmp_path / name) for name in ("a.html", "b.html"))
    assert one.read_bytes() == two.read_bytes()
    assert {p: p.read_bytes() for p in job.rglob("*") if p.is_file()} == before
    done = CliRunner().invoke(cli, ["report", str(job), "-t", "0.9"])
    assert done.exit_code == 0, done.output
    text = (job / "report.html").read_text()
    (job / "report.html").unlink()
    assert "threshold 0.9" in text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "b.html"]


def test_any_job_stays_below_ten_megabytes(tmp_path: Path) -> None:
    """Thousands of long names and reasons, and as many noisy thumbnails as you like."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (900, 768, 3)).astype(np.uint8)
    rows: list[tuple[MicrographRow, Scores | None]] = []
    for i in range(900):
        name = f"{i:03d}_" + "n" * 236
        done = i % 3 != 0
        more = {"suspect": ("s" * 900,)} if done else {"reason": "r" * 3000}
        found = scores(np.zeros(5, np.float32)) if done else None
        rows.append((row(i, name, "done" if done else "failed", picks_in=5, **more), found))
    folder = make_job(tmp_path / "job", rows, warnings=["w" * 2000] * 500)
    (folder / "thumbnails").mkdir()
    data = cv2.imencode(".png", noise, [cv2.IMWRITE_PNG_COMPRESSION, 0])[1].tobytes()
    for one, found in rows[:150]:
        if found is not None:
            (folder / "thumbnails" / f"{one.name}.png").write_bytes(data)
    path = write_report(folder)
    assert read(path).names.count("img") >= 24
    assert path.stat().st_size < 10_000_000


def test_names_that_are_no_text_are_shown_with_their_pictures(tmp_path: Path) -> None:
    """A name that the run wrote with hex codes, on a path that is no UTF-8, finds its picture."""
    name = "caf\\xe9"
    folder = make_job(
        tmp_path / "job", [(row(3, name, picks_in=2), scores(np.ones(2, np.float32)))]
    )
    (folder / "thumbnails").mkdir()
    data = cv2.imencode(".png", np.zeros((9, 9, 3), np.uint8))[1].tobytes()
    (folder / "thumbnails" / f"{name}.png").write_bytes(data)
    reader = read(write_report(folder))
    assert "caf\\xe9" in reader.text
    assert len(reader.addresses) == 1


@pytest.mark.parametrize("flip_y", [False, True])
def test_the_worst_are_drawn_when_they_have_no_thumbnail(tmp_path: Path, flip_y: bool) -> None:
    """The picture shows the pick and the saved mask in place; not when the file has changed."""
    path, job = tmp_path / "mics" / "m.mrc", tmp_path / "job"
    path.parent.mkdir()
    image = np.random.default_rng(0).normal(0, 1, (200, 300)).astype(np.float32)
    mrcfile.write(path, image)
    size = {"picked_height": 200, "picked_width": 300, "box_size": 20.0, "box_scale": 1.0}
    one = replace(row(3, "m", picks_in=1, **size), path="mics/m.mrc", fingerprint=fingerprint(path))
    found = replace(scores(np.zeros(1, np.float32)), x=np.float32([50]), y=np.float32([20]))
    noted = {"folder": str(tmp_path), "frame": {"flip_y": flip_y}}
    make_job(job, [(one, found)], **noted)
    mask = np.zeros((100, 150), np.float32)
    mask[:, 100:] = 1
    write_mask(job / "masks" / "m.tif", mask)
    with Store(job) as store:
        info = store.info()
    picture = _drawn(one, found, job, info, 0.8)
    assert picture is not None
    zoom = 768 / 300
    rows, columns = np.nonzero((picture[: round(200 * zoom)] == REJECTED_COLOUR).all(axis=2))
    assert abs(columns.mean() / zoom - 50) < 1
    assert abs(rows.mean() / zoom - (179 if flip_y else 20)) < 1
    white = np.nonzero((picture[: round(200 * zoom)] == UNTYPED).all(axis=2).all(axis=0))[0]
    assert abs(white.min() / zoom - 200) < 3
    assert read(write_report(job)).names.count("img") == 1
    mrcfile.write(path, image + 1, overwrite=True)
    os.utime(path, (1, 1))
    assert _drawn(one, found, job, info, 0.8) is None
    assert read(write_report(job)).names.count("img") == 0


@pytest.mark.parametrize("status", ["failed", "pending"])
def test_a_job_without_any_result_has_a_report(tmp_path: Path, status: str) -> None:
    """When nothing is screened yet, or all failed, the page says so."""
    folder = make_job(tmp_path / "job", [(row(0, "m", status, picks_in=3), None)])
    assert "0 of 1 micrographs screened" in read(write_report(folder)).text


def test_what_is_no_job_or_threshold_is_refused_and_leaves_nothing(
    job: Path, tmp_path: Path
) -> None:
    """A folder that is no job, one without a run, and an impossible threshold are errors."""
    with pytest.raises(JobError, match="no job folder"):
        write_report(tmp_path)
    (tmp_path / "new").mkdir()
    Store(tmp_path / "new", create=True).close()
    with pytest.raises(JobError, match="nothing was screened"):
        write_report(tmp_path / "new")
    with pytest.raises(UsageError, match=r"0\.\.1"):
        write_report(job, tmp_path / "r.html", 1.5)
    assert not list(tmp_path.rglob("*.html"))


def test_weights_of_others_get_no_card(job: Path, tmp_path: Path) -> None:
    """The card of the packaged weights is shown for these weights only."""
    model = {"name": "mine", "sha256": "0" * 64}
    found = scores(np.ones(2, np.float32))
    folder = make_job(tmp_path / "job", [(row(0, "m", picks_in=2), found)], model=model)
    text = read(write_report(folder)).text
    assert "no card of the weights mine" in text
    assert "What fails" not in text


def test_the_numbers_at_the_histogram_fit_beside_it() -> None:
    """Of a hundred million picks the axis still says how many, in few characters."""
    text = goodness_chart([90_000_000, 3, 0, 12], 0.8)
    marks = re.findall(r'text-anchor="end">([^<]*)</text>', text)
    assert {"10", "10,000", "100 k", "10 M", "100 M"} <= set(marks)


def test_the_run_chart_is_bounded_and_shows_each_class() -> None:
    """A hundred thousand micrographs make at most 240 columns, and failed ones are crossed."""
    areas = np.tile([0.5, 0.1, 0.1, 0.1, 0.1, 0.1], (100_000, 1))
    failed = np.zeros(100_000, np.bool_)
    areas[500:2000], failed[500:2000] = np.nan, True
    chart = area_chart(areas, failed)
    assert 200 * 5 <= chart.count("<rect") <= 240 * 5
    assert chart.count("<path") in (4, 5, 6)
    assert "nan" not in chart
    assert re.search(r'viewBox="0 0 1150 300"', chart)


@pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed (scripts/system)")
def test_a_browser_shows_the_page(job: Path, tmp_path: Path) -> None:
    """Headless Chromium draws the page: charts and pictures have their colours on the screen."""
    path = write_report(job, tmp_path / "r.html")
    subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
         f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1280,2000",
         f"--screenshot={tmp_path / 'r.png'}", path.as_uri()],
        check=True, capture_output=True, timeout=240,
    )  # fmt: skip
    screen = cv2.imread(str(tmp_path / "r.png"))
    assert screen.shape == (2000, 1280, 3)
    for colour in ((0, 158, 115), (213, 94, 0), (220, 233, 247), (230, 159, 0)):
        assert (screen[..., ::-1] == colour).all(axis=2).sum() > 500, colour
