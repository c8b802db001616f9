"""`micscreen view` as a server: who may come in, what it counts, what it writes."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from micscreen.errors import JobError, UsageError
from micscreen.io import read_mask
from micscreen.run.overrides import (
    Override,
    Regions,
    Reviser,
    Stroke,
    change_override,
    read_overrides,
)
from micscreen.run.store import Store
from micscreen.score import keep
from micscreen.view.index import BINS, STEPS, JobIndex, goodness_bins
from view_job import Served, kept_of, screened, serving

pytest.importorskip("starlette")


@pytest.fixture(scope="module")
def served(small_set: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    job = screened(small_set, tmp_path_factory.mktemp("view") / "job")
    with serving(job) as found:
        yield found.enter()


@pytest.fixture
def job(served: Served) -> Iterator[Path]:
    """The job, and afterwards nothing decided."""
    yield served.job
    (served.job / "view.json").unlink(missing_ok=True)


def bins_kept(served: Served, step: int) -> int:
    counts = np.array(served.json("counts")["counts"])
    return int(counts[:, step:].sum())


def key_of(served: Served, name: str) -> int:
    rows = served.json(f"list?text={name}")["rows"]
    return int(rows[0]["key"])


# --- the door -------------------------------------------------------------------------------------


def test_it_listens_on_this_machine_only(served: Served) -> None:
    """The socket is bound to 127.0.0.1 and no other address."""
    lines = Path(f"/proc/{served.process.pid}/net/tcp").read_text().splitlines()[1:]
    wanted = f"{served.port:04X}"
    places = [line.split()[1] for line in lines if line.split()[3] == "0A"]
    assert [place for place in places if place.endswith(":" + wanted)] == [f"0100007F:{wanted}"]


@pytest.mark.parametrize(
    "path", ["/", "/api/state", "/api/image/0", "/main.js", "/?token=wrong", "/?token=", "/x"]
)
def test_nothing_is_answered_without_the_token(served: Served, path: str) -> None:
    """Without the token, or with a wrong one, every address is refused, assets too."""
    assert served.ask(path, cookie=None)[0] == 403
    assert served.ask(path, cookie="micscreen-00000000=wrong")[0] == 403


def test_the_token_opens_the_page_alone(served: Served) -> None:
    """A token in the address of anything but the page lets nobody in."""
    assert served.ask(f"/api/state?token={served.token}", cookie=None)[0] == 403


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "127.0.0.1@evil.example", "",
     "0.0.0.0", "localhost/x"],
)  # fmt: skip
def test_another_host_name_is_refused(served: Served, host: str) -> None:
    """A name that was bent to this machine (DNS rebinding) gets nothing, token or not."""
    assert served.ask("/api/state", host=host)[0] == 403
    assert served.ask(f"/?token={served.token}", host=host)[0] == 403


@pytest.mark.parametrize("host", ["localhost:9", "127.0.0.1:8765", "[::1]:70", "localhost"])
def test_a_tunnel_may_have_any_port(served: Served, host: str) -> None:
    """Through an SSH tunnel the browser names this machine and the tunnel's port."""
    assert served.ask("/api/state", host=host)[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1", None])
def test_nobody_else_s_page_can_write(served: Served, origin: str | None) -> None:
    """A POST from another origin, or from none, changes nothing."""
    before = sorted(path.name for path in served.job.iterdir())
    for path in ("/api/export", "/api/override/0", "/api/labels"):
        body = {"step": 800}
        assert served.ask(path, method="POST", body=body, origin=origin)[0] == 403
    assert sorted(path.name for path in served.job.iterdir()) == before


def test_a_form_cannot_write(served: Served) -> None:
    """A POST that is not JSON, as a form of another page would send it, is refused."""
    kind = "application/x-www-form-urlencoded"
    assert served.ask("/api/export", method="POST", body={}, content_type=kind)[0] == 403


@pytest.mark.parametrize(
    "path",
    ["/../../etc/passwd", "/..%2f..%2fetc%2fpasswd", "/vendor/../../server.py", "//etc/passwd",
     "/api/image/..%2f..%2fscreen.sqlite", "/api/image/-1", "/api/image/999999",
     "/api/mask/%2e%2e/screen.sqlite", "/screen.sqlite", "/view.json", "/api/image/0.0"],
)  # fmt: skip
def test_no_other_file_is_served(served: Served, path: str) -> None:
    """Addresses that climb out, name files of the job or micrographs that are not there: 404."""
    assert served.ask(path)[0] in (400, 404)


def test_every_answer_forbids_what_comes_from_outside(served: Served) -> None:
    """The page may load only from itself, be framed by nobody, and tells no address on."""
    for path in ("/", "/api/state", "/nothing"):
        headers = served.ask(path)[1]
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers


def test_the_cookie_is_of_this_page_alone(served: Served) -> None:
    """Scripts cannot read it and other sites' requests do not carry it."""
    cookie = served.ask(f"/?token={served.token}", cookie=None)[1]["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie


def test_a_body_has_a_limit(served: Served) -> None:
    """What claims to be large is refused before it is read."""
    found = served.ask("/api/export", method="POST", body={}, content_length="99999999999")
    assert found[0] == 413


@pytest.mark.parametrize(
    ("path", "body"),
    [("export", {"step": 0}), ("export", {"step": "800"}), ("export", []),
     ("override/0", {"verdict": "maybe"}), ("override/0", {"path": "/etc"}), ("override/0", [1]),
     ("override/0", {"stroke": {"kind": "brush"}}), ("override/0", {"flag": 3})],
)  # fmt: skip
def test_nonsense_is_told(served: Served, path: str, body: Any) -> None:
    """What the page would never send gets 400 and a sentence, and changes nothing."""
    status, _, data = served.ask(f"/api/{path}", method="POST", body=body)
    assert status == 400
    assert json.loads(data)["error"]
    assert not (served.job / "view.json").exists()


@pytest.mark.parametrize("query", ["sort=x", "show=x", "kind=x", "limit=0", "step=1001", "least=x"])
def test_a_list_knows_its_words(served: Served, query: str) -> None:
    """An order, list or class that there is not gets 400."""
    assert served.ask(f"/api/list?{query}")[0] == 400


# --- counts ---------------------------------------------------------------------------------------


def test_bins_give_the_counts_of_the_pipeline_at_every_threshold() -> None:
    """For goodness on, just below and just above each of 1001 thresholds, bins count as `keep`."""
    edges = (np.arange(STEPS + 1) / STEPS).astype(np.float32)
    values = np.concatenate([edges, np.nextafter(edges, 0), np.nextafter(edges, 1)])
    values = np.clip(np.concatenate([values, np.random.default_rng(0).random(999)]), 0, 1)
    goodness = values.astype(np.float32)
    below = np.bincount(goodness_bins(goodness), minlength=BINS)
    for step in range(STEPS + 1):
        assert below[step:].sum() == keep(goodness, step / STEPS).sum(), step


def test_the_counts_are_those_of_the_database(served: Served) -> None:
    """Sums over the bins that the page gets are what SQL and NumPy find."""
    for step in (1, 500, 755, 800, 830, 1000):
        assert bins_kept(served, step) == kept_of(served.job, step / 1000)


def test_the_groups_are_classes_and_reasons(served: Served) -> None:
    """What speaks against a pick: its class, or why it has no image; all picks are in one."""
    found = served.json("counts")
    with Store(served.job) as store:
        scored = [scores for _, scores in store.scored() if scores is not None]
    for index, name in enumerate(found["groups"][:6]):
        expected = sum(((s.class_index == index) & (s.reason < 2)).sum() for s in scored)
        assert sum(found["counts"][index]) == expected, name
    assert sum(found["counts"][6]) == sum((s.reason == 2).sum() for s in scored)


def test_lists_are_sorted_and_filtered(served: Served) -> None:
    """Order, status, class, contamination and name choose what the gallery shows."""
    rows = served.json("list?sort=contamination&descending=1")["rows"]
    known = [row["contamination"] or -1 for row in rows]
    assert known == sorted(known, reverse=True) and len(rows) == 5
    assert [row["name"] for row in served.json("list?show=failed")["rows"]] == ["mic_004"]
    assert [row["name"] for row in served.json("list?text=C_00&offset=2&limit=1")["rows"]] == [
        "mic_002"
    ]
    film = served.json("list?kind=support_film")["rows"]
    assert film and all(row["area"][1] >= 0.001 for row in film)
    rejected = served.json("list?sort=rejected&descending=1&step=900")["rows"]
    numbers = [row["scored"] - row["kept"] for row in rejected]
    assert numbers == sorted(numbers, reverse=True) and numbers[0] > 0
    least = served.json("list?least=0.05")["rows"]
    assert all(row["contamination"] >= 0.05 for row in least) and len(least) < 5


def test_kept_per_micrograph_is_right(served: Served) -> None:
    """Each tile's count is the store's for that micrograph and threshold."""
    rows = {row["name"]: row for row in served.json("list?step=831")["rows"]}
    with Store(served.job) as store:
        for row, scores in store.scored():
            expected = 0 if scores is None else int(keep(scores.goodness, 0.831).sum())
            assert rows[row.name]["kept"] == expected


def test_failed_and_suspect_ones_are_listed_with_reasons(served: Served) -> None:
    """The overview's lists say why."""
    found = served.json("notes")
    assert found["totals"]["failed"] == 1
    assert "mic_004" in found["lists"]["failed"][0]["name"]
    assert found["lists"]["failed"][0]["reason"]


# --- pictures -------------------------------------------------------------------------------------


def test_pictures_masks_and_picks_lie_on_each_other(served: Served) -> None:
    """A micrograph's picture, the saved mask and the stored picks come as they are."""
    import gzip

    key = key_of(served, "mic_000")
    status, headers, data = served.ask(f"/api/image/{key}?side=256")
    assert status == 200 and headers["content-type"] == "image/jpeg"
    assert cv2.imdecode(np.frombuffer(data, np.uint8), 0).shape == (256, 256)
    mask = gzip.decompress(served.ask(f"/api/mask/{key}")[2])
    w, h = struct.unpack_from("<II", mask)
    shown = np.frombuffer(mask, np.uint8, offset=8).reshape(h, w)
    saved = read_mask(served.job / "masks" / "mic_000.tif")
    np.testing.assert_array_equal((shown > 0) & (shown < 255), (saved >= 0.5) & (shown < 255))
    assert 1 in shown
    picks = gzip.decompress(served.ask(f"/api/picks/{key}")[2])
    (n,) = struct.unpack_from("<I", picks)
    columns = np.frombuffer(picks, "<f4", 4 * n, 4).reshape(4, n)
    with Store(served.job) as store:
        scores = next(s for row, s in store.scored() if row.name == "mic_000" and s is not None)
    np.testing.assert_allclose(columns[0], scores.x)
    np.testing.assert_array_equal(columns[2], scores.goodness)


def test_a_micrograph_that_cannot_be_read_is_told(served: Served) -> None:
    """The failed micrograph's picture is an error with its reason, not a crash."""
    status, _, data = served.ask(f"/api/image/{key_of(served, 'mic_004')}")
    assert status == 409 and b"mic_004" in data


# --- decisions ------------------------------------------------------------------------------------


def test_looking_changes_nothing(served: Served, tree: Any) -> None:
    """Opening, listing and looking leave every byte of the job as it was."""
    before = tree(served.job), (served.job / "screen.sqlite").read_bytes()
    for path in ("state", "counts", "drift", "notes", "list", "image/1", "mask/1", "picks/1"):
        assert served.ask(f"/api/{path}")[0] == 200
    assert (tree(served.job), (served.job / "screen.sqlite").read_bytes()) == before


def test_a_painted_region_condemns_the_picks_in_it_at_once(served: Served, job: Path) -> None:
    """Painting all of a clean micrograph takes its picks from the counts; undo brings them back."""
    key, before = key_of(served, "mic_002"), bins_kept(served, 800)
    row = next(r for r in served.json("list?step=800")["rows"] if r["key"] == key)
    assert row["kept"] > 0
    square = [[-5, -5], [800, -5], [800, 800], [-5, 800]]
    stroke = {"kind": "polygon", "class_index": 4, "radius": 1, "points": square}
    found = served.json(f"override/{key}", {"stroke": stroke})
    assert len(found["override"]["strokes"]) == 1
    assert bins_kept(served, 800) == before - row["kept"]
    counts = served.json("counts")
    assert sum(counts["counts"][4][:800]) >= row["kept"]
    served.json(f"override/{key}", {"undo": True})
    assert bins_kept(served, 800) == before
    assert read_overrides(job) == {}


def test_erasing_everything_frees_the_picks(served: Served, job: Path) -> None:
    """Where a person erases all that is bad, the picks in the image become good."""
    key = key_of(served, "mic_000")
    stroke = {"kind": "brush", "class_index": 0, "radius": 900, "points": [[384, 384]]}
    served.json(f"override/{key}", {"stroke": stroke})
    row = next(r for r in served.json("list?step=999")["rows"] if r["key"] == key)
    assert row["kept"] >= row["scored"] - 2 > 0


def test_only_picks_that_a_stroke_touches_change(served: Served, job: Path) -> None:
    """A small brush changes the scores of near picks alone; the others keep theirs to the bit."""
    with Store(job) as store:
        row, scores = next((r, s) for r, s in store.scored() if r.name == "mic_002")
        assert scores is not None
        reviser = Reviser(job, store.info())
    x, y = float(scores.x[0]), float(scores.y[0])
    override = Override(strokes=(Stroke("brush", 2, 20.0, ((x, y),)),))
    _, after = reviser.revise(row, scores, override)
    far = np.hypot(scores.x - x, scores.y - y) > 32 * np.sqrt(2) + 20 + 8
    assert after.goodness[0] < scores.goodness[0] and far.any()
    np.testing.assert_array_equal(after.goodness[far], scores.goodness[far])
    assert after.class_index[0] == 2


def test_the_saved_mask_gives_the_pipeline_s_scores(served: Served) -> None:
    """Mask, classes and frame on disk, scored again, agree with what the run stored."""
    from micscreen.score import score

    with Store(served.job) as store:
        reviser = Reviser(served.job, store.info())
        for row, scores in store.scored():
            if scores is None or row.height is None or row.width is None:
                continue
            regions = reviser.regions(row.name)
            assert regions is not None
            picks, shape = reviser.placed(row, scores), (row.height, row.width)
            again = score(picks, regions.maps, shape, valid=regions.valid)
            assert again.goodness is not None and again.class_index is not None
            np.testing.assert_allclose(again.goodness, scores.goodness, atol=1e-5)
            # Of the network's classes only the likeliest was saved.
            assert (again.class_index == scores.class_index).mean() > 0.9


def test_an_excluded_and_an_accepted_micrograph(served: Served, job: Path) -> None:
    """Exclude takes all picks of a micrograph, accept lets all in the image go on."""
    key = key_of(served, "mic_000")
    served.json(f"override/{key}", {"verdict": "exclude", "flag": True})
    rows = served.json("list?step=1&show=excluded")["rows"]
    assert [(row["key"], row["kept"]) for row in rows] == [(key, 0)]
    assert served.json("list?show=flagged")["total"] == 1
    served.json(f"override/{key}", {"verdict": "accept"})
    (row,) = served.json("list?step=1000&show=accepted")["rows"]
    assert row["kept"] == row["scored"] > 0


def test_two_windows_do_not_undo_each_other(served: Served, job: Path) -> None:
    """What another window, or another server, decided meanwhile stays and is seen."""
    key = key_of(served, "mic_001")
    served.json("state")
    change_override(job, "mic_003", {"verdict": "exclude"})
    served.json(f"override/{key}", {"flag": True})
    assert set(read_overrides(job)) == {"mic_001", "mic_003"}
    assert served.json("list?show=excluded")["rows"][0]["name"] == "mic_003"


def test_the_manual_set_has_what_the_page_counts(served: Served, job: Path) -> None:
    """Export writes picks_manual_083 in the input's format; the shown command writes the same."""
    import shlex

    from click.testing import CliRunner

    from micscreen.cli import cli
    from micscreen.io import read_picks

    served.json(f"override/{key_of(served, 'mic_000')}", {"verdict": "exclude"})
    stroke = {"kind": "brush", "class_index": 3, "radius": 150, "points": [[300, 300], [500, 500]]}
    served.json(f"override/{key_of(served, 'mic_002')}", {"stroke": stroke})
    expected = {row["name"]: row["kept"] for row in served.json("list?step=830")["rows"]}
    found = served.json("export", {"step": 830})
    assert found["kept"] == bins_kept(served, 830) == sum(expected.values())
    assert found["folders"][0] == "picks_manual_083"
    folder = job / "picks_manual_083"
    for name in ("mic_001", "mic_002", "mic_003"):
        picks = read_picks(folder / f"{name}_autopick.star")
        assert len(picks) == expected[name] > 0
    none = read_picks(folder / "mic_000_autopick.star")
    assert len(none) == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    words = shlex.split(found["command"])
    assert words[0] == "micscreen"
    result = CliRunner().invoke(cli, words[1:], catch_exceptions=False, standalone_mode=False)
    assert "kept" in result.output
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_without_decisions_the_manual_set_is_the_automatic_one(served: Served, job: Path) -> None:
    """A threshold alone gives the files that `rethreshold` gives, under another name."""
    from micscreen.run.export import rethreshold

    served.json("export", {"step": 790})
    rethreshold(job, 0.79)
    manual, auto = job / "picks_manual_079", job / "picks_auto_079"
    names = sorted(path.name for path in auto.iterdir())
    assert names == sorted(path.name for path in manual.iterdir())
    for name in names:
        assert (manual / name).read_bytes() == (auto / name).read_bytes()


def test_painted_regions_become_labels_for_training(served: Served, job: Path) -> None:
    """`view_labels` holds class maps of painted micrographs that `micscreen train` reads."""
    from micscreen.io.labels import as_classes, label_kind, read_label

    stroke = {"kind": "brush", "class_index": 5, "radius": 100, "points": [[200, 600]]}
    served.json(f"override/{key_of(served, 'mic_002')}", {"stroke": stroke})
    found = served.json("labels", {})
    assert found["labels"] == 1 and "--labels" in found["command"]
    path = job / "view_labels" / "mic_002.png"
    label = read_label(path)
    assert label_kind([label]) == "classes"
    classes = as_classes(label, "classes", path)
    h, w = classes.shape
    assert classes[int(600 / 768 * h), int(200 / 768 * w)] == 5
    served.json(f"override/{key_of(served, 'mic_002')}", {"clear": True})
    assert served.json("labels", {})["labels"] == 0
    assert not path.exists()


# --- overrides alone ------------------------------------------------------------------------------


def test_a_damaged_file_of_decisions_is_told(tmp_path: Path) -> None:
    """Decisions that cannot be read are an error with what to do, never silently none."""
    for text in ("{", "[]", '{"version": 99, "micrographs": {}}', '{"version": 1}'):
        (tmp_path / "view.json").write_text(text)
        with pytest.raises(JobError, match=r"view\.json"):
            read_overrides(tmp_path)


@pytest.mark.parametrize(
    "change",
    [{"radius": 0.0}, {"radius": float("nan")}, {"class_index": 6}, {"class_index": -1},
     {"points": ()}, {"points": ((float("inf"), 0.0),)}, {"kind": "line"}],
)  # fmt: skip
def test_a_stroke_is_checked_at_birth(change: dict[str, Any]) -> None:
    """A stroke that cannot be drawn is refused."""
    good = Stroke("brush", 1, 5.0, ((1.0, 2.0),))
    with pytest.raises(UsageError):
        replace(good, **change)


def test_paint_lies_where_it_was_painted() -> None:
    """On a coarse mask, a polygon covers the px of its part of the micrograph, to half a px."""
    regions = Regions(
        np.zeros((50, 100), np.float32), np.zeros((50, 100), np.uint8), np.ones((50, 100), bool)
    )
    corners = ((199.5, 99.5), (399.5, 99.5), (399.5, 299.5), (199.5, 299.5))
    after = regions.painted([Stroke("polygon", 2, 1.0, corners)], (500, 1000))
    rows, columns = np.nonzero(after.contamination)
    assert (rows.min(), rows.max()) == pytest.approx((10, 29), abs=1)
    assert (columns.min(), columns.max()) == pytest.approx((20, 39), abs=1)
    assert set(after.classes[rows, columns].tolist()) == {2}
    line = after.painted([Stroke("brush", 0, 30.0, ((300.0, 200.0),))], (500, 1000))
    assert after.contamination.sum() - line.contamination.sum() == pytest.approx(28, abs=9)


def test_a_job_that_grows_is_counted_as_if_opened_later(served: Served, tmp_path: Path) -> None:
    """Micrographs that come, change and go leave the counts of a fresh look."""
    import shutil

    job = tmp_path / "job"
    shutil.copytree(served.job, job)
    index = JobIndex(job)
    index.refresh()
    with Store(job, create=True) as store:
        pairs = [(row, scores) for row, scores in store.scored() if scores is not None]
        (row, scores), (other, few) = pairs[0], pairs[1]
        assert scores is not None and few is not None
        store.add(replace(row, name="new", position=9), scores)
        store.add(replace(other, contamination=0.5), scores)
    assert index.refresh() == 2
    fresh = JobIndex(job)
    fresh.refresh()
    np.testing.assert_array_equal(index.counts(), fresh.counts())
    assert [entry.name for entry in index.snapshot()] == [e.name for e in fresh.snapshot()]
    np.testing.assert_array_equal(index.kept_at(800), fresh.kept_at(800))
    with Store(job, create=True) as store:
        store.register(
            [row for row in store.micrographs() if row.name != "new"], list(store.sources())
        )
    index.refresh()
    assert index.counts().sum() == fresh.counts().sum() - len(scores.rows)


def test_without_masks_nothing_can_be_painted(served: Served, tmp_path: Path) -> None:
    """A job without saved masks can be looked at; painting is refused with what to do."""
    import shutil

    job = tmp_path / "job"
    shutil.copytree(served.job, job, ignore=shutil.ignore_patterns("masks", "view.json"))
    index = JobIndex(job)
    index.refresh()
    stroke = {"kind": "brush", "class_index": 1, "radius": 9, "points": [[1, 1]]}
    with pytest.raises(JobError, match="--save-masks"):
        index.change(0, {"stroke": stroke})
    assert not (job / "view.json").exists()
    assert index.change(0, {"verdict": "exclude"}).verdict == "exclude"


@pytest.mark.parametrize("on_suspect", ["keep", "drop", "flag"])
def test_picks_of_suspect_micrographs_count_as_the_job_asked(
    served: Served, tmp_path: Path, on_suspect: str
) -> None:
    """The page keeps, drops or judges picks of suspect micrographs as `rethreshold` does."""
    import shutil

    from micscreen.run.export import rethreshold

    job = tmp_path / "job"
    shutil.copytree(served.job, job)
    with Store(job, create=True) as store:
        row, scores = next((r, s) for r, s in store.scored() if s is not None)
        store.add(replace(row, suspect=("strange: it is.",)), scores)
        identity = store.info()["identity"]
        identity["scoring"]["on_suspect"] = on_suspect
        store.note(identity=identity)
    index = JobIndex(job)
    index.refresh()
    report = rethreshold(job, 0.8, manual=True, prefix="manual")
    assert index.counts()[:, 800:].sum() == report.kept
    assert sum(index.kept_at(800)) == report.kept


def test_a_look_that_fails_in_the_middle_is_made_up_for(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the database refuses half-way through a look, the next look finds everything."""
    import shutil

    from micscreen.view import index as module

    job = tmp_path / "job"
    shutil.copytree(served.job, job)
    index = JobIndex(job)
    monkeypatch.setattr(module, "CHUNK", 1)
    real, calls = index._read, []

    def refusing(*given: Any) -> None:
        calls.append(given)
        if len(calls) == 3:
            raise JobError("the database is busy")
        real(*given)

    monkeypatch.setattr(index, "_read", refusing)
    with pytest.raises(JobError):
        index.refresh()
    index.refresh()
    fresh = JobIndex(job)
    fresh.refresh()
    np.testing.assert_array_equal(index.counts(), fresh.counts())


def test_a_folder_that_is_no_job_is_told(tmp_path: Path) -> None:
    """`micscreen view` of anything else is one clear error."""
    with pytest.raises(JobError, match="no job folder"):
        JobIndex(tmp_path)
