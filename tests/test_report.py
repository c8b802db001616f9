"""Thumbnails, which micrographs get one, and the table at the end of a run."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from micscreen import report
from micscreen.errors import UsageError
from micscreen.picks import CLASS_NAMES, Picks
from micscreen.report import SummaryRow, draw_thumbnail

GREY = 128


def scored(x: list[float], y: list[float], goodness: list[float], box: float = 60.0) -> Picks:
    return Picks(
        x=np.array(x, float), y=np.array(y, float), box_size=box,
        goodness=np.array(goodness, np.float32),
    )  # fmt: skip


def clean_maps(shape: tuple[int, int]) -> NDArray[np.float32]:
    maps = np.zeros((len(CLASS_NAMES), *shape), np.float32)
    maps[0] = 1
    return maps


def grey(shape: tuple[int, int] = (64, 64)) -> NDArray[np.uint8]:
    return np.full(shape, GREY, np.uint8)


def pixels(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    return np.asarray((picture == np.array(colour)).all(axis=2))


# --- thumbnails -------------------------------------------------------------------------------


def test_the_picture_has_the_wanted_side_and_a_legend_below() -> None:
    """The long side is `side` for both orientations, and the micrograph is the top part."""
    for shape, wanted in (((40, 80), (200, 400)), ((80, 40), (400, 200))):
        picture = draw_thumbnail(grey(shape), clean_maps(shape), None, 0.1, 0.8, side=400)
        assert picture.dtype == np.uint8
        assert picture.shape[1:] == (wanted[1], 3)
        assert picture.shape[0] > wanted[0]
        assert (picture[: wanted[0]] == GREY).all()
        assert not (picture[wanted[0] :] == GREY).all()


@settings(max_examples=30, deadline=None)
@given(
    x=st.floats(30, 600), y=st.floats(30, 300), scale=st.floats(0.05, 0.5),
    side=st.integers(300, 900), kept=st.booleans(),
)  # fmt: skip
def test_marks_stand_where_the_picks_are(
    x: float, y: float, scale: float, side: int, kept: bool
) -> None:
    """Circles and crosses are centred on the pick, for every scale, within a pixel."""
    shape = (round(330 * scale) or 1, round(630 * scale) or 1)
    picks = scored([x], [y], [1.0 if kept else 0.0])
    picture = draw_thumbnail(grey(shape), clean_maps(shape), picks, scale, 0.5, side=side)
    zoom = scale * side / max(shape)
    height = round(shape[0] * side / max(shape))
    at_x, at_y = (x + 0.5) * zoom - 0.5, (y + 0.5) * zoom - 0.5
    changed = (picture[:height] != GREY).any(axis=2)
    rows, columns = np.nonzero(changed)
    touches = rows.min() == 0 or columns.min() == 0
    touches |= rows.max() == height - 1 or columns.max() == side - 1
    if not touches:
        assert abs((rows.min() + rows.max()) / 2 - at_y) <= 1
        assert abs((columns.min() + columns.max()) / 2 - at_x) <= 1


def test_kept_and_rejected_differ_in_shape_and_colour() -> None:
    """A kept pick is an open circle in one colour, a rejected one a cross in another."""
    picks = scored([16, 48], [32, 32], [0.9, 0.2], box=12)
    picture = draw_thumbnail(grey(), clean_maps((64, 64)), picks, 1.0, 0.8, side=640)[:640]
    left, right = picture[:, :320], picture[:, 320:]
    assert pixels(left, report.KEPT_COLOUR).any()
    assert not pixels(left, report.REJECTED_COLOUR).any()
    assert pixels(right, report.REJECTED_COLOUR).any()
    assert not pixels(right, report.KEPT_COLOUR).any()
    centre = round(32.5 * 10 - 0.5), round(16.5 * 10 - 0.5)
    assert (left[centre] == GREY).all()
    assert (right[centre] == report.REJECTED_COLOUR).all()


def test_the_threshold_decides_what_is_drawn() -> None:
    """At the threshold a pick is kept, and -1 keeps and mentions no rejected ones."""
    picks = scored([16, 48], [32, 32], [0.8, 0.1], box=12)
    crosses = {
        threshold: pixels(
            draw_thumbnail(grey(), clean_maps((64, 64)), picks, 1.0, threshold),
            report.REJECTED_COLOUR,
        )
        for threshold in (-1.0, 0.8, 0.81)
    }
    assert not crosses[-1.0].any()
    assert not crosses[0.8][:768, :384].any()
    assert crosses[0.8][:768, 384:].any()
    assert crosses[0.81][:768, :384].any()


def test_bad_regions_are_tinted_and_outlined_in_their_colour() -> None:
    """Every class has its own colour in the picture and the legend; good ice stays as it was."""
    shape = (64, 64)
    for index in range(1, len(CLASS_NAMES)):
        maps = clean_maps(shape)
        maps[0, 16:48, 16:48], maps[index, 16:48, 16:48] = 0, 1
        picture = draw_thumbnail(grey(shape), maps, None, 0.1, 0.8, side=640)
        colour = report.CLASS_COLOURS[index]
        assert pixels(picture[:640], colour).any()
        assert pixels(picture[640:], colour).any()
        assert (picture[:140] == GREY).all()
        inside = picture[320, 320].astype(int)
        towards = np.sign(np.array(colour, int) - GREY)
        assert (np.sign(inside - GREY) == towards).all()
        others = [c for i, c in enumerate(report.CLASS_COLOURS) if i not in (0, index)]
        assert not any(pixels(picture, other).any() for other in others)


def test_faint_contamination_is_neither_outlined_nor_in_the_legend() -> None:
    """Below one half a region is no bad region."""
    maps = clean_maps((32, 32))
    maps[0, :16], maps[1, :16] = 0.55, 0.45
    picture = draw_thumbnail(grey((32, 32)), maps, None, 0.1, 0.8)
    assert not pixels(picture, report.CLASS_COLOURS[1]).any()


def test_the_scale_bar_has_a_round_length_in_nm() -> None:
    """The bar is 1, 2 or 5 times a power of ten nm long, and absent without a pixel size."""
    for pixel_size in (0.4, 1.0, 1.77, 7.5):
        picture = draw_thumbnail(
            grey(), clean_maps((64, 64)), None, 0.0625, 0.8, pixel_size=pixel_size, side=768
        )
        row = pixels(picture[:768], report.INK)[768 - 18]
        length = (row.sum() - 1) * pixel_size / (0.0625 * 12) / 10
        power = 10.0 ** np.floor(np.log10(length * 1.02))
        assert min(abs(length / power - step) / step for step in (1, 2, 5)) < 0.02
        assert 0.05 < row.sum() / 768 <= 0.21
    bare = draw_thumbnail(grey(), clean_maps((64, 64)), None, 0.0625, 0.8)
    assert (bare[:768] == GREY).all()


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    picks=st.lists(
        st.tuples(st.floats(-1e12, 1e12), st.floats(-1e4, 1e4), st.floats(0, 1)), max_size=6
    ),
    side=st.integers(20, 400),
    pixel_size=st.sampled_from([None, 1e-3, 1.0, 1e4]),
    title=st.text(max_size=80),
    seed=st.integers(0, 99),
)
def test_anything_can_be_drawn(
    shape: tuple[int, int],
    picks: list[tuple[float, float, float]],
    side: int,
    pixel_size: float | None,
    title: str,
    seed: int,
) -> None:
    """Picks far outside, tiny pictures, any title and random maps give a picture, same inputs."""
    maps = np.random.default_rng(seed).dirichlet(np.ones(6), shape)
    maps = np.ascontiguousarray(np.moveaxis(maps, -1, 0), np.float32)
    preview, before = grey(shape), maps.copy()
    marks = scored(
        *(list(column) for column in zip(*picks, strict=True)) if picks else ([], [], [])
    )
    picture = draw_thumbnail(
        preview, maps, marks, 0.1, 0.5, pixel_size=pixel_size, side=side, title=title
    )
    assert max(round(n * side / max(shape)) for n in shape) == side
    assert picture.shape[2] == 3
    assert (preview == GREY).all()
    np.testing.assert_array_equal(maps, before)


def test_long_titles_and_legends_stay_inside() -> None:
    """A title that is too long loses its middle, and entries go to a second line."""
    name = "FoilHole_1234567_Data_7654321_20250101_120000_EER_patch_aligned_doseweighted" * 2
    assert report._text_width(report._fitted(name, 300)) <= 300
    assert report._fitted(name, 300).endswith("weighted")
    assert report._fitted("short", 300) == "short"
    maps = clean_maps((60, 60))
    for index in range(1, 6):
        maps[0, index * 10 :, :], maps[index, index * 10 : index * 10 + 10] = 0, 1
    narrow = draw_thumbnail(grey((60, 60)), maps, scored([1], [1], [1]), 0.1, 0.8, side=300)
    wide = draw_thumbnail(grey((60, 60)), maps, scored([1], [1], [1]), 0.1, 0.8, side=1200)
    assert narrow.shape[0] - 300 > wide.shape[0] - 1200


DICHROMATS = (
    [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],  # protanopia
    [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],  # deuteranopia
    [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],  # tritanopia
)


def test_colours_can_be_told_apart_by_colour_blind_people() -> None:
    """As dichromats see them (Machado et al. 2009) no two colours come close in CIELAB."""
    colours = [*report.CLASS_COLOURS[1:], report.KEPT_COLOUR, report.REJECTED_COLOUR]
    linear = (np.array(colours) / 255.0) ** 2.2
    for matrix in DICHROMATS:
        seen = np.clip(linear @ np.array(matrix).T, 0, 1) ** (1 / 2.2)
        lab = cv2.cvtColor(seen[None].astype(np.float32), cv2.COLOR_RGB2LAB)[0]
        apart = [float(np.linalg.norm(a - b)) for a, b in combinations(lab, 2)]
        assert min(apart) > 9


def test_thumbnails_are_written_whole_in_the_format_of_their_name(tmp_path: Path) -> None:
    """PNG gives the very pixels back, JPEG nearly, another ending is refused and leaves nothing."""
    picture = draw_thumbnail(grey(), clean_maps((64, 64)), scored([9], [9], [1]), 1, 0.8, side=200)
    picture[:20, :, 0] = 250
    for name, tolerance in (("a/t.png", 0), ("a/t.JPG", 12)):
        report.write_thumbnail(tmp_path / name, picture)
        back = cv2.imread(str(tmp_path / name))[..., ::-1].astype(int)
        assert np.abs(back - picture).mean() <= tolerance
    with pytest.raises(UsageError, match=r"\.png or \.jpg, not '\.bmp'"):
        report.write_thumbnail(tmp_path / "t.bmp", picture)
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["t.JPG", "t.png"]


# --- which micrographs ------------------------------------------------------------------------


@given(st.integers(0, 3000), st.integers(-1, 60))
def test_thumbnails_are_spread_over_a_known_list(count: int, limit: int) -> None:
    """Exactly as many as asked for, all different, and gaps that differ by one at most."""
    chosen = report.select_spread(count, limit)
    assert len(chosen) == max(0, min(count, limit))
    assert len(set(chosen.tolist())) == len(chosen)
    if len(chosen):
        edges = [-(chosen[0] + 1), *chosen.tolist(), count + (count - 1 - chosen[-1])]
        assert set(chosen.tolist()) <= set(range(count))
        assert np.ptp(np.diff(edges)) <= 2


# --- the table --------------------------------------------------------------------------------

COUNTS = st.integers(0, 50)
ROWS = st.builds(
    lambda kept, rejected, lost, failed, suspect: SummaryRow(
        lost if failed else kept + sum(rejected),
        0 if failed else kept,
        (0,) * 6 if failed else tuple(rejected),
        failed,
        suspect,
    ),
    COUNTS,
    st.lists(COUNTS, min_size=6, max_size=6),
    COUNTS,
    st.booleans(),
    st.booleans(),
)


@given(st.lists(ROWS, max_size=8))
def test_the_table_adds_up(rows: list[SummaryRow]) -> None:
    """Every pick that came in is kept, rejected by one class or none, or not screened."""
    lines = {what.strip(): count for what, count, _ in report.summary_lines(rows)}
    assert lines["micrographs"] == len(rows)
    assert lines["picks in"] == sum(row.picks_in for row in rows)
    parts = lines["kept"] + lines["rejected"] + lines.get("not screened", 0)
    assert parts == lines["picks in"]
    names = [name.replace("_", " ") for name in CLASS_NAMES[1:]] + ["no class"]
    assert sum(lines.get(name, 0) for name in names) == lines["rejected"]
    assert lines.get("failed", 0) == sum(row.failed for row in rows)
    assert lines.get("suspect", 0) == sum(row.suspect for row in rows)


def test_the_table_is_readable_text() -> None:
    """A terminal shows counts with their shares of the screened picks, and what needs a look."""
    from rich.console import Console

    rows = [SummaryRow(1000, 750, (0, 250, 0, 0, 0, 0)), SummaryRow(10, failed=True)]
    console = Console(width=60, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(report.summary_table(rows, title="job"))
    text = console.export_text()
    for words in ("1,010", "75.0%", "support film", "25.0%", "failed", "not screened"):
        assert words in text
    assert "suspect" not in text
    assert "aggregate" not in text


def test_the_histogram_has_a_bar_per_bin_and_the_threshold() -> None:
    """Bars grow with the counts, small counts stay visible, the threshold's bin is marked."""
    lines = report.goodness_histogram([1, 0, 500, 1000], 0.6, width=8)
    assert lines[0] == "0.00-0.25 ▏ 1"
    assert lines[1] == "0.25-0.50  0"
    assert lines[2] == "0.50-0.75 ████ 500  <- threshold 0.6"
    assert lines[3] == "0.75-1.00 ████████ 1,000"
    assert "threshold" in report.goodness_histogram([1, 1], 1.0)[1]
    assert not any("threshold" in line for line in report.goodness_histogram([1, 1], -1))
    assert report.goodness_histogram([0, 0], 0.5) == []


def test_importing_loads_neither_rich_nor_image_libraries() -> None:
    """The command line can import this module without paying for what it may not use."""
    code = "import sys, micscreen.report; print({'rich', 'cv2'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_preview_is_as_sharp_as_the_thumbnail_and_lies_on_it() -> None:
    """A fine pattern is still there at 768 px, a small picture stays as it is, spots stay put."""
    image = np.zeros((1536, 3072), np.float32)
    image[:, ::16] = image[:, 1::16] = image[:, 2::16] = image[:, 3::16] = 1.0
    fine = report.sharp_preview(image)
    assert fine.shape == (384, 768)
    assert (fine[:, ::4] == 255).all()
    assert (fine[:, 1::4] == 0).all()
    assert report.sharp_preview(image[:50, :60]).shape == (50, 60)
    spot = np.random.default_rng(0).normal(0, 1, (2000, 1000))
    spot[1500:1520, 200:220] += 50
    preview = report.sharp_preview(spot.astype(np.float32))
    row, column = np.unravel_index(cv2.blur(preview, (5, 5)).argmax(), preview.shape)
    assert (abs(row / 0.384 - 1510), abs(column / 0.384 - 210)) < (8, 8)
    picks = scored([209.5], [1509.5], [0.0], box=40)
    picture = draw_thumbnail(preview, clean_maps((50, 25)), picks, preview.shape[1] / 1000, 0.5)
    rows, columns = np.nonzero(pixels(picture[:768], report.REJECTED_COLOUR))
    assert abs(rows.mean() / 0.384 - 1510) < 8
    assert abs(columns.mean() / 0.384 - 210) < 8
