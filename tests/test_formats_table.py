"""One body of tests for every row of the table of coordinate formats."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from micscreen.io import FORMATS, PickTable, Selection, read_coordinates, write_picks, write_subset
from micscreen.io.table import PickTables
from micscreen.picks import Picks

X = [105.5, 300.0, 95.0, 2000.25, 41.0]
Y = [95.0, 412.0, 2000.75, 105.0, 55.0]
NAMES = ("größe_1.mrc", "mic 2.mrc")


@dataclass(frozen=True)
class Sample:
    """A file as a program writes it: five picks on one or two micrographs.

    `rows` is the text of each row that must survive; `index` the micrograph of each row.
    """

    file: str
    content: str
    rows: tuple[str, ...]
    names: tuple[str, ...]
    index: tuple[int, ...] = (0, 0, 0, 0, 0)
    x: tuple[float, ...] = tuple(X)
    y: tuple[float, ...] = tuple(Y)
    box: float | None = None
    merit: bool = False
    beside: tuple[tuple[str, str], ...] = ()


def star(head: str, rows: tuple[str, ...], tail: str = "\n", end: str = "\n") -> str:
    return head + "".join(row + end for row in rows) + tail


RELION_ROWS = tuple(f"  {y}   7{i}  'two words'   {x:e}  0.{i}" for i, (x, y) in
                    enumerate(zip(X, Y, strict=True)))  # fmt: skip
PARTICLE_ROWS = tuple(
    f"{x} {y} {n + 1:06d}@Extract/a.mrcs {name} 1 0.{n} \t" for n, (x, y, name) in
    enumerate(zip(X, Y, ["größe_1.mrc", "'mic 2.mrc'"] * 3, strict=False))
)  # fmt: skip
CBOX_ROWS = tuple(f"{x - 100.5} {y - 50} <NA> 201 100 0.{i} x{i}" for i, (x, y) in
                  enumerate(zip(X, Y, strict=True)))  # fmt: skip
WHOLE = (105, 300, 95, 2000, 41), (95, 412, -3, 105, 55)
POS_ROWS = tuple(f" {i:06d}   1   {x}  {y}  0.{i}   000007 " for i, (x, y) in
                 enumerate(zip(*WHOLE, strict=True)))  # fmt: skip
BOX_ROWS = tuple(f"{x - 50.5}\t{y - 50.5}\t101\t101\t{i}" for i, (x, y) in
                 enumerate(zip(X, Y, strict=True)))  # fmt: skip
JSON_ROWS = tuple(f'[{x},  {y}, "manual", 0.{i}, "µ"]' for i, (x, y) in
                  enumerate(zip(X, Y, strict=True)))  # fmt: skip
PAIRS = tuple(zip(X, Y, strict=True))

SAMPLES = {
    "relion": Sample(
        "größe_1_autopick.star",
        star(
            "\n# version 30001\n\ndata_\n\nloop_ \n_rlnCoordinateY #1 \n_rlnClassNumber #2 \n"
            "_note #3 \n_rlnCoordinateX #4 \n_rlnAutopickFigureOfMerit #5 \n",
            RELION_ROWS,
        ),
        RELION_ROWS,
        ("größe_1_autopick.star",),
        merit=True,
    ),
    "relion_list": Sample(
        "job/autopick.star",
        "data_coordinate_files\nloop_\n_rlnMicrographName\n_rlnMicrographCoordinates\n_note\n"
        "größe_1.mrc job/Movies/größe_1_autopick.star 'a b'\n"
        "'mic 2.mrc' job/Movies/mic_2.box -\n",
        (*RELION_ROWS[:3], *BOX_ROWS[3:]),
        NAMES,
        index=(0, 0, 0, 1, 1),
        merit=True,
        beside=(
            (
                "job/Movies/größe_1_autopick.star",
                star(
                    "data_\n\nloop_ \n_rlnCoordinateY #1 \n_rlnClassNumber #2 \n_note #3 \n"
                    "_rlnCoordinateX #4 \n_rlnAutopickFigureOfMerit #5 \n",
                    RELION_ROWS[:3],
                ),
            ),
            ("job/Movies/mic_2.box", "".join(row + "\n" for row in BOX_ROWS[3:])),
        ),
    ),
    "relion_particles": Sample(
        "particles.star",
        star(
            "# version 30001\n\ndata_optics\n\nloop_ \n_rlnOpticsGroupName #1 \n"
            "_rlnOpticsGroup #2 \nopticsGroup1 1 \n\n\n# version 30001\n\ndata_particles\n\n"
            "loop_ \n_rlnCoordinateX #1 \n_rlnCoordinateY #2 \n_rlnImageName #3 \n"
            "_rlnMicrographName #4 \n_rlnOpticsGroup #5 \n_rlnAutopickFigureOfMerit #6 \n",
            PARTICLE_ROWS,
            end="\r\n",
        ),
        tuple(row.rstrip() for row in PARTICLE_ROWS),
        NAMES,
        index=(0, 1, 0, 1, 0),
        merit=True,
    ),
    "eman_box": Sample(
        "größe_1.box",
        "".join(row + "\n" for row in BOX_ROWS),
        BOX_ROWS,
        ("größe_1.box",),
        box=101,
    ),
    "eman_json": Sample(
        "größe_1_info.json",
        '{"ctf": [1, {"a": null}],\n "boxes": [' + ",\n".join(JSON_ROWS) + '],\n "quality": 5}',
        JSON_ROWS,
        ("größe_1_info.json",),
        merit=True,
    ),
    "cryolo_cbox": Sample(
        "größe_1.cbox",
        star(
            "data_global\n\n_cbox_format_version 1.0\n\ndata_cryolo\n\nloop_\n_CoordinateX #1\n"
            "_CoordinateY #2\n_CoordinateZ #3\n_Width #4\n_Height #5\n_Confidence #6\n_id #7\n",
            CBOX_ROWS,
            "\ndata_cryolo_include\n\nloop_\n_slice_index #1\n\n",
        ),
        CBOX_ROWS,
        ("größe_1.cbox",),
        box=201,
        merit=True,
    ),
    "xmipp_pos": Sample(
        "größe_1.pos",
        star(
            "# XMIPP_STAR_1 * \n# \ndata_header\nloop_\n _pickingMicrographState\nAuto\n"
            "data_particles_auto\nloop_\n _itemId\n _enabled\n _xcoor\n _ycoor\n _cost\n"
            " _micrographId\n",
            POS_ROWS,
            "",
        ),
        POS_ROWS,
        ("größe_1.pos",),
        x=WHOLE[0],
        y=WHOLE[1],
        box=101,
        merit=True,
        beside=(("config.xmd", "data_properties\n _pickingParticleSize 101\n"),),
    ),
    "topaz": Sample(
        "picks.txt",
        "image_name\tx_coord\ty_coord\tscore\n"
        + "".join(f"{n}\t{x}\t{y}\t{i}.5\n" for i, ((x, y), n) in
                  enumerate(zip(PAIRS, ["größe_1", "mic 2"] * 3, strict=False))),
        tuple(f"{n}\t{x}\t{y}\t{i}.5" for i, ((x, y), n) in
              enumerate(zip(PAIRS, ["größe_1", "mic 2"] * 3, strict=False))),
        ("größe_1", "mic 2"),
        index=(0, 1, 0, 1, 0),
        merit=True,
    ),
    "csv": Sample(
        "größe_1.csv",
        "id,y,x,note\r\n"
        + "".join(f'{i},{y},{x},"a, ""b"""\r\n' for i, (x, y) in enumerate(PAIRS)),
        tuple(f'{i},{y},{x},"a, ""b"""' for i, (x, y) in enumerate(PAIRS)),
        ("größe_1.csv",),
    ),
    "tsv": Sample(
        "größe_1.tsv",
        "# by hand\nx\ty\tnote\n" + "".join(f"{x}\t{y}\tµ{i}\n" for i, (x, y) in enumerate(PAIRS)),
        tuple(f"{x}\t{y}\tµ{i}" for i, (x, y) in enumerate(PAIRS)),
        ("größe_1.tsv",),
    ),
    "txt": Sample(
        "größe_1.txt",
        "".join(f" {x}   {y} {i}\n" for i, (x, y) in enumerate(PAIRS)).rstrip(),
        tuple(f" {x}   {y} {i}" for i, (x, y) in enumerate(PAIRS)),
        ("größe_1.txt",),
    ),
}  # fmt: skip

FIELDS = [
    ("uid", "<u8"),
    ("location/micrograph_path", "S30"),
    ("location/micrograph_shape", "<u4", (2,)),
    ("location/center_x_frac", "<f4"),
    ("location/center_y_frac", "<f4"),
    ("pick_stats/ncc_score", "<f4"),
]


def cryosparc_rows() -> NDArray[np.void]:
    rows = np.zeros(5, np.dtype(FIELDS))
    rows["uid"] = 2**63 + np.arange(5, dtype=np.uint64)
    rows["location/micrograph_path"] = [f"J1/{NAMES[i % 2]}".encode() for i in range(5)]
    rows["location/micrograph_shape"] = (4096, 2048)
    rows["location/center_x_frac"] = np.array(X) / 2048
    rows["location/center_y_frac"] = np.array(Y) / 4096
    rows["pick_stats/ncc_score"] = np.arange(5)
    return rows


def make(name: str, folder: Path) -> Path:
    """Write the sample of a format into a folder and return the file to name."""
    if name.startswith("cryosparc"):
        rows = cryosparc_rows()
        with (folder / "picked.cs").open("wb") as file:
            np.save(file, rows)
        if name == "cryosparc_cs":
            return folder / "picked.cs"
        with (folder / "more.cs").open("wb") as file:
            np.save(
                file,
                np.array([(u, 2.5) for u in rows["uid"][::-1]], [("uid", "<u8"), ("q", "<f4")]),
            )
        (folder / "group.csg").write_text(
            "created: now\nresults:\n  location:\n    metafile: '>picked.cs'\n    num_items: 5\n"
            "  q:\n    metafile: '>more.cs'\n    num_items: 5\n"
        )
        return folder / "group.csg"
    sample = SAMPLES[name]
    for file, content in ((sample.file, sample.content), *sample.beside):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content.encode())
    return folder / sample.file


def expected(name: str) -> Sample:
    if name.startswith("cryosparc"):
        names = tuple(f"J1/{n}" for n in NAMES)
        return Sample("", "", (), names, (0, 1, 0, 1, 0), merit=True)
    return SAMPLES[name]


def keys(table: PickTable) -> Counter[tuple[str, float, float]]:
    names = [table.micrographs[i] for i in table.micrograph_index]
    return Counter(zip(names, np.round(table.x, 3), np.round(table.y, 3), strict=True))


def text_of(paths: tuple[Path, ...]) -> str:
    return "\n".join(p.read_bytes().decode() for p in paths if p.suffix not in (".cs", ".csg"))


over_all = pytest.mark.parametrize("name", list(FORMATS))
MASKS = {
    "all": [True] * 5,
    "none": [False] * 5,
    "first": [True, False, False, False, False],
    "some": [False, True, True, False, True],
}


def test_every_format_has_a_sample() -> None:
    """A new row of the table cannot go untested."""
    assert set(SAMPLES) | {"cryosparc_cs", "cryosparc_csg"} == set(FORMATS)


@over_all
def test_reading_gives_the_values(name: str, tmp_path: Path) -> None:
    """Centres, names, box and the picker's scores come out of the file as its convention says."""
    table, sample = FORMATS[name].read(make(name, tmp_path)), expected(name)
    np.testing.assert_allclose(table.x, sample.x, atol=1e-3)
    np.testing.assert_allclose(table.y, sample.y, atol=1e-3)
    assert table.micrographs == sample.names
    np.testing.assert_array_equal(table.micrograph_index, sample.index)
    assert table.box_size == sample.box
    assert (table.figure_of_merit is not None) == sample.merit
    assert table.format == name
    assert table.source in table.members


@over_all
@pytest.mark.parametrize("rows", [slice(None), slice(0, 0)])
def test_a_table_comes_out_of_many_as_it_went_in(name: str, rows: slice, tmp_path: Path) -> None:
    """Every value of a table, whole or without rows, is the same after it was put away."""
    read = FORMATS[name].read(make(name, tmp_path))
    part = read.part(np.arange(len(read))[rows])  # of one micrograph
    tables = PickTables([read, part])
    tables.append(part)
    tables[0] = tables[1:][1]
    assert len(tables) == 3
    for out, table in [*zip(tables, [part] * 3, strict=True), (PickTables([read])[0], read)]:
        for field in fields(PickTable):
            np.testing.assert_array_equal(getattr(out, field.name), getattr(table, field.name))


@over_all
def test_the_format_is_found_out(name: str, tmp_path: Path) -> None:
    """Content and ending say which format it is, without help."""
    assert read_coordinates(make(name, tmp_path)).format == name


@over_all
@pytest.mark.parametrize("mask", list(MASKS))
@pytest.mark.parametrize("scored", [True, False])
def test_a_subset_reads_back_and_its_rows_are_the_very_text(
    name: str, mask: str, scored: bool, tmp_path: Path
) -> None:
    """Kept and rejected rows are each row once, as it was; zero rows are a valid file."""
    source = make(name, tmp_path)
    table, keep = read_coordinates(source), np.array(MASKS[mask])
    goodness = np.linspace(0, 1, 5, dtype=np.float32) if scored else None
    total: Counter[tuple[str, float, float]] = Counter()
    for folder, side in (("kept", keep), ("rejected", ~keep)):
        written = write_subset(table, Selection(side, goodness), tmp_path / folder)
        assert written[0] == tmp_path / folder / source.name
        assert all(path.is_relative_to(tmp_path / folder) for path in written)
        again = read_coordinates(written[0], format=name)
        np.testing.assert_array_equal(again.x, table.x[side])
        np.testing.assert_array_equal(again.y, table.y[side])
        if again.figure_of_merit is not None and table.figure_of_merit is not None:
            np.testing.assert_array_equal(again.figure_of_merit, table.figure_of_merit[side])
        total += keys(again)
        lines = text_of(written)
        for row, stays in zip(expected(name).rows, side, strict=False):
            assert (row in lines) == stays
        column = FORMATS[name].goodness_column
        if column is not None and not name.startswith("cryosparc"):
            assert bool(re.search(rf"(^|[\s,]){column}\b", lines)) == scored
    assert total == keys(table)
    assert not list(tmp_path.rglob(".tmp*"))


@over_all
def test_everything_but_the_rows_survives(name: str, tmp_path: Path) -> None:
    """A subset with all rows and without goodness has the very bytes of every file."""
    source = make(name, tmp_path)
    table = read_coordinates(source)
    written = write_subset(table, Selection(np.ones(5, np.bool_)), tmp_path / "kept")
    base = source.parent
    for path in written:
        relative = path.relative_to(tmp_path / "kept")
        before, after = (base / relative).read_bytes(), path.read_bytes()
        if name == "relion_list" and relative.name == "autopick.star":
            after = after.replace(b"kept/Movies", b"job/Movies")
        assert after == before, relative


@pytest.mark.parametrize("name", ["cryosparc_cs", "cryosparc_csg"])
def test_cryosparc_rows_are_the_same_to_the_bit(name: str, tmp_path: Path) -> None:
    """Every field of the kept rows is unchanged, in all members of a group."""
    table = read_coordinates(make(name, tmp_path))
    keep = np.array(MASKS["some"])
    write_subset(table, Selection(keep, np.ones(5, np.float32)), tmp_path / "kept")
    after = np.load(tmp_path / "kept" / "picked.cs")
    for field in cryosparc_rows().dtype.names or ():
        np.testing.assert_array_equal(after[field], cryosparc_rows()[keep][field])
    np.testing.assert_array_equal(after["micscreen/goodness"], np.ones(3, np.float32))
    if name == "cryosparc_csg":
        assert sorted(np.load(tmp_path / "kept" / "more.cs")["uid"]) == sorted(after["uid"])


@over_all
def test_a_second_screening_does_not_double_the_goodness(name: str, tmp_path: Path) -> None:
    """The output of one screening is the input of the next, and keeps one goodness per row."""
    table = read_coordinates(make(name, tmp_path))
    every = np.ones(5, np.bool_)
    first = write_subset(table, Selection(every, np.zeros(5, np.float32)), tmp_path / "one")
    again = read_coordinates(first[0], format=name)
    second = write_subset(again, Selection(every, np.ones(5, np.float32)), tmp_path / "two")
    lines = text_of(second)
    column = FORMATS[name].goodness_column
    if column is not None and lines and name not in ("cryosparc_csg", "relion_list"):
        assert len(re.findall(rf"(?:^|[\s,]){column}\b", lines)) == 1
        assert "0.000000" not in lines
        assert lines.count("1.000000") == 5
    np.testing.assert_array_equal(read_coordinates(second[0], format=name).x, table.x)


@over_all
def test_coordinates_on_another_scale_read_back(name: str, tmp_path: Path) -> None:
    """x, y and the box are rewritten for another set of micrographs; fractions stay."""
    table = read_coordinates(make(name, tmp_path))
    x, y = (table.x + 0.5) / 2 - 0.5, (table.y + 0.5) / 2 - 0.5
    selection = Selection(np.ones(5, np.bool_), x=x, y=y, scale=0.5)
    again = read_coordinates(write_subset(table, selection, tmp_path / "half")[0], format=name)
    if FORMATS[name].anchor == "fraction":
        np.testing.assert_array_equal(again.x, table.x)
        return
    coarse = 0.51 if name in ("topaz", "xmipp_pos", "eman_box") else 1e-3
    np.testing.assert_allclose(again.x, x, atol=coarse)
    np.testing.assert_allclose(again.y, y, atol=coarse)
    if table.box_size is not None:
        assert again.box_size == pytest.approx(table.box_size / 2, abs=0.5)


new = pytest.mark.parametrize("name", [n for n, row in FORMATS.items() if row.write_new])
COARSE: dict[str, float] = {"topaz": 0.5, "xmipp_pos": 0.5, "eman_box": 0.75}


def picks(n: int, seed: int = 0) -> Picks:
    rng = np.random.default_rng(seed)
    return Picks(
        x=np.round(rng.uniform(-20, 5000, n), 3),
        y=np.round(rng.uniform(-20, 5000, n), 3),
        box_size=151,
        figure_of_merit=np.round(rng.uniform(-3, 3, n), 4),
        goodness=rng.random(n).astype(np.float32),
    )


@new
@pytest.mark.parametrize("count", [0, 1, 7])
def test_what_is_written_from_nothing_reads_back(name: str, count: int, tmp_path: Path) -> None:
    """Conversion keeps centres, and scores and odd boxes where the format has room; also none."""
    some = picks(count)
    written = write_picks(tmp_path / f"größe{FORMATS[name].extensions[0]}", some, format=name)
    table = read_coordinates(written[0], format=None if count else name)
    assert table.format == name
    np.testing.assert_allclose(table.x, some.x, atol=COARSE.get(name, 1e-3))
    np.testing.assert_allclose(table.y, some.y, atol=COARSE.get(name, 1e-3))
    if table.box_size is not None:
        assert table.box_size == 151
    if table.figure_of_merit is not None and count:
        np.testing.assert_allclose(table.figure_of_merit, some.figure_of_merit, atol=1e-6)


@new
def test_many_micrographs_go_into_one_file_or_one_file_each(name: str, tmp_path: Path) -> None:
    """Pairs of names and picks come back under their names, or from a file named like them."""
    pairs = [("Movies/größe_1.mrc", picks(3, 1)), ("Movies/mic 2.mrc", picks(4, 2))]
    row = FORMATS[name]
    target = tmp_path / f"all{row.extensions[0]}" if row.many else tmp_path / "folder"
    written = write_picks(target, pairs, format=name)
    files = written[:1] if row.many else [path for path in written if path.suffix != ".xmd"]
    tables = [read_coordinates(path, format=name) for path in files]
    if row.many:
        assert [Path(n).stem for n in tables[0].micrographs] == ["größe_1", "mic 2"]
        found = [tables[0].x[rows] for rows in tables[0].rows_by_micrograph()]
    else:
        assert [
            t.source.name.startswith(n) for t, n in zip(tables, ("größe_1", "mic 2"), strict=True)
        ]
        found = [t.x for t in tables]
    for x, (_, some) in zip(found, pairs, strict=True):
        np.testing.assert_allclose(x, some.x, atol=COARSE.get(name, 1e-3))
