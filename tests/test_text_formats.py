"""EMAN .box and .json, csv, tsv, Topaz, and two columns without a header."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micscreen.errors import PicksError
from micscreen.io import eman, text
from micscreen.io import lines as text_lines
from micscreen.io.table import PickFormat, PickTable, Selection
from micscreen.picks import Picks

FORMATS: dict[str, PickFormat] = {row.name: row for row in text.FORMATS}


def read(folder: Path, kind: str, content: str | bytes, name: str | None = None) -> PickTable:
    path = folder / (name or "mic_01" + FORMATS[kind].extensions[0])
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return FORMATS[kind].read(path)


def subset(
    table: PickTable, keep: list[bool], goodness: list[float] | None = None, **moved: object
) -> bytes:
    values = None if goodness is None else np.array(goodness, np.float32)
    selection = Selection(np.array(keep, np.bool_), values, **moved)  # type: ignore[arg-type]
    folder = table.source.parent / "out"
    (path,) = FORMATS[table.format].write_subset(table, selection, folder)
    assert path == folder / table.source.name
    return path.read_bytes()


def sniffed(folder: Path, name: str, content: bytes) -> list[str]:
    path = folder / name
    return [row.name for row in text.FORMATS if row.sniff(path, content[:65536])]


# --- csv, tsv, topaz, txt ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("csv", "x,y\n10.5,20\n30,40.25\n"),
        ("csv", "xcoor,ycoor\n10.5,20\n30,40.25\n"),
        ("csv", "ID,X_coord,Y_COORD\n1,10.5,20\n2,30,40.25\n"),
        ("csv", "X-Coordinate;Y-Coordinate\n10.5;20\n30;40.25\n"),
        ("csv", "\ufeffx,y\r\n10.5,20\r\n30,40.25\r\n"),
        ("csv", '"x", "y"\n"10.5", "20"\n"30", "40.25"\n'),
        ("csv", "# picked by hand\nx,y\n\n10.5,20\n# again\n30,40.25"),
        ("tsv", "x\ty\tclass\n10.5\t20\tA\n30\t40.25\tB\n"),
        ("tsv", "  x   y\n  10.5   20\n  30   40.25\n"),
        ("txt", "10.5 20\n30 40.25\n"),
        ("txt", "10.5\t20\t7\n30\t40.25\t7\n"),
        ("txt", "# x y\n10.5,20\n30,40.25\n"),
        ("txt", "\ufeff  10.5    20\r  30  40.25 \r"),
    ],
)
def test_every_way_to_write_two_columns_gives_the_same_centres(
    tmp_path: Path, kind: str, content: str
) -> None:
    """Names, delimiters, quotes, comments, marks and line ends do not change what is read."""
    table = read(tmp_path, kind, content)
    assert table.format == kind
    assert table.x.tolist() == [10.5, 30.0]
    assert table.y.tolist() == [20.0, 40.25]
    assert table.micrographs == (table.source.name,)
    assert table.micrograph_index.tolist() == [0, 0]
    assert table.members == (table.source,)


def test_a_column_of_names_makes_one_file_of_many_micrographs(tmp_path: Path) -> None:
    """Names are kept as written, in order of appearance, with the rows in file order."""
    table = read(
        tmp_path,
        "csv",
        'x,y,filename,score\n1,2,b/µ 2.mrc,0.5\n3,4,"a,1.mrc",-2\n5,6,b/µ 2.mrc,\n',
    )
    assert table.micrographs == ("b/µ 2.mrc", "a,1.mrc")
    assert [rows.tolist() for rows in table.rows_by_micrograph()] == [[0, 2], [1]]
    assert table.figure_of_merit is not None
    np.testing.assert_array_equal(table.figure_of_merit, [0.5, -2.0, np.nan])


def test_topaz_scores_are_the_figure_of_merit(tmp_path: Path) -> None:
    """The score column is carried as figure of merit, and a table without it is read too."""
    table = read(tmp_path, "topaz", "image_name\tx_coord\ty_coord\tscore\nm1\t5\t6\t3.25\n")
    assert table.figure_of_merit is not None
    assert table.figure_of_merit.tolist() == [3.25]
    assert table.micrographs == ("m1",)
    bare = read(tmp_path, "topaz", "image_name\tx_coord\ty_coord\nm1\t5\t6\n")
    assert bare.figure_of_merit is None


def test_kept_rows_are_the_very_text_they_were(tmp_path: Path) -> None:
    """Spaces, trailing zeros, comments, line ends and bytes that are no UTF-8 survive."""
    content = b"\xef\xbb\xbf# h\xe9\r\nx,y,note\r\n 1.50 ,2e1,a\r\n\r\n3,4,\xff b\r\n# end\r\n5,6,"
    table = read(tmp_path, "csv", content)
    assert subset(table, [True] * 3) == content
    kept = content.replace(b"3,4,\xff b\r\n", b"")
    assert subset(table, [True, False, True]) == kept


def test_goodness_is_a_new_last_column(tmp_path: Path) -> None:
    """Header and kept rows get the goodness in front of their own line ends."""
    table = read(tmp_path, "csv", "x,y\r\n1,2\r\n3,4\r\n5,6")
    expected = b"x,y,goodness\r\n1,2,0.250000\r\n5,6,1.000000"
    assert subset(table, [True, False, True], [0.25, 0.5, 1.0]) == expected
    blanks = read(tmp_path, "tsv", "x y\n1 2\n")
    assert subset(blanks, [True], [0.5]) == b"x y goodness\n1 2 0.500000\n"
    topaz = read(tmp_path, "topaz", "image_name\tx_coord\ty_coord\nm\t1\t2\n")
    assert b"\nm\t1\t2\t0.500000\n" in subset(topaz, [True], [0.5])


def test_an_old_goodness_is_replaced_where_it_stands(tmp_path: Path) -> None:
    """The column keeps its place, and quoted delimiters and blanks around it stay."""
    table = read(tmp_path, "csv", 'x,goodness,y,n\n1, 0.9,2,"a,b"\n"3",,4,c\n')
    expected = b'x,goodness,y,n\n1, 0.500000,2,"a,b"\n"3",0.250000,4,c\n'
    assert subset(table, [True, True], [0.5, 0.25]) == expected
    assert subset(table, [False, False], [0.5, 0.25]) == b"x,goodness,y,n\n"


def test_no_goodness_where_there_is_no_header(tmp_path: Path) -> None:
    """Headerless files keep their columns and no more."""
    table = read(tmp_path, "txt", "1 2\n3 4\n")
    assert subset(table, [False, True], [0.1, 0.9]) == b"3 4\n"


def test_only_coordinates_change_on_another_scale(tmp_path: Path) -> None:
    """New x, y and box sizes replace the old ones and no other value does."""
    moved = {"x": np.array([0.5]), "y": np.array([7.0]), "scale": 0.5}
    table = read(tmp_path, "csv", "n,y,x,box_size,q\na,14,1.0,200,x\n")
    assert table.box_size == 200
    assert subset(table, [True], None, **moved) == b"n,y,x,box_size,q\na,7.0,0.5,100.0,x\n"
    blanks = read(tmp_path, "txt", "  1.0   14   9 \n")
    assert subset(blanks, [True], None, **moved) == b"  0.5   7.0   9 \n"
    topaz = read(tmp_path, "topaz", "image_name\tx_coord\ty_coord\nm\t1\t14\n")
    moved["x"] = np.array([1.6])
    assert subset(topaz, [True], None, **moved).endswith(b"m\t2\t7\n")


def test_nothing_kept_is_a_valid_empty_file(tmp_path: Path) -> None:
    """What is left after every pick went can be read again, and has no picks."""
    contents = {
        "csv": "x,y\n1,2\n",
        "tsv": "x\ty\n1\t2\n",
        "topaz": "image_name\tx_coord\ty_coord\nm\t1\t2\n",
        "txt": "1 2\n",
        "eman_box": "1 2 10 10\n",
        "eman_json": '{"boxes": [[1, 2, "manual"]]}',
    }
    for kind, content in contents.items():
        table = read(tmp_path, kind, content)
        subset(table, [False], [0.0])
        assert len(FORMATS[kind].read(tmp_path / "out" / table.source.name)) == 0


def test_an_empty_file_has_no_picks(tmp_path: Path) -> None:
    """Pickers that found nothing write empty files, which is no error."""
    for kind in ("csv", "tsv", "txt", "topaz", "eman_box"):
        assert len(read(tmp_path, kind, "")) == 0
        assert len(read(tmp_path, kind, "# nothing\n\n")) == 0
    assert read(tmp_path, "csv", "").micrographs == ("mic_01.csv",)
    assert read(tmp_path, "csv", "micrograph,x,y\n").micrographs == ()


@pytest.mark.parametrize(
    ("kind", "content", "said"),
    [
        ("csv", "x,y\n1,2\nnan,4\n5,six\n7,inf\n", ["3 rows", "line 3: x is 'nan'", "'six'"]),
        ("csv", "x,y\n1\n2,3,4\n", ["line 2: has 1 values, the header 2", "line 3: has 3"]),
        ("csv", "micrograph,x,y\n,1,2\n", ["line 2: has no micrograph name"]),
        ("csv", 'x,y\n1,2\n"3,4\n5,6\n', ["line 3: a quote is opened"]),
        ("csv", "a,b\n1,2\n", ["neither two numbers nor columns x and y"]),
        ("csv", "x\ty\n1\t2\n", ["this is `tsv`, not `csv`", "--coordinate-format tsv"]),
        ("txt", "1 2\n3\nx y\n", ["line 2: y is ''", "line 3: x is 'x'"]),
        ("csv", "x,y" + "z" * 200_000 + "\n", ["line 1: cannot be split"]),
        ("csv", "x,y\n12,5,7,5\n", ["Decimal points are dots"]),
        ("csv", "x\0,\0y\0", ["zero bytes", "UTF-8"]),
        ("eman_box", "1 2 10 10\n1 2\n1 2 0 10\n", ["line 2: needs x, y, width", "line 3"]),
        ("eman_json", '{"boxes": [[1, 2],\n[3, null], ["a", 1]]}', ["line 2: box 2", "box 3"]),
        ("eman_json", '{"boxes": [[1, 2]', ["not valid JSON", "line 1"]),
        ("eman_json", "[" * 100_000, ["nested too deeply"]),
        ("eman_json", '{"ctf": []}', ['no list "boxes"', "info/NAME_info.json"]),
    ],
)
def test_broken_files_say_what_is_wrong_and_where(
    tmp_path: Path, kind: str, content: str, said: list[str]
) -> None:
    """One error has all problems of a file, with the file and the lines."""
    with pytest.raises(PicksError) as caught:
        read(tmp_path, kind, content)
    for words in ["mic_01.", *said]:
        assert words in str(caught.value)


def test_only_the_first_ten_problems_are_listed(tmp_path: Path) -> None:
    """A file of nothing but nonsense does not fill the terminal."""
    with pytest.raises(PicksError, match="500 rows cannot be used") as caught:
        read(tmp_path, "csv", "x,y\n" + "a,b\n" * 500)
    assert str(caught.value).count("line ") == 10
    assert "and 490 more" in str(caught.value)


def test_a_missing_file_is_a_picks_error(tmp_path: Path) -> None:
    """The operating system's reason is given, with the file."""
    with pytest.raises(PicksError, match="No such file"):
        FORMATS["csv"].read(tmp_path / "none.csv")


def test_a_file_that_changed_is_not_filtered_by_old_row_numbers(tmp_path: Path) -> None:
    """Filtering refuses when rows were added after reading."""
    for kind, content, more in [
        ("csv", "x,y\n1,2\n", "x,y\n1,2\n3,4\n"),
        ("eman_box", "1 2 8 8\n", ""),
        ("eman_json", '{"boxes": [[1, 2]]}', '{"boxes": []}'),
    ]:
        table = read(tmp_path, kind, content)
        table.source.write_text(more)
        with pytest.raises(PicksError, match="changed since"):
            subset(table, [True])


# --- EMAN -------------------------------------------------------------------------------------


def test_box_corners_become_centres(tmp_path: Path) -> None:
    """The centre is corner + size / 2, for odd sizes and negative corners too."""
    table = read(tmp_path, "eman_box", "10\t20\t151\t151\t-3\n-30 0  151 151\n")
    assert table.x.tolist() == [85.5, 45.5]
    assert table.y.tolist() == [95.5, 75.5]
    assert table.box_size == 151
    assert subset(table, [False, True], [0.1, 0.9]) == b"-30 0  151 151\n"
    unequal = read(tmp_path, "eman_box", "0 0 10 10\n0 0 12 12\n")
    assert unequal.box_size is None


def test_moved_boxes_keep_their_columns(tmp_path: Path) -> None:
    """On another scale corner and size change, blanks and further columns do not."""
    table = read(tmp_path, "eman_box", "100\t200\t50\t50\t-3\n1.5 2.5 10.0 10.0\n")
    moved = {"x": np.array([62.5, 3.25]), "y": np.array([112.5, 3.75]), "scale": 0.5}
    expected = b"50\t100\t25\t25\t-3\n0.75 1.25 5.0 5.0\n"
    assert subset(table, [True, True], None, **moved) == expected


def test_json_boxes_are_cut_out_of_the_text(tmp_path: Path) -> None:
    """Other keys, numbers as they were written and the style of the list survive."""
    content = (
        '{\n"ctf": [[1.50, "boxes"], {"boxes": [[9, 9]]}],\n"boxes": [\n [1.0, 2e1, "auto", 0.75],'
        '\n [3, 4, "manual"],\n [5, 6, "ma\\"nual]"]\n],\n"quality": 5}\n'
    )
    table = read(tmp_path, "eman_json", content)
    assert table.x.tolist() == [1.0, 3.0, 5.0]
    assert table.y.tolist() == [20.0, 4.0, 6.0]
    assert table.figure_of_merit is not None
    np.testing.assert_array_equal(table.figure_of_merit, [0.75, np.nan, np.nan])
    assert subset(table, [True] * 3) == content.encode()
    kept = content.replace('\n [3, 4, "manual"],', "")
    assert subset(table, [True, False, True]).decode() == kept
    assert json.loads(subset(table, [False] * 3))["boxes"] == []
    moved = {"x": np.array([0.5, 1.5, 2.5]), "y": np.array([10.0, 2.0, 3.0]), "scale": 0.5}
    out = subset(table, [True, False, False], None, **moved).decode()
    assert '[0.5, 10.0, "auto", 0.75]' in out


# --- which format a file has ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "kinds"),
    [
        ("a.csv", b"x,y\n1,2\n", ["csv"]),
        ("a.txt", b"x,y\n1,2\n", ["csv"]),
        ("a.csv", b"1,2\n", ["txt"]),
        ("a.csv", b"", ["txt"]),
        ("a.coord", b"1 2\n", ["txt"]),
        ("a.tsv", b"x\ty\n1\t2\n", ["tsv"]),
        ("a.txt", b"image_name\tx_coord\ty_coord\n", ["topaz"]),
        ("a.box", b"1 2 3 4\n", ["eman_box"]),
        ("a.box", b"", ["eman_box"]),
        ("a.json", b' {"a": 1}', ["eman_json"]),
        ("a.star", b"data_\n\nloop_\n_rlnCoordinateX #1\n", []),
        ("a.pos", b"# XMIPP_STAR_1 *\ndata_header\nloop_\n _x\n", []),
        ("a.cs", b"\x93NUMPY\x01\0v\0{'descr'", []),
        ("a.csv", b'"' * 65536, []),
    ],
)
def test_content_tells_the_format(
    tmp_path: Path, name: str, content: bytes, kinds: list[str]
) -> None:
    """At most one of these formats claims a file, and none claims what is another's."""
    assert sniffed(tmp_path, name, content) == kinds


# --- from nothing -----------------------------------------------------------------------------


def some_picks(n: int = 3, **more: object) -> Picks:
    return Picks(x=np.arange(n) + 0.125, y=np.arange(n) * 10.0, **more)  # type: ignore[arg-type]


def test_new_files_are_read_back(tmp_path: Path) -> None:
    """Every format writes picks that it reads again, to its own precision."""
    picks = some_picks(box_size=12.0)
    for kind, format_ in FORMATS.items():
        assert format_.write_new is not None
        path = tmp_path / ("new" + format_.extensions[0])
        assert format_.write_new(path, [("a/mic.mrc", picks)]) == (path,)
        assert kind in sniffed(tmp_path, path.name, path.read_bytes())
        table = format_.read(path)
        tolerance = 0.5 if kind in ("topaz", "eman_box") else 0
        np.testing.assert_allclose(table.x, picks.x, rtol=0, atol=tolerance)
        np.testing.assert_allclose(table.y, picks.y, rtol=0, atol=tolerance)
        if kind in ("csv", "tsv", "eman_box"):
            assert table.box_size == 12.0


def test_new_tables_hold_many_micrographs_and_all_that_is_known(tmp_path: Path) -> None:
    """Names that need quotes come back, and what only some micrographs have stays empty."""
    scored = some_picks(
        2,
        figure_of_merit=np.array([1.5, -2.0]),
        goodness=np.array([0.25, 1], np.float32),
        class_index=np.array([1, 0], np.uint8),
        distance=np.array([0, np.inf], np.float32),
        reason=np.array([1, 0], np.uint8),
    )
    pairs = [('a,"1".mrc', scored), ("#b\t2.mrc", some_picks(1))]
    for kind in ("csv", "tsv"):
        path = tmp_path / f"new.{kind}"
        writer = FORMATS[kind].write_new
        assert writer is not None
        writer(path, pairs)
        table = FORMATS[kind].read(path)
        assert table.micrographs == ('a,"1".mrc', "#b\t2.mrc")
        assert table.figure_of_merit is not None
        np.testing.assert_array_equal(table.figure_of_merit, [1.5, -2.0, np.nan])
        assert "support_film" in path.read_text()
        assert "inf" in path.read_text()
    writer = FORMATS["topaz"].write_new
    assert writer is not None
    writer(tmp_path / "t.txt", [("d/m.1.mrc.gz", scored), ("n.tiff", some_picks(1))])
    assert (tmp_path / "t.txt").read_text().splitlines()[1].startswith("m.1\t0\t0\t1.5\t0.25")


def test_no_picks_and_no_micrographs_give_readable_files(tmp_path: Path) -> None:
    """Headers are there when nothing else is."""
    for format_ in FORMATS.values():
        assert format_.write_new is not None
        path = tmp_path / ("e" + format_.extensions[0])
        format_.write_new(path, [("m", some_picks(0, box_size=8.0))])
        assert len(format_.read(path)) == 0
    for kind in ("csv", "tsv", "topaz"):
        writer = FORMATS[kind].write_new
        assert writer is not None
        writer(tmp_path / kind, [])
        assert len(FORMATS[kind].read(tmp_path / kind)) == 0


def test_what_a_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    """Several micrographs in a file of one, missing names and a missing box size are errors."""
    two = [("a", some_picks(box_size=4.0)), ("b", some_picks(box_size=4.0))]
    for kind in ("txt", "eman_box", "eman_json"):
        writer = FORMATS[kind].write_new
        assert writer is not None
        with pytest.raises(PicksError, match="micrograph"):
            writer(tmp_path / "x", two)
    with pytest.raises(PicksError, match="no names"):
        FORMATS["csv"].write_new(tmp_path / "x", [("a", some_picks()), ("", some_picks())])  # type: ignore[misc]
    with pytest.raises(PicksError, match="--box-size"):
        FORMATS["eman_box"].write_new(tmp_path / "x", [("a", some_picks())])  # type: ignore[misc]
    with pytest.raises(PicksError, match="line end"):
        FORMATS["csv"].write_new(tmp_path / "x", [("a\nb", some_picks())])  # type: ignore[misc]
    assert not (tmp_path / "x").exists()


# --- properties -------------------------------------------------------------------------------

VALUE = st.one_of(
    st.integers(-(10**6), 10**6).map(str),
    st.floats(-1e5, 1e5, allow_nan=False).map(repr),
    st.sampled_from(["1.50", "+2", "3e1", "-0.0", ".5"]),
)
NOTE = st.text(st.sampled_from("ab ,;\"#'µ\x85\u2028\x0b"), max_size=6)
END = st.sampled_from(["\n", "\r\n", "\r"])


def quoted(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(VALUE, VALUE, NOTE, st.booleans(), st.booleans()), max_size=12),
    end=END,
    last=st.booleans(),
)
def test_filtering_is_deleting_lines(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str, str, bool, bool]],
    end: str,
    last: bool,
) -> None:
    """For any table: read values are Python's, and the subset is the file without some lines."""
    lines = [f"x,note,y{end}"]
    lines += [
        f"{quoted(x) if quote else x},{quoted(note)},{y}{end}" for x, y, note, _, quote in rows
    ]
    if not last:
        lines[-1] = lines[-1].removesuffix(end)
    folder = tmp_path_factory.mktemp("p")
    table = read(folder, "csv", "".join(lines))
    keep = [row[3] for row in rows]
    assert table.x.tolist() == [float(row[0]) for row in rows]
    assert table.y.tolist() == [float(row[1]) for row in rows]
    wanted = lines[0] + "".join(line for line, k in zip(lines[1:], keep, strict=True) if k)
    assert subset(table, keep) == wanted.encode()
    scored = subset(table, keep, [0.5] * len(rows))
    again = read(folder, "csv", scored)
    assert again.x.tolist() == [float(row[0]) for row in rows if row[3]]
    assert subset(again, [True] * len(again), [0.5] * len(again)) == scored


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(VALUE, VALUE, st.booleans()), min_size=1, max_size=8),
    glue=st.sampled_from([" ", "\t", "  ", " \t "]),
    lead=st.sampled_from(["", " ", "\t"]),
    more=st.sampled_from(["", "7", "a b"]),
)
def test_blanks_between_columns_do_not_matter(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str, bool]],
    glue: str,
    lead: str,
    more: str,
) -> None:
    """The quick way for regular tables reads what the slow one reads, and keeps lines alike."""
    lines = [f"{lead}{x}{glue}{y}{glue if more else ''}{more}\n" for x, y, _ in rows]
    table = read(tmp_path_factory.mktemp("p"), "txt", "".join(lines))
    assert table.x.tolist() == [float(row[0]) for row in rows]
    assert table.y.tolist() == [float(row[1]) for row in rows]
    keep = [row[2] for row in rows]
    wanted = "".join(line for line, k in zip(lines, keep, strict=True) if k)
    assert subset(table, keep).decode() == wanted


@settings(max_examples=40, deadline=None)
@given(
    boxes=st.lists(
        st.tuples(st.integers(-500, 5000), st.integers(-500, 5000), st.integers(1, 400)),
        max_size=8,
    )
)
def test_box_files_come_back_within_half_a_pixel(
    tmp_path_factory: pytest.TempPathFactory, boxes: list[tuple[int, int, int]]
) -> None:
    """Centres of .box lines are corner + size / 2, and a new .box moves them by 0.5 px at most."""
    folder = tmp_path_factory.mktemp("p")
    table = read(folder, "eman_box", "".join(f"{x} {y} {s} {s}\n" for x, y, s in boxes))
    assert table.x.tolist() == [x + s / 2 for x, _, s in boxes]
    writer = FORMATS["eman_box"].write_new
    assert writer is not None
    writer(folder / "n.box", [("m", Picks(x=table.x, y=table.y, box_size=151.0))])
    again = eman.read_box(folder / "n.box")
    assert np.abs(again.x - table.x).max(initial=0) <= 0.5
    assert again.box_size == (151.0 if boxes else None)


@settings(max_examples=200, deadline=None)
@given(
    kind=st.sampled_from(sorted(FORMATS)),
    content=st.one_of(
        st.binary(max_size=200),
        st.text(st.sampled_from('xy,;\t \n\r"#01.-e[]{}:bo'), max_size=120).map(str.encode),
        st.text(st.sampled_from('[]{},": 1ab\n'), max_size=60).map(
            lambda text: ('{"boxes": [' + text).encode()
        ),
    ),
)
def test_any_bytes_are_picks_or_a_picks_error(
    tmp_path_factory: pytest.TempPathFactory, kind: str, content: bytes
) -> None:
    """No content of a file makes a reader fail in another way, and sniffing never fails."""
    path = tmp_path_factory.mktemp("p") / "f"
    path.write_bytes(content)
    FORMATS[kind].sniff(path, content)
    try:
        table = FORMATS[kind].read(path)
    except PicksError as error:
        assert str(path) in str(error)
        return
    assert np.isfinite(table.x).all()
    assert np.isfinite(table.y).all()
    assert len(table) == len(table.y) == len(table.micrograph_index)
    everything = Selection(np.ones(len(table), np.bool_))
    (out,) = FORMATS[kind].write_subset(table, everything, path.parent / "out")
    assert len(FORMATS[kind].read(out)) == len(table)


def test_large_files_are_read_in_pieces(tmp_path: Path) -> None:
    """Rows beyond one piece keep their order, names and line numbers."""
    n = text_lines.CHUNK * 2 + 5
    content = "micrograph,x,y\n" + "".join(f"m{i % 3},{i},{-i}\n" for i in range(n))
    table = read(tmp_path, "csv", content)
    assert table.x.tolist() == list(range(n))
    assert table.micrograph_index[-1] == (n - 1) % 3
    with pytest.raises(PicksError, match=f"line {n + 2}: x is 'bad'"):
        read(tmp_path, "csv", content + "m0,bad,1\n")
