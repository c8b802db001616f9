"""cryoSPARC .cs tables and .csg groups."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from micscreen.errors import PicksError
from micscreen.io import cryosparc, npy
from micscreen.io.table import PickFormat, PickTable, Selection

FORMATS: dict[str, PickFormat] = {row.name: row for row in cryosparc.FORMATS}
CS, CSG = FORMATS["cryosparc_cs"], FORMATS["cryosparc_csg"]

FIELDS: list[tuple[Any, ...]] = [
    ("uid", "<u8"),
    ("location/micrograph_uid", "<u8"),
    ("location/micrograph_path", "S40"),
    ("location/micrograph_shape", "<u4", (2,)),
    ("location/center_x_frac", "<f4"),
    ("location/center_y_frac", "<f4"),
    ("location/micrograph_psize_A", "<f4"),
    ("pick_stats/ncc_score", "<f4"),
    ("odd", "|u1", (3,)),
]


def particles(n: int = 6, fields: list[tuple[Any, ...]] = FIELDS) -> NDArray[np.void]:
    """Return n particles on three micrographs, with arbitrary bytes in the field `odd`."""
    rng = np.random.default_rng(5)
    rows = np.zeros(n, np.dtype(fields))
    names = rows.dtype.names or ()
    which = np.arange(n) % 3
    filled = {
        "uid": rng.permutation(np.arange(n, dtype=np.uint64)) + np.uint64(2**63 + 7),
        "location/micrograph_uid": np.array([900, 30, 31], np.uint64)[which],
        "location/micrograph_path": np.array(["J1/c.mrc", ">J1/a.mrc", "J1/b_µ.mrc"])[which],
        "location/micrograph_shape": (4000, 6000),
        "location/center_x_frac": rng.random(n),
        "location/center_y_frac": rng.random(n),
        "location/micrograph_psize_A": 0.5,
        "pick_stats/ncc_score": rng.random(n),
        "odd": rng.integers(0, 255, (n, 3)),
    }
    for name in names:
        if name in filled:
            values = filled[name]
            if name.endswith("path") and rows.dtype[name].kind == "S":
                values = np.char.encode(np.asarray(values), "utf-8")
            rows[name] = values
    return rows


def save(path: Path, rows: NDArray[Any], version: tuple[int, int] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.lib.format.write_array(file, rows, version)
    return path


def select(keep: list[bool], goodness: list[float] | None = None) -> Selection:
    values = None if goodness is None else np.array(goodness, np.float32)
    return Selection(np.array(keep, np.bool_), values)


def load(path: Path) -> NDArray[Any]:
    """Read with NumPy's own reader, as cryoSPARC does."""
    rows: NDArray[Any] = np.load(path, max_header_size=10**6)
    return rows


# --- .cs --------------------------------------------------------------------------------------


def test_fractions_become_px_of_the_named_micrographs(tmp_path: Path) -> None:
    """x = fraction * nx and y = fraction * ny, shapes being (ny, nx); names lose only the `>`."""
    rows = particles()
    table = CS.read(save(tmp_path / "a.cs", rows))
    np.testing.assert_allclose(table.x, rows["location/center_x_frac"] * 6000.0, rtol=1e-6)
    np.testing.assert_allclose(table.y, rows["location/center_y_frac"] * 4000.0, rtol=1e-6)
    assert table.micrographs == ("J1/c.mrc", "J1/a.mrc", "J1/b_µ.mrc")
    assert table.micrograph_index.tolist() == [0, 1, 2, 0, 1, 2]
    assert not table.needs_shape
    assert table.box_size is None
    assert table.figure_of_merit is not None
    np.testing.assert_array_equal(table.figure_of_merit, rows["pick_stats/ncc_score"])


def test_without_shapes_fractions_wait_for_the_micrograph(tmp_path: Path) -> None:
    """A missing or zero shape gives fractions, which picks() turns into px."""
    rows = particles(3)
    rows["location/micrograph_shape"][1] = 0
    without = particles(3, [field for field in FIELDS if not field[0].endswith("_shape")])
    for number, array in enumerate((rows, without)):
        table = CS.read(save(tmp_path / f"{number}.cs", array))
        assert table.needs_shape
        np.testing.assert_array_equal(table.x, rows["location/center_x_frac"])
        picks = table.picks(np.array([2]), (100, 200))
        np.testing.assert_allclose(picks.x, rows["location/center_x_frac"][2:] * 200.0)
        np.testing.assert_allclose(picks.y, rows["location/center_y_frac"][2:] * 100.0)


def test_texts_of_both_kinds_name_the_micrographs(tmp_path: Path) -> None:
    """Bytes and Unicode paths give the same names."""
    fields = [(f[0], "<U40") if f[0].endswith("_path") else f for f in FIELDS]
    table = CS.read(save(tmp_path / "a.cs", particles(6, fields)))
    assert table.micrographs == ("J1/c.mrc", "J1/a.mrc", "J1/b_µ.mrc")


def test_uids_that_do_not_tell_micrographs_apart_are_not_believed(tmp_path: Path) -> None:
    """Equal uids with different paths are different micrographs, and two uids can share a path."""
    rows = particles()
    rows["location/micrograph_uid"] = 0
    table = CS.read(save(tmp_path / "a.cs", rows))
    assert table.micrograph_index.tolist() == [0, 1, 2, 0, 1, 2]
    rows["location/micrograph_uid"] = np.arange(6)
    table = CS.read(save(tmp_path / "b.cs", rows))
    assert table.micrographs == ("J1/c.mrc", "J1/a.mrc", "J1/b_µ.mrc")
    assert table.micrograph_index.tolist() == [0, 1, 2, 0, 1, 2]


def test_extracted_particles_tell_the_box_on_the_micrograph(tmp_path: Path) -> None:
    """Box px * extracted Å/px / micrograph Å/px, when all rows agree."""
    fields = [*FIELDS, ("blob/shape", "<u4", (2,)), ("blob/psize_A", "<f4")]
    rows = particles(4, fields)
    rows["blob/shape"], rows["blob/psize_A"] = 128, 1.25
    assert CS.read(save(tmp_path / "a.cs", rows)).box_size == 320.0
    rows["blob/psize_A"][0] = 1.0
    assert CS.read(save(tmp_path / "b.cs", rows)).box_size is None
    rows["location/micrograph_psize_A"] = 0
    assert CS.read(save(tmp_path / "c.cs", rows)).box_size is None


@settings(max_examples=50, deadline=None)
@given(
    keep=st.lists(st.booleans(), max_size=9),
    scored=st.booleans(),
    order=st.sampled_from("<>"),
    version=st.sampled_from([(1, 0), (2, 0), (3, 0)]),
)
def test_kept_rows_stay_the_same_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory,
    keep: list[bool],
    scored: bool,
    order: str,
    version: tuple[int, int],
) -> None:
    """Every field of every kept row has its old bytes, NaN payloads too, and goodness is last."""
    folder = tmp_path_factory.mktemp("p")
    fields = [(f[0], f[1].replace("<", order), *f[2:]) for f in FIELDS]
    rows = particles(len(keep), fields)
    if len(keep):
        rows["location/micrograph_psize_A"].view(np.uint32)[0] = 0x7FC12345
    table = CS.read(save(folder / "a.cs", rows, version))
    goodness = np.linspace(0, 1, len(keep)).tolist() if scored else None
    (path,) = CS.write_subset(table, select(keep, goodness), folder / "out")
    out = load(path)
    for name in rows.dtype.names or ():
        assert out.dtype[name] == rows.dtype[name]
        assert out[name].tobytes() == rows[name][np.array(keep, np.bool_)].tobytes()
    extra = ("micscreen/goodness",) if scored else ()
    assert out.dtype.names == (*(rows.dtype.names or ()), *extra)
    if scored:
        assert out.dtype["micscreen/goodness"] == np.dtype("<f4")
        wanted = np.array(goodness, np.float32)[np.array(keep, np.bool_)]
        np.testing.assert_array_equal(out["micscreen/goodness"], wanted)
        assert len(CS.read(path)) == sum(keep)


def test_an_old_goodness_is_replaced(tmp_path: Path) -> None:
    """Screening a screened file leaves one goodness, the new one."""
    table = CS.read(save(tmp_path / "a.cs", particles(2)))
    (once,) = CS.write_subset(table, select([True, True], [0.1, 0.2]), tmp_path / "1")
    (twice,) = CS.write_subset(CS.read(once), select([True, False], [0.9, 0.3]), tmp_path / "2")
    out = load(twice)
    assert out["micscreen/goodness"].tolist() == pytest.approx([0.9])
    assert (out.dtype.names or ()).count("micscreen/goodness") == 1


def test_fractions_are_the_same_on_every_scale(tmp_path: Path) -> None:
    """New coordinates in px do not touch a .cs file, whose fractions hold for any size."""
    rows = particles(2)
    table = CS.read(save(tmp_path / "a.cs", rows))
    moved = Selection(np.ones(2, np.bool_), x=table.x / 2, y=table.y / 2, scale=0.5)
    (path,) = CS.write_subset(table, moved, tmp_path / "out")
    assert path.read_bytes() == (tmp_path / "a.cs").read_bytes()


def test_long_headers_are_read_and_written(tmp_path: Path) -> None:
    """3D classifications have thousands of fields, whose headers numpy.load refuses."""
    for count in (500, 3000):
        fields = [
            *FIELDS,
            *[(f"alignments_class3D_{i}/class_posterior", "<f4") for i in range(count)],
        ]
        source = save(tmp_path / "a.cs", particles(3, fields), (2, 0))
        table = CS.read(source)
        (path,) = CS.write_subset(table, select([True, False, True], [0, 0, 1]), tmp_path / "o")
        assert len(load(path)) == 2
        assert len(CS.read(path)) == 2


def header(text: str, rest: bytes = b"") -> bytes:
    raw = text.encode("latin1")
    return npy.MAGIC + b"\x01\x00" + struct.pack("<H", len(raw)) + raw + rest


HUGE = "{'descr': [('uid', '<u8')], 'fortran_order': False, 'shape': (999999999999,), }\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x94CSDAT\x01\0\0\0", ["compressed .cs", "Dataset.load('bad.cs').save("]),
        (b"\x95CSDAT\x01\0\0\0", ["compressed .cs", "from cryosparc.dataset import Dataset"]),
        (b"", ["is not a NumPy file"]),
        (b"PK\x03\x04 an npz", ["is not a NumPy file"]),
        (header("{'descr': "), ["damaged header"]),
        (header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2)}"), ["no table"]),
        (header("{'descr': '<f4', 'fortran_order': False, 'shape': (0,)}"), ["named columns"]),
        (header("(" * 5000), ["damaged header"]),
        (npy.MAGIC + b"\x02\x00\xff\xff\xff\x7f", ["header of 2147483647 bytes"]),
    ],
)
def test_files_that_are_no_plain_tables_are_refused(
    tmp_path: Path, content: bytes, said: list[str]
) -> None:
    """What is not a .cs file is said, with what to do about the compressed kind."""
    (tmp_path / "bad.cs").write_bytes(content)
    with pytest.raises(PicksError) as caught:
        CS.read(tmp_path / "bad.cs")
    for words in ["bad.cs", *said]:
        assert words in str(caught.value)


def test_a_header_that_promises_more_than_the_file_has_takes_no_memory(tmp_path: Path) -> None:
    """Row counts are held against the file's size before anything is allocated."""
    fields = np.lib.format.dtype_to_descr(np.dtype(FIELDS))
    text = f"{{'descr': {fields}, 'fortran_order': False, 'shape': (99999999999999,)}}"
    (tmp_path / "a.cs").write_bytes(header(text, b"12345678"))
    with pytest.raises(PicksError, match="is truncated: 99999999999999 rows need"):
        CS.read(tmp_path / "a.cs")
    whole = save(tmp_path / "b.cs", particles(50))
    whole.write_bytes(whole.read_bytes()[:-1])
    with pytest.raises(PicksError, match="is truncated: 50 rows"):
        CS.read(whole)


def test_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    """Object columns could run code, so they are refused unread."""
    rows = np.zeros(2, [("uid", "<u8"), ("location/micrograph_path", "O")])
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, rows, allow_pickle=True)
    (tmp_path / "a.cs").write_bytes(buffer.getvalue())
    with pytest.raises(PicksError, match="pickled"):
        CS.read(tmp_path / "a.cs")


def test_particles_without_locations_say_where_to_find_them(tmp_path: Path) -> None:
    """A .cs file of images alone points to the group and to the passthrough file."""
    save(tmp_path / "a.cs", np.zeros(2, [("uid", "<u8"), ("blob/path", "S4")]))
    with pytest.raises(PicksError, match="center_x_frac") as caught:
        CS.read(tmp_path / "a.cs")
    assert "_passthrough_particles.cs" in str(caught.value)


def test_rows_without_place_or_micrograph_are_listed(tmp_path: Path) -> None:
    """NaN fractions and empty paths are named by row, all in one error."""
    rows = particles(5)
    rows["location/center_y_frac"][1] = np.nan
    rows["location/micrograph_path"][4] = b""
    with pytest.raises(PicksError) as caught:
        CS.read(save(tmp_path / "a.cs", rows))
    assert "2 rows" in str(caught.value)
    assert "row 2: has no place" in str(caught.value)
    assert "row 5: has no micrograph" in str(caught.value)


def test_a_file_that_changed_is_not_filtered_by_old_row_numbers(tmp_path: Path) -> None:
    """Filtering refuses when the file has other rows than when it was read."""
    table = CS.read(save(tmp_path / "a.cs", particles(2)))
    save(tmp_path / "a.cs", particles(3))
    with pytest.raises(PicksError, match="changed since"):
        CS.write_subset(table, select([True, True]), tmp_path / "out")


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 700), byte=st.integers(0, 255), cut=st.integers(0, 900))
def test_damaged_bytes_give_picks_or_a_picks_error(
    tmp_path_factory: pytest.TempPathFactory, at: int, byte: int, cut: int
) -> None:
    """One wrong byte, or a file cut anywhere, never ends in another error."""
    folder = tmp_path_factory.mktemp("p")
    data = bytearray(save(folder / "a.cs", particles(4)).read_bytes())
    data[at % len(data)] = byte
    (folder / "a.cs").write_bytes(data[: len(data) - cut])
    try:
        assert len(CS.read(folder / "a.cs")) <= 4
    except PicksError as error:
        assert "a.cs" in str(error)


# --- .csg -------------------------------------------------------------------------------------

GROUP = """\
created: 2024-05-06 10:11:12.345000
group: {description: 'picks: all', name: particles, type: particle}
results:
  blob:
    metafile: '>sub/blob.cs'
    num_items: 6
    type: particle.blob
  location:
    metafile: '>J7_passthrough_particles.cs'
    num_items: 6   # all of them
  ctf: {metafile: '>J7_passthrough_particles.cs', num_items: 6}
version: v4.4.1
"""


def group(folder: Path, text: str = GROUP) -> tuple[PickTable, NDArray[np.void]]:
    """Write a group whose second member has the rows in another order, and one more."""
    rows = particles(6)
    save(folder / "J7_passthrough_particles.cs", rows)
    blob = np.zeros(7, [("uid", "<u8"), ("blob/idx", "<u4"), ("blob/path", "S9")])
    order = np.array([3, 1, 5, 0, 2, 4])
    blob["uid"][:6], blob["blob/idx"][:6] = rows["uid"][order], order
    blob["uid"][6] = 1
    save(folder / "sub" / "blob.cs", blob)
    path = folder / "P1_J7_particles.csg"
    path.write_text(text)
    return CSG.read(path), rows


def test_all_members_of_a_group_are_filtered_by_uid(tmp_path: Path) -> None:
    """Members keep their own order and layout, lose the same particles, and are counted anew."""
    table, rows = group(tmp_path / "in")
    assert table.format == "cryosparc_csg"
    assert [path.name for path in table.members] == [
        "P1_J7_particles.csg",
        "J7_passthrough_particles.cs",
        "blob.cs",
    ]
    np.testing.assert_allclose(table.x, rows["location/center_x_frac"] * 6000.0, rtol=1e-6)
    keep = [True, False, False, True, True, False]
    goodness = [0.9, 0.1, 0.2, 0.8, 1.0, 0.0]
    out = tmp_path / "out"
    paths = CSG.write_subset(table, select(keep, goodness), out)
    assert sorted(paths) == sorted(
        out / name for name in ("P1_J7_particles.csg", "J7_passthrough_particles.cs", "sub/blob.cs")
    )
    assert load(out / "sub/blob.cs")["blob/idx"].tolist() == [3, 0, 4]
    location = load(out / "J7_passthrough_particles.cs")
    assert location["uid"].tolist() == rows["uid"][keep].tolist()
    assert location["micscreen/goodness"].tolist() == pytest.approx([0.9, 0.8, 1.0])
    text = (out / "P1_J7_particles.csg").read_text()
    assert text == GROUP.replace("num_items: 6", "num_items: 3")
    assert yaml.safe_load(text)["results"]["ctf"]["num_items"] == 3
    assert len(CSG.read(out / "P1_J7_particles.csg")) == 3


def test_an_empty_group_can_be_read_again(tmp_path: Path) -> None:
    """No kept particle leaves valid members without rows and counts of 0."""
    table, _ = group(tmp_path)
    CSG.write_subset(table, select([False] * 6, [0.0] * 6), tmp_path / "out")
    assert len(CSG.read(tmp_path / "out" / table.source.name)) == 0
    assert "num_items: 0" in (tmp_path / "out" / table.source.name).read_text()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (">sub/blob.cs", ">../blob.cs", "'../blob.cs' is no file below this folder"),
        (">sub/blob.cs", ">/etc/passwd", "'/etc/passwd' is no file below"),
        (">sub/blob.cs", ">a/../../b.cs", "is no file below this folder"),
        (">sub/blob.cs", "", "results/blob: metafile '' is no file"),
        (">sub/blob.cs", ">none.cs", "none.cs: cannot be read: No such file"),
        ("results:", "other:", "has no `results`"),
        ("results:", "results: [", "is not valid YAML"),
        ("results:\n", "results: !!python/object/apply:os.system ['false']\nx:\n", "no `results`"),
    ],
)
def test_groups_that_cannot_be_trusted_are_refused(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    """Paths that leave the folder, missing members and other YAML are said with the file."""
    with pytest.raises(PicksError) as caught:
        group(tmp_path, GROUP.replace(old, new))
    assert said in str(caught.value)
    assert "P1_J7_particles.csg" in str(caught.value)


def test_members_without_uids_are_refused(tmp_path: Path) -> None:
    """Rows that nothing ties to particles cannot be filtered."""
    group(tmp_path)
    save(tmp_path / "sub" / "blob.cs", np.zeros(6, [("blob/idx", "<u4")]))
    with pytest.raises(PicksError, match=r"sub/blob\.cs: has no uid"):
        CSG.read(tmp_path / "P1_J7_particles.csg")


def test_repeated_uids_are_refused(tmp_path: Path) -> None:
    """Two particles of one uid cannot be told apart in the other members."""
    group(tmp_path)
    rows = particles(6)
    rows["uid"] = 4
    save(tmp_path / "J7_passthrough_particles.cs", rows)
    with pytest.raises(PicksError, match="same uid more than once"):
        CSG.read(tmp_path / "P1_J7_particles.csg")


def test_a_group_without_locations_says_so(tmp_path: Path) -> None:
    """A group of images alone has no picks."""
    group(tmp_path)
    text = "results:\n  blob:\n    metafile: '>sub/blob.cs'\n"
    (tmp_path / "b.csg").write_text(text)
    with pytest.raises(PicksError, match="no file of this group has particle locations"):
        CSG.read(tmp_path / "b.csg")


@pytest.mark.parametrize(
    ("name", "head", "kind"),
    [
        ("a.cs", header(HUGE), "cryosparc_cs"),
        ("a.dat", header(HUGE), "cryosparc_cs"),
        ("a.cs", b"\x95CSDAT", "cryosparc_cs"),
        ("a.npy", header("{'descr': '<f4', 'fortran_order': False, 'shape': (0,)}"), None),
        ("a.csg", b"", "cryosparc_csg"),
        ("a.yaml", GROUP.encode(), "cryosparc_csg"),
        ("a.csv", b"x,y\n", None),
    ],
)
def test_content_tells_the_format(name: str, head: bytes, kind: str | None) -> None:
    """Tables with uids, compressed ones, and groups are known; other files are left alone."""
    found = [row.name for row in cryosparc.FORMATS if row.sniff(Path(name), head)]
    assert found == ([kind] if kind else [])
