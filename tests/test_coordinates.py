"""Finding out formats, folders of coordinate files, and the convenience for one micrograph."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from micscreen.errors import MatchError, PicksError, UsageError
from micscreen.io import (
    FORMATS,
    Selection,
    read_coordinate_folder,
    read_coordinates,
    read_picks,
    write_picks,
    write_subset,
)
from micscreen.io.coordinates import _natural
from micscreen.picks import Picks

STAR = "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n1 2\n3 4\n"
MANY = "data_particles\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnMicrographName\n"
MANY += "1 2 Movies/a.mrc\n3 4 Movies/b.mrc\n"
CTF = "data_optics\nloop_\n_rlnOpticsGroup\n1\n"
CTF += "data_micrographs\nloop_\n_rlnMicrographName\na.mrc\n"
TOMO = "data_\nloop_\n_rlnTomoName\n_rlnCoordinateX\n_rlnCoordinateY\nTS 1 2\n"


def put(path: Path, content: str | bytes = STAR) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def picks(*x: float) -> Picks:
    return Picks(np.array(x), np.array(x) * 2)


# --- which format ---------------------------------------------------------------------------------


def test_importing_the_package_reads_no_format() -> None:
    """`import micscreen.io` alone loads neither numpy nor the formats."""
    code = "import sys, micscreen.io; print([m for m in ('numpy', 'yaml') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_long_optics_table_does_not_hide_the_particles(tmp_path: Path) -> None:
    """The columns of coordinates may begin far behind the part of the file that is looked at."""
    optics = "data_optics\nloop_\n_rlnOpticsGroupName\n_rlnOpticsGroup\n"
    optics += "".join(f"beam_tilt_class_{i:06d} {i}\n" for i in range(5000)) + "\n"
    table = read_coordinates(put(tmp_path / "particles.star", optics + MANY))
    assert (table.format, len(table)) == ("relion_particles", 2)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("m.star", CTF, ["without columns of coordinates (blocks: optics, micrographs)"]),
        ("m.star", CTF, ["--coordinate-format: relion, relion_list, relion_particles."]),
        ("m.txt", "hello\n", ["no known coordinate format", "--coordinate-format", "topaz"]),
        ("m.xyz", "hello\n", ["no known coordinate format", "relion", "cryosparc_csg"]),
        ("m.cs", b"", ["is empty (0 bytes)"]),
        ("m.star", TOMO, ["tomography"]),
    ],
)
def test_an_unknown_file_is_refused_with_the_candidates(
    tmp_path: Path, name: str, content: str | bytes, says: list[str]
) -> None:
    """The error names the file, what it looks like, and the option with the formats to choose."""
    with pytest.raises(PicksError) as caught:
        read_coordinates(put(tmp_path / name, content))
    assert all(part in str(caught.value) for part in [*says, name])


@pytest.mark.parametrize("name", ["a.star", "a.box", "a.cbox", "a.pos", "a.txt", "a.csv", "a.tsv"])
def test_an_empty_file_of_one_micrograph_has_zero_picks(tmp_path: Path, name: str) -> None:
    """0 bytes under the ending of a text format are no picks, and so is its subset."""
    table = read_coordinates(put(tmp_path / name, b""))
    assert (len(table), table.micrographs) == (0, (name,))
    (written,) = write_subset(table, Selection(np.empty(0, np.bool_)), tmp_path / "out")
    assert len(read_coordinates(written)) == 0


def test_the_format_that_is_asked_for_is_taken(tmp_path: Path) -> None:
    """A strange ending is no obstacle when the format is named; a strange format is a mistake."""
    assert read_coordinates(put(tmp_path / "a.dat"), format="relion").format == "relion"
    assert read_coordinates(put(tmp_path / "a.dat")).format == "relion"
    with pytest.raises(UsageError, match="no coordinate format 'relon'"):
        read_coordinates(tmp_path / "a.dat", format="relon")


def test_what_the_system_says_becomes_an_error_for_people(tmp_path: Path) -> None:
    """A missing file, a folder, and a file that vanished before writing are PicksErrors."""
    with pytest.raises(PicksError, match="No such file"):
        read_coordinates(tmp_path / "none.star")
    with pytest.raises(PicksError, match="is a folder"):
        read_coordinates(tmp_path)
    table = read_coordinates(put(tmp_path / "a.star"))
    table.source.unlink()
    with pytest.raises(PicksError, match="No such file"):
        write_subset(table, Selection(np.ones(2, np.bool_)), tmp_path / "out")


def test_no_input_is_overwritten(tmp_path: Path) -> None:
    """A subset into the folder of its own source is refused before anything is touched."""
    table = read_coordinates(put(tmp_path / "a.star"))
    with pytest.raises(PicksError, match="overwrite its own input"):
        write_subset(table, Selection(np.zeros(2, np.bool_)), tmp_path)
    assert table.source.read_text() == STAR


# --- folders --------------------------------------------------------------------------------------


def test_a_folder_gives_its_coordinate_files_in_natural_order(tmp_path: Path) -> None:
    """Files with known endings, without hidden ones, subfolders and RELION's bookkeeping."""
    for name in ("m_10_autopick.star", "m_2_autopick.star", ".m_3.star", "sub/m_4.star"):
        put(tmp_path / name)
    for name in ("job.star", "job_pipeline.star", "RELION_OUTPUT_NODES.star", "run.out", "x.png"):
        put(tmp_path / name, "data_job\n_a 1\n")
    found = read_coordinate_folder(tmp_path)
    assert [t.source.name for t in found.tables] == ["m_2_autopick.star", "m_10_autopick.star"]
    assert found.problems == ()
    assert sorted(["a10", "a9", "a"], key=_natural) == ["a", "a9", "a10"]


def test_broken_files_among_many_stop_nothing(tmp_path: Path) -> None:
    """Each file that cannot be read is beside the tables, with its reason."""
    put(tmp_path / "a.star")
    put(tmp_path / "b.star", STAR + "5\n")
    put(tmp_path / "c.star", "data_x\n_a 1\n")
    found = read_coordinate_folder([tmp_path, tmp_path / "missing.star", tmp_path / "a.star"])
    assert [t.source.name for t in found.tables] == ["a.star"]
    assert [path.name for path, _ in found.problems] == ["b.star", "c.star", "missing.star"]
    assert "line 7" in str(found.problems[0][1])


def test_a_folder_without_coordinates_is_a_problem(tmp_path: Path) -> None:
    """Nothing found is said, with the endings that were looked for."""
    (tmp_path / "empty").mkdir()
    found = read_coordinate_folder(str(tmp_path / "empty"))
    assert not found.tables
    assert "Known endings: .star" in str(found.problems[0][1])


def test_files_that_a_list_names_are_not_read_twice(tmp_path: Path) -> None:
    """A list and its files in one folder give the list's table alone; its gaps are problems."""
    for name in ("a", "b"):
        put(tmp_path / f"job/{name}_autopick.star")
    head = "data_coordinate_files\nloop_\n_rlnMicrographName\n_rlnMicrographCoordinates\n"
    rows = "".join(f"{m}.mrc job/{m}_autopick.star\n" for m in "abc")
    put(tmp_path / "job/autopick.star", head + rows)
    found = read_coordinate_folder(tmp_path / "job")
    assert [t.format for t in found.tables] == ["relion_list"]
    assert found.tables[0].micrographs == ("a.mrc", "b.mrc")
    assert [path.name for path, _ in found.problems] == ["c_autopick.star"]


def test_a_group_is_not_read_again_by_its_files(tmp_path: Path) -> None:
    """Of a .csg with its .cs files, of which one has no locations, the group is the only table."""
    group = "results:\n  a:\n    metafile: '>a.cs'\n  b:\n    metafile: '>b.cs'\n"
    put(tmp_path / "g.csg", group)
    fields = [("uid", "<u8"), ("location/micrograph_path", "S9")]
    fields += [("location/center_x_frac", "<f4"), ("location/center_y_frac", "<f4")]
    for name, columns in (("a.cs", fields), ("b.cs", fields[:1])):
        with (tmp_path / name).open("wb") as file:
            np.save(file, np.ones(1, np.dtype(columns)))
    found = read_coordinate_folder(tmp_path)
    assert [t.format for t in found.tables] == ["cryosparc_csg"]
    assert found.problems == ()


def test_a_file_of_many_gigabytes_is_not_tried(tmp_path: Path) -> None:
    """The size is looked at before anything is read into memory."""
    path = put(tmp_path / "a.star")
    with path.open("r+b") as file:
        file.truncate(9 << 30)  # sparse: no space is taken
    with pytest.raises(PicksError, match=r"has 9\.0 GiB"):
        read_coordinates(path)


def test_a_named_format_chooses_the_files_of_a_folder(tmp_path: Path) -> None:
    """With --coordinate-format only files with that format's endings are looked at."""
    put(tmp_path / "a.star")
    put(tmp_path / "a.box", "1 2 3 4\n")
    found = read_coordinate_folder(tmp_path, format="eman_box")
    assert [t.source.name for t in found.tables] == ["a.box"]
    with pytest.raises(UsageError):
        read_coordinate_folder(tmp_path, format="boxes")


# --- one micrograph -------------------------------------------------------------------------------


def test_the_picks_of_one_micrograph_are_chosen_by_name(tmp_path: Path) -> None:
    """A file of one needs no name, a file of many does, and says which names there are."""
    np.testing.assert_array_equal(read_picks(put(tmp_path / "a.star")).x, [1, 3])
    many = put(tmp_path / "particles.star", MANY)
    np.testing.assert_array_equal(read_picks(many, micrograph="b.mrc").y, [4])
    for name in (None, "c.mrc"):
        with pytest.raises(MatchError, match=r"Movies/a\.mrc, Movies/b\.mrc"):
            read_picks(many, micrograph=name)


@pytest.mark.parametrize(
    ("name", "format"),
    [("a.star", "relion"), ("a.txt", "txt"), ("a.csv", "csv"), ("a.json", "eman_json")],
)
def test_the_ending_chooses_the_format_of_new_picks(tmp_path: Path, name: str, format: str) -> None:
    """`write_picks` and `read_picks` are each other's inverse without naming a format."""
    (path,) = write_picks(tmp_path / name, picks(1.5, 2.25))
    assert read_coordinates(path).format == format
    np.testing.assert_array_equal(read_picks(path).x, [1.5, 2.25])


def test_new_picks_of_many_go_to_a_list_by_ending_or_to_a_folder(tmp_path: Path) -> None:
    """'.star' for several micrographs is a list; a folder gets RELION's names."""
    pairs = [("A/mic.mrc", picks(1)), ("B/mic_2.mrc", picks(2))]
    written = write_picks(tmp_path / "all.star", pairs)
    assert read_coordinates(written[0]).micrographs == ("A/mic.mrc", "B/mic_2.mrc")
    written = write_picks(tmp_path / "folder", pairs, format="relion")
    assert [path.name for path in written] == ["mic_autopick.star", "mic_2_autopick.star"]
    with pytest.raises(PicksError, match="more than one micrograph"):
        write_picks(tmp_path / "f", [pairs[0], ("B/mic.mrc", picks(2))], format="relion")


def test_formats_that_can_only_be_filtered_say_so(tmp_path: Path) -> None:
    """Writing .cs from nothing, or to a name without a meaning, lists what is possible."""
    with pytest.raises(UsageError, match="filtered, not written from nothing"):
        write_picks(tmp_path / "a.cs", picks(1), format="cryosparc_cs")
    with pytest.raises(UsageError, match="no ending that says"):
        write_picks(tmp_path / "a.xyz", picks(1))
    assert [name for name, row in FORMATS.items() if row.write_new is None] == [
        "relion_particles",
        "cryosparc_cs",
        "cryosparc_csg",
    ]


def test_the_page_of_formats_is_that_of_the_table() -> None:
    """Every row of the documentation says the endings, anchor and goodness that the code has."""
    page = (Path(__file__).parents[1] / "docs" / "formats-coordinates.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.split("\n")]
    table = {row[0].strip("`"): row for row in rows if row and row[0].startswith("`")}
    assert list(table) == list(FORMATS)
    for name, row in FORMATS.items():
        _, files, anchor, many, goodness, new = table[name]
        assert tuple(files.split(", ")) == row.extensions
        assert anchor.startswith(row.anchor)
        assert ("many" in many) == row.many
        assert goodness.startswith(f"`{row.goodness_column}`" if row.goodness_column else "-")
        assert (new == "yes") == (row.write_new is not None)
