"""The STAR family: RELION, crYOLO .cbox, Xmipp .pos: right values, and text that survives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gemmi import cif
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from micscreen.errors import PicksError
from micscreen.io import read_coordinates, star, star_list
from micscreen.io.star_rows import _rows_by_line, _rows_by_token
from micscreen.io.star_text import parse
from micscreen.io.table import PickFormat, PickTable, Selection
from micscreen.picks import Picks

FORMATS: dict[str, PickFormat] = {row.name: row for row in (*star.FORMATS, *star_list.FORMATS)}

# A $ is a blank at the end of a line.
AUTOPICK = """
# version 30001

data_

loop_$
_rlnClassNumber #1$
_rlnCoordinateY #2$
_rlnCoordinateX #3$
_rlnAutopickFigureOfMerit #4$
            1     20.500000          123     0.500000$
            1    -4.250000  1.2345e+03     0.250000$
            0   300   -0.0     -1e-2$
$
""".replace("$", " ")

PARTICLES = """
# version 30001

data_optics

loop_$
_rlnOpticsGroupName #1$
_rlnOpticsGroup #2$
_rlnImageSize #3$
opticsGroup1            1          128$
$

# version 30001

data_particles

loop_$
_rlnCoordinateX #1$
_rlnCoordinateY #2$
_rlnImageName #3$
_rlnMicrographName #4$
_rlnOpticsGroup #5$
   10.000000    20.000000 000001@Extract/a.mrcs MotionCorr/job002/µ_a.mrc            1$
   30.000000    40.000000 000001@Extract/b.mrcs MotionCorr/job002/b.mrc            1$
   50.000000    60.000000 000002@Extract/a.mrcs MotionCorr/job002/µ_a.mrc            1$
$
""".replace("$", " ")

CBOX = """data_global

_cbox_format_version 1.0

data_cryolo

loop_
_CoordinateX #1
_CoordinateY #2
_CoordinateZ #3
_Width #4
_Height #5
_Depth #6
_EstWidth #7
_EstHeight #8
_Confidence #9
_NumBoxes #10
_Angle #11
-5.5 100.0 <NA> 201 201 <NA> 180 181 0.9 3 <NA>
400 500 <NA> 201 201 <NA> 180 181 <NA> 1 <NA>

data_cryolo_include

loop_
_slice_index #1

"""

POS = """# XMIPP_STAR_1 *$
#$
data_header
loop_
 _pickingMicrographState
Auto
data_particles
loop_
 _itemId
 _enabled
 _xcoor
 _ycoor
 _cost
 _micrographId
 000001   1   100  200  1   000007$
data_particles_auto
loop_
 _itemId
 _enabled
 _xcoor
 _ycoor
 _cost
 _micrographId
 000002   1   300  400  0.5   000007$
 000003  -1   500  600  -1   000007$
""".replace("$", " ")


def read(folder: Path, kind: str, content: str | bytes, name: str = "mic.star") -> PickTable:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return FORMATS[kind].read(path)


def subset(table: PickTable, keep: list[bool], goodness: list[float] | None = None) -> str:
    values = None if goodness is None else np.array(goodness, np.float32)
    selection = Selection(np.array(keep, np.bool_), values)
    folder = table.source.parent / "out"
    written = FORMATS[table.format].write_subset(table, selection, folder)
    assert written[0] == folder / table.source.name
    return written[0].read_bytes().decode()


def by_gemmi(text: str, tag: str) -> list[str]:
    document = cif.read_string(text.replace("µ", "u"))  # gemmi refuses what is not ASCII
    return [value for block in document for value in block.find_values(tag)]


# --- values ---------------------------------------------------------------------------------------


def test_a_relion_file_gives_its_coordinates_in_any_order_of_columns(tmp_path: Path) -> None:
    """Integers, exponents and negative numbers are read from whatever column bears the name."""
    table = read(tmp_path, "relion", AUTOPICK, "µ_autopick.star")
    assert table.micrographs == ("µ_autopick.star",)
    np.testing.assert_array_equal(table.x, [123, 1234.5, 0])
    np.testing.assert_array_equal(table.y, [20.5, -4.25, 300])
    assert table.figure_of_merit is not None
    np.testing.assert_array_equal(table.figure_of_merit, [0.5, 0.25, -0.01])


def test_a_particles_file_tells_its_micrographs_apart(tmp_path: Path) -> None:
    """Every row is of the micrograph that it names, by its very text."""
    table = read(tmp_path, "relion_particles", PARTICLES)
    assert table.micrographs == ("MotionCorr/job002/µ_a.mrc", "MotionCorr/job002/b.mrc")
    np.testing.assert_array_equal(table.micrograph_index, [0, 1, 0])
    assert table.figure_of_merit is None


def test_a_particles_file_of_relion_3_0_has_one_table(tmp_path: Path) -> None:
    """The form without optics table, in a block without name, is read too."""
    content = "data_\nloop_\n_rlnMicrographName\n_rlnCoordinateX\n_rlnCoordinateY\na.mrc 1 2\n"
    table = read(tmp_path, "relion_particles", content)
    assert (table.micrographs, table.x.tolist(), table.y.tolist()) == (("a.mrc",), [1], [2])


def test_cbox_corners_become_centres_and_odd_boxes_keep_their_half(tmp_path: Path) -> None:
    """A box of 201 px whose corner is at -5.5 has its centre at 95; a missing score is NaN."""
    table = read(tmp_path, "cryolo_cbox", CBOX, "mic.cbox")
    np.testing.assert_array_equal(table.x, [95, 500.5])
    np.testing.assert_array_equal(table.y, [200.5, 600.5])
    assert table.box_size == 201
    assert table.figure_of_merit is not None
    np.testing.assert_array_equal(table.figure_of_merit, [0.9, np.nan])


@pytest.mark.parametrize(
    "config",
    [
        "# XMIPP_STAR_1 * \n# \ndata_properties\n _pickingParticleSize          128\n",
        "data_properties\n\nloop_\n_particleSize #1\n_pickingState #2\n128 Manual\n",
    ],
)
def test_an_xmipp_file_gives_manual_and_automatic_picks_and_the_box(
    tmp_path: Path, config: str
) -> None:
    """Both blocks count, in file order, and config.xmd beside the file says the box."""
    (tmp_path / "config.xmd").write_text(config)
    table = read(tmp_path, "xmipp_pos", POS, "mic.pos")
    np.testing.assert_array_equal(table.x, [100, 300, 500])
    np.testing.assert_array_equal(table.y, [200, 400, 600])
    assert table.box_size == 128
    (copied,) = FORMATS["xmipp_pos"].write_subset(
        table, Selection(np.ones(3, np.bool_)), tmp_path / "out"
    )[1:]
    assert copied.read_text() == config


def test_names_in_quotes_are_read_without_them_and_stay_in_them(tmp_path: Path) -> None:
    """A micrograph's name with blanks is one value; its text is not touched."""
    content = PARTICLES.replace("MotionCorr/job002/b.mrc", "'my grid/b.mrc'")
    content = content.replace("MotionCorr/job002/µ_a.mrc", '"a.mrc"')
    table = read(tmp_path, "relion_particles", content)
    assert table.micrographs == ("a.mrc", "my grid/b.mrc")
    assert subset(table, [True] * 3) == content


# --- text survives --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name", "content"),
    [
        ("relion", "mic.star", AUTOPICK),
        ("relion", "mic.star", AUTOPICK.replace("\n", "\r\n")),
        ("relion", "mic.star", AUTOPICK.rstrip()),
        ("relion", "mic.star", "\ufeff" + AUTOPICK),
        ("relion_particles", "particles.star", PARTICLES),
        ("cryolo_cbox", "mic.cbox", CBOX),
        ("xmipp_pos", "mic.pos", POS),
    ],
)
def test_a_copy_of_all_rows_is_the_same_file(
    tmp_path: Path, kind: str, name: str, content: str
) -> None:
    """Keeping everything without a goodness gives back every byte."""
    table = read(tmp_path, kind, content, name)
    assert subset(table, [True] * len(table)) == content


def test_only_rows_go_and_only_the_goodness_comes(tmp_path: Path) -> None:
    """Comments, optics table, column numbers and values of kept rows are as they were."""
    table = read(tmp_path, "relion_particles", PARTICLES)
    text = subset(table, [True, False, True], [0.9, 0.1, 0.8125])
    expected = [
        line.replace("1 ", "1 0.900000 ") if line.startswith("   10.0") else line
        for line in PARTICLES.split("\n")
        if "b.mrcs" not in line
    ]
    label = expected.index("_rlnOpticsGroup #5 ")
    expected.insert(label + 1, "_micscreenGoodness #6 ")
    for start, goodness in (("   10.0", "0.900000"), ("   50.0", "0.812500")):
        (row,) = [n for n, line in enumerate(PARTICLES.split("\n")) if line.startswith(start)]
        original = PARTICLES.split("\n")[row]
        assert original + goodness + " " in text.split("\n")
    others = [line for line in text.split("\n") if not line.endswith(("0.900000 ", "0.812500 "))]
    assert others == [line for line in expected if not line.startswith(("   10.0", "   50.0"))]


def test_a_second_screening_replaces_the_goodness(tmp_path: Path) -> None:
    """The column is found again wherever it stands, and is not doubled."""
    table = read(tmp_path, "relion", AUTOPICK)
    first = subset(table, [True] * 3, [0.1, 0.2, 0.3])
    again = read(tmp_path, "relion", first, "again.star")
    second = subset(again, [True] * 3, [0.7, 0.8, 0.9])
    assert by_gemmi(second, "_micscreenGoodness") == ["0.700000", "0.800000", "0.900000"]
    assert second == first.replace("0.100000", "0.700000").replace("0.200000", "0.800000").replace(
        "0.300000", "0.900000"
    )


def test_xmipp_gets_its_own_goodness_column_in_every_block(tmp_path: Path) -> None:
    """`_goodRegionScore` is added to the manual and to the automatic picks, indented alike."""
    table = read(tmp_path, "xmipp_pos", POS, "mic.pos")
    text = subset(table, [True, False, True], [0.5, 0.25, 1])
    assert by_gemmi(text, "_goodRegionScore") == ["0.500000", "1.000000"]
    assert by_gemmi(text, "_itemId") == ["000001", "000003"]
    assert text.count("\n _goodRegionScore\n") == 2


@pytest.mark.parametrize(
    ("kind", "name", "content", "tag"),
    [
        ("relion", "mic.star", AUTOPICK, "_rlnCoordinateX"),
        ("relion", "mic.star", AUTOPICK.rstrip(), "_rlnCoordinateX"),
        ("relion_particles", "particles.star", PARTICLES, "_rlnImageName"),
        ("cryolo_cbox", "mic.cbox", CBOX, "_Width"),
        ("xmipp_pos", "mic.pos", POS, "_itemId"),
    ],
)
def test_no_rows_left_is_a_valid_file(
    tmp_path: Path, kind: str, name: str, content: str, tag: str
) -> None:
    """gemmi and our own reader find the empty table, and the columns are all there."""
    table = read(tmp_path, kind, content, name)
    text = subset(table, [False] * len(table), [0.0] * len(table))
    again = FORMATS[kind].read(tmp_path / "out" / name)
    assert len(again) == 0
    document = cif.read_string(text)
    assert any(block.find_loop(tag).tag == tag for block in document)
    assert by_gemmi(text, tag) == []
    assert len(FORMATS[kind].read(tmp_path / "out" / name)) == 0


def test_starfile_reads_what_we_write(tmp_path: Path) -> None:
    """The package that most scripts use reads filtered files, empty ones among them."""
    starfile = pytest.importorskip("starfile")
    table = read(tmp_path, "relion_particles", PARTICLES, "particles.star")
    for keep, count in (([True, False, True], 2), ([False] * 3, 0)):
        subset(table, keep, [0.9, 0.1, 0.8])
        blocks = starfile.read(tmp_path / "out" / "particles.star", always_dict=True)
        assert len(blocks["particles"]) == count
        assert "micscreenGoodness" in blocks["particles"].columns


@pytest.mark.parametrize(
    ("kind", "name", "content"),
    [
        ("relion", "mic.star", ""),
        ("relion", "mic.star", "\n# version 30001\n"),
        ("cryolo_cbox", "mic.cbox", ""),
        ("xmipp_pos", "mic.pos", POS[: POS.index("data_particles")]),
    ],
)
def test_files_without_any_table_have_zero_picks(
    tmp_path: Path, kind: str, name: str, content: str
) -> None:
    """RELION leaves nothing, Xmipp only a header, for no picks; copies are the same."""
    table = read(tmp_path, kind, content, name)
    assert len(table) == 0
    assert read_coordinates(table.source).format == kind
    assert subset(table, [], []) == content


# --- another scale --------------------------------------------------------------------------------


def test_new_coordinates_change_x_and_y_alone(tmp_path: Path) -> None:
    """On another scale x and y get six decimals, and every other value keeps its text."""
    table = read(tmp_path, "relion", AUTOPICK)
    selection = Selection(np.ones(3, np.bool_), x=table.x / 3, y=table.y / 3, scale=1 / 3)
    (path,) = FORMATS["relion"].write_subset(table, selection, tmp_path / "out")
    again = FORMATS["relion"].read(path)
    np.testing.assert_allclose(again.x, table.x / 3, atol=5e-7)
    np.testing.assert_allclose(again.y, table.y / 3, atol=5e-7)
    for tag in ("_rlnClassNumber", "_rlnAutopickFigureOfMerit"):
        assert by_gemmi(path.read_text(), tag) == by_gemmi(AUTOPICK, tag)


def test_a_scaled_cbox_has_scaled_boxes_around_the_same_centres(tmp_path: Path) -> None:
    """Corner and size change together, so that the centres are those that were asked for."""
    table = read(tmp_path, "cryolo_cbox", CBOX, "mic.cbox")
    selection = Selection(np.ones(2, np.bool_), x=table.x * 0.5, y=table.y * 0.5, scale=0.5)
    (path,) = FORMATS["cryolo_cbox"].write_subset(table, selection, tmp_path / "out")
    again = FORMATS["cryolo_cbox"].read(path)
    np.testing.assert_allclose(again.x, table.x * 0.5)
    np.testing.assert_allclose(again.y, table.y * 0.5)
    assert again.box_size == 100.5
    assert by_gemmi(path.read_text(), "_EstHeight") == ["181", "181"]


def test_a_scaled_pos_keeps_whole_numbers_and_scales_its_config(tmp_path: Path) -> None:
    """Xmipp's coordinates are integers, and the box in config.xmd follows the scale."""
    (tmp_path / "config.xmd").write_text("data_properties\n _pickingParticleSize 128\n")
    table = read(tmp_path, "xmipp_pos", POS, "mic.pos")
    selection = Selection(np.ones(3, np.bool_), x=table.x / 2 - 0.25, y=table.y / 2, scale=0.5)
    FORMATS["xmipp_pos"].write_subset(table, selection, tmp_path / "out")
    assert by_gemmi((tmp_path / "out" / "mic.pos").read_text(), "_xcoor") == ["50", "150", "250"]
    assert FORMATS["xmipp_pos"].read(tmp_path / "out" / "mic.pos").box_size == 64


# --- layouts that hardly anybody writes -----------------------------------------------------------

words = st.sampled_from(
    ["1", "-2.5", "1e-3", "mic.mrc", "data/x.mrc", "dataset", "loop_x", "a'b", '""', "''"]
) | st.sampled_from(
    ["'quoted'", '"two words"', "'# no comment'", '"it\'s"', "a#b", "µ", "?", "<NA>"]
)
blanks = st.sampled_from([" ", "  ", "\t", " \t "])


@st.composite
def tables(draw: st.DrawFn) -> tuple[str, list[list[str]], bool]:
    """Return a STAR text with a table of picks, its rows, and whether columns are numbered."""
    end = draw(st.sampled_from(["\n", "\r\n"]))
    columns = draw(st.integers(0, 4))
    order = draw(st.permutations(range(columns + 2)))
    tags = ["_rlnCoordinateX", "_rlnCoordinateY", *(f"_extra{i}" for i in range(columns))]
    number = draw(st.booleans())
    odd = draw(st.booleans())
    out = draw(st.sampled_from(["", "# version 30001" + end, end * 2]))
    out += draw(st.sampled_from(["", f"data_general{end}_pair 'a b'{end}_other 1{end}{end}"]))
    out += draw(st.sampled_from(["", f"data_other{end}loop_{end}_a #1{end}_b #2{end}1 2{end}"]))
    out += f"data_{end}{end}loop_{draw(st.sampled_from(['', ' ']))}{end}"
    for n, i in enumerate(order):
        out += tags[i] + (f" #{n + 1} " if number else "") + end
    rows: list[list[str]] = []
    for _ in range(draw(st.integers(0, 5))):
        values = [draw(st.sampled_from(["1", "-2.5", "3e2"])) for _ in range(2)]
        values += [draw(words) for _ in range(columns)]
        row = [values[i] for i in order]
        rows.append(row)
        out += draw(st.sampled_from(["", " ", "\t"]))
        for n, value in enumerate(row):
            between = draw(blanks) if n else ""
            if odd and n and draw(st.booleans()):
                between = draw(st.sampled_from([end, f" # remark{end}", end * 2]))
            out += between + value
        out += draw(st.sampled_from(["", " ", "  "])) + end
        out += draw(st.sampled_from(["", "", "", end, f"# between{end}"]))
    if draw(st.booleans()):
        out += f"{end}# version 30001{end}data_last{end}loop_{end}_c{end}x{end}"
    elif draw(st.booleans()):
        out = out.rstrip()
    return out, rows, number


@settings(max_examples=120, deadline=None)
@given(data=st.data(), case=tables())
def test_any_layout_splits_into_kept_and_rejected(
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    case: tuple[str, list[list[str]], bool],
) -> None:
    """However rows are laid out, values are right and each row is in one of two valid files."""
    content, rows, numbered = case
    folder = tmp_path_factory.mktemp("star")
    table = read(folder, "relion", content)
    tags = [t for t in content.split() if t.startswith(("_rln", "_extra"))]
    x = tags.index("_rlnCoordinateX")
    np.testing.assert_array_equal(table.x, [float(row[x]) for row in rows])
    keep = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    goodness = [0.5] * len(rows)
    for side in (keep, [not k for k in keep]):
        text = subset(table, side, goodness)
        mine = [row for row, k in zip(rows, side, strict=True) if k]
        for n, tag in enumerate(tags):
            assert by_gemmi(text, tag) == [row[n].replace("µ", "u") for row in mine]
        assert by_gemmi(text, "_micscreenGoodness") == ["0.500000"] * len(mine)
        assert text.count("#") == (
            content.count("#")
            - sum(r.count("#") for row, k in zip(rows, side, strict=True) if not k for r in row)
            - lost_remarks(content, rows, side)
            + numbered
        )
        assert len(read(folder, "relion", text, "again.star")) == len(mine)


def lost_remarks(content: str, rows: list[list[str]], keep: list[bool]) -> int:
    """Return how many remarks stand inside rejected rows, and go with them."""
    text = parse(content.encode(), (), Path("x"))
    (loop,) = text.loops_with(("_rlnCoordinateX",))
    spans = loop.rows.tolist()
    return sum(
        content.encode()[a:b].decode().count("# remark")
        for (a, b), kept in zip(spans, keep, strict=True)
        if not kept
    )


@settings(max_examples=150, deadline=None)
@given(case=tables())
def test_the_quick_and_the_thorough_way_cut_the_same_rows(
    case: tuple[str, list[list[str]], bool],
) -> None:
    """Where the array operations give an answer, it is that of the value-by-value way."""
    data = case[0].encode()
    (loop,) = parse(data, (), Path("x")).loops_with(("_rlnCoordinateX",))
    arguments = (data, loop.label[1], len(loop.tags), list(range(len(loop.tags))), Path("x"))
    quick = _rows_by_line(*arguments)
    thorough = _rows_by_token(*arguments)
    if quick is not None and len(quick.rows) == len(thorough.rows):
        np.testing.assert_array_equal(quick.rows, thorough.rows)
        np.testing.assert_array_equal(quick.row_ends, thorough.row_ends)
        np.testing.assert_array_equal(quick.columns, thorough.columns)


def test_text_fields_over_several_lines_belong_to_their_row(tmp_path: Path) -> None:
    """Lines between semicolons are one value, whatever they look like."""
    content = "data_\nloop_\n_rlnCoordinateX\n_note\n_rlnCoordinateY\n"
    content += "1\n;first\ndata_x\n;\n2\n3 x 4\n"
    table = read(tmp_path, "relion", content)
    np.testing.assert_array_equal(table.y, [2, 4])
    assert subset(table, [False, True]) == content.replace("1\n;first\ndata_x\n;\n2\n", "")
    assert by_gemmi(subset(table, [True, False], [0.5, 0]), "_note") == [";first\ndata_x\n;"]


def test_odd_headers_keep_their_text_and_get_a_valid_column(tmp_path: Path) -> None:
    """A remark behind a name is not copied; values on the last name's line stay values."""
    head = "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY"
    text = subset(read(tmp_path, "relion", head + " # px 2\n1 2\n"), [True], [0.5])
    assert text == head + " # px 2\n_micscreenGoodness\n1 2 0.500000\n"
    table = read(tmp_path, "relion", head + " 1 2\n3 4\n")
    for keep, rows in (([True, False], ["1"]), ([False, True], ["3"])):
        text = subset(table, keep, [0.5, 0.5])
        assert by_gemmi(text, "_rlnCoordinateX") == rows
        assert by_gemmi(text, "_micscreenGoodness") == ["0.500000"]


def test_a_folder_named_data_something_is_no_block(tmp_path: Path) -> None:
    """RELION takes 'data_set1/a.mrc' for a value wherever it stands, and so do we."""
    content = "data_\nloop_\n_rlnMicrographName\n_rlnCoordinateX\n_rlnCoordinateY\n"
    content += "data_set1/a.mrc 1 2\ndata_set1/b.mrc 3\n 4\n"
    table = read(tmp_path, "relion_particles", content)
    assert table.micrographs == ("data_set1/a.mrc", "data_set1/b.mrc")
    assert subset(table, [False, True]) == content.replace("data_set1/a.mrc 1 2\n", "")


def long_file(rows: int) -> tuple[bytes, NDArray[np.float64]]:
    rng = np.random.default_rng(1)
    x = np.round(rng.uniform(-100, 6000, (rows, 2)), 6)
    lines = [f"{a:13.6f} {b:13.6f} mic_{i // 100}.mrc  {'z' * (i % 50)}q" for i, (a, b) in
             enumerate(x.tolist())]  # fmt: skip
    for i in range(0, rows, 997):
        lines[i] += "\n\n"  # blank lines between rows
    head = "data_particles\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnMicrographName\n_tail\n"
    return (head + "\n".join(lines) + "\n").encode(), x


def test_long_files_are_cut_right_where_pieces_meet(tmp_path: Path) -> None:
    """A table of several MiB has every value, row and blank line."""
    data, x = long_file(60_000)
    table = read(tmp_path, "relion_particles", data)
    np.testing.assert_array_equal(np.stack((table.x, table.y), axis=1), x)
    np.testing.assert_array_equal(table.micrograph_index, np.arange(60_000) // 100)
    keep = np.random.default_rng(2).random(60_000) < 0.5
    halves = [subset(table, side.tolist()) for side in (keep, ~keep)]
    blank = data.decode().count("\n\n")
    assert [half.count("\n\n\n") + half.count("\n\n") >= blank // 3 for half in halves] == [
        True
    ] * 2
    lines = [line for half in halves for line in half.split("\n") if "mic_" in line]
    assert sorted(lines) == sorted(line for line in data.decode().split("\n") if "mic_" in line)


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "content", "says"),
    [
        ("relion", AUTOPICK.replace("1.2345e+03 ", ""), "line 12: a row has 3 values"),
        (
            "relion",
            "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_c\n" + "1 2\n" * 3,
            "line 6: a row",
        ),
        ("relion", AUTOPICK.replace("-4.250000", "north"), "line 12: column _rlnCoordinateY says"),
        ("relion", AUTOPICK.replace("-4.250000", "nan"), "line 12: column _rlnCoordinateY says"),
        ("relion", AUTOPICK[: AUTOPICK.index(" -0.0")], "a row has 2 values"),
        ("relion", AUTOPICK.replace("_rlnCoordinateX", "_rlnCoordinateA"), "no table with the col"),
        ("relion", "x y\n1 2\n", "begins with a line 'data_'"),
        ("relion", "data_\nloop_\n1 2\n", "a loop_ without column names"),
        ("relion", "data_\n_rlnCoordinateX 1\n_rlnCoordinateY 2\n", "no table with the columns"),
        ("relion", "data_\n'half", "expected a block"),
        ("relion_particles", AUTOPICK, "rlnMicrographName"),
        (
            "relion_particles",
            "data_particles\nloop_\n_rlnTomoName\n_rlnCenteredCoordinateXAngst\nTS_1 2.5\n",
            "tomography",
        ),
        ("cryolo_cbox", CBOX.replace("201", "0"), "box size of 0.0 px"),
        ("xmipp_pos", "# XMIPP_STAR_1 *\ndata_a\n", "no table with the columns xcoor"),
    ],
)
def test_broken_files_are_refused_with_the_place(
    tmp_path: Path, kind: str, content: str, says: str
) -> None:
    """Each error says what is wrong and in which line or column."""
    with pytest.raises(PicksError) as caught:
        read(tmp_path, kind, content)
    assert says in str(caught.value)
    assert "mic.star" in str(caught.value)


def test_a_file_that_changed_is_not_filtered_by_old_row_numbers(tmp_path: Path) -> None:
    """When rows were added after reading, writing says so."""
    table = read(tmp_path, "relion", AUTOPICK)
    table.source.write_text(AUTOPICK.rstrip() + "\n1 2 3 4\n")
    with pytest.raises(PicksError, match="held 3 picks when it was read and 4 now"):
        subset(table, [True] * 3)


# --- lists ----------------------------------------------------------------------------------------

LIST = """
# version 30001

data_coordinate_files

loop_$
_rlnMicrographName #1$
_rlnMicrographCoordinates #2$
MotionCorr/job002/Movies/a.mrc AutoPick/job005/Movies/a_autopick.star$
MotionCorr/job002/Movies/b.mrc AutoPick/job005/Movies/b_autopick.star$
MotionCorr/job002/Movies/c.mrc AutoPick/job005/Movies/c.box$
MotionCorr/job002/Movies/d.mrc AutoPick/job005/Movies/d.txt$
""".replace("$", " ")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a RELION project with a picking job: files of 3, 0, 1 and 2 picks."""
    root = tmp_path / "project"
    movies = root / "AutoPick" / "job005" / "Movies"
    movies.mkdir(parents=True)
    (movies / "a_autopick.star").write_text(AUTOPICK)
    (movies / "b_autopick.star").write_text(AUTOPICK[: AUTOPICK.index("            1     20.5")])
    (movies / "c.box").write_text("10\t20\t100\t100\n")
    (movies / "d.txt").write_text("7 8\n9 10\n")
    (root / "AutoPick" / "job005" / "autopick.star").write_text(LIST)
    return root


def test_a_list_gathers_the_picks_of_all_its_files(project: Path) -> None:
    """The project folder is found by walking up; .star, .box and .txt targets are read."""
    table = FORMATS["relion_list"].read(project / "AutoPick/job005/autopick.star")
    assert table.micrographs == tuple(f"MotionCorr/job002/Movies/{m}.mrc" for m in "abcd")
    assert [len(rows) for rows in table.rows_by_micrograph()] == [3, 0, 1, 2]
    np.testing.assert_array_equal(table.x, [123, 1234.5, 0, 60, 7, 9])
    assert len(table.members) == 5


def test_a_list_that_was_moved_is_read_from_the_project_folder(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list outside of the project works when the working directory lies in the project."""
    elsewhere = tmp_path / "lists" / "mine.star"
    elsewhere.parent.mkdir()
    elsewhere.write_text(LIST)
    monkeypatch.chdir(project / "AutoPick")
    assert len(FORMATS["relion_list"].read(elsewhere)) == 6


def test_missing_targets_are_all_named_and_the_others_are_read(project: Path) -> None:
    """`read` raises once for all of them, `read_list` gives them beside the table."""
    path = project / "AutoPick/job005/autopick.star"
    (path.parent / "Movies/a_autopick.star").unlink()
    (path.parent / "Movies/c.box").write_text("1 2 x 4\n")
    with pytest.raises(PicksError) as caught:
        star_list.read(path)
    assert "2 of the 4 coordinate files" in str(caught.value)
    assert "a_autopick.star" in str(caught.value)
    assert "c.box" in str(caught.value)
    table, problems = star_list.read_list(path)
    assert [file.name for file, _ in problems] == ["a_autopick.star", "c.box"]
    assert [len(rows) for rows in table.rows_by_micrograph()] == [0, 2]
    written = FORMATS["relion_list"].write_subset(
        table, Selection(np.ones(2, np.bool_)), project / "out"
    )
    assert len(written) == 3
    assert star_list.read(project / "out" / "autopick.star").micrographs == table.micrographs


@pytest.mark.parametrize("place", ["External/job007/picks", "../outside"])
def test_a_filtered_list_leads_to_its_own_files(project: Path, place: str) -> None:
    """Paths are relative to the project inside of it and full outside; the layout stays."""
    table = star_list.read(project / "AutoPick/job005/autopick.star")
    keep = np.array([True, False, False, False, True, False])
    folder = project / place
    goodness = np.linspace(0, 1, 6, dtype=np.float32)
    written = FORMATS["relion_list"].write_subset(table, Selection(keep, goodness), folder)
    assert [str(path.relative_to(folder)) for path in written] == [
        "autopick.star",
        *(f"Movies/{name}" for name in ("a_autopick.star", "b_autopick.star", "c.box", "d.txt")),
    ]
    again = star_list.read(folder / "autopick.star")
    assert again.micrographs == table.micrographs
    np.testing.assert_array_equal(again.x, table.x[keep])
    inside = not place.startswith("..")
    targets = by_gemmi((folder / "autopick.star").read_text(), "_rlnMicrographCoordinates")
    assert all(Path(target).is_absolute() != inside for target in targets)
    assert by_gemmi(written[1].read_text(), "_micscreenGoodness") == ["0.000000"]


def test_a_list_can_be_written_for_the_place_to_which_it_will_be_moved(project: Path) -> None:
    """Sets are written aside and renamed; the list names the files where they will be."""
    table = star_list.read(project / "AutoPick/job005/autopick.star")
    aside, final = project / "job" / ".tmp-picks", project / "job" / "picks"
    star_list.write_subset(table, Selection(np.ones(6, np.bool_)), aside, final=final)
    aside.rename(final)
    np.testing.assert_array_equal(star_list.read(final / "autopick.star").x, table.x)


def test_a_new_list_leads_to_its_new_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Micrographs of equal names in different folders get files of their own."""
    monkeypatch.chdir(tmp_path)
    picks = [
        (name, Picks(np.array([n, 2.0]), np.array([3.5, n]), goodness=np.ones(2, np.float32)))
        for n, name in enumerate(["A/mic.mrc", "B/mic.mrc", "with blank/µ.mrc"])
    ]
    written = star_list.write_new(tmp_path / "job/picks.star", picks)
    assert len(written) == 4
    table = star_list.read(written[0])
    assert table.micrographs == ("A/mic.mrc", "B/mic.mrc", "with blank/µ.mrc")
    np.testing.assert_array_equal(table.x, [0, 2, 1, 2, 2, 2])
    with pytest.raises(PicksError, match="more than one micrograph"):
        star_list.write_new(tmp_path / "job/two.star", [picks[0], picks[0]])


def test_a_list_cannot_write_outside_of_its_folder(tmp_path: Path) -> None:
    """Names with '..' or a full path, as a file may bear them, stay below the new folder."""
    none = Picks(np.empty(0), np.empty(0))
    for name in ("../../evil.mrc", "/etc/evil.mrc"):
        written = star_list.write_new(tmp_path / "a/b/picks.star", [(name, none)])
        assert written[1] == tmp_path / "a/b/evil_autopick.star"
