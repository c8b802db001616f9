"""From names to jobs: expanded, paired, refused with reasons."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from micscreen.errors import MatchError, PicksError, UsageError
from micscreen.run.find import find_micrographs, listing, natural_key, unique_names
from micscreen.run.plan import Plan, plan
from micscreen.run.settings import InputSettings, ScoreSettings, ScreenSettings


def micrograph(path: Path, pixel_size: float = 1.5, side: int = 32) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path) as file:
        file.set_data(np.random.default_rng(1).normal(size=(side, side)).astype(np.float32))
        file.voxel_size = pixel_size
    return path


def csv(path: Path, n: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x,y\n" + "".join(f"{i},{i + 1}\n" for i in range(n)))
    return path


def planned(
    folder: Path,
    *,
    others: Sequence[Path] = (),
    scoring: ScoreSettings | None = None,
    **inputs: object,
) -> Plan:
    values: dict[str, object] = {
        "micrographs": (str(folder / "mics"),),
        "coordinates": (str(folder / "picks"),),
        "other_micrographs": tuple(map(str, others)),
        "box_size": 8.0,
    }
    values.update(inputs)
    settings = InputSettings(**values)  # type: ignore[arg-type]
    return plan(ScreenSettings(settings, folder / "job", scoring or ScoreSettings()))


def test_micrographs_and_coordinates_are_paired_by_name_in_natural_order(tmp_path: Path) -> None:
    """mic_2 comes before mic_10, each with the rows of its own file."""
    for number in (10, 2, 1):
        micrograph(tmp_path / "mics" / f"mic_{number}.mrc")
        csv(tmp_path / "picks" / f"mic_{number}.csv", number)
    found = planned(tmp_path)
    assert [job.name for job in found.jobs] == ["mic_1", "mic_2", "mic_10"]
    assert [len(job.rows) for job in found.jobs] == [1, 2, 10]
    assert [job.position for job in found.jobs] == [0, 1, 2]
    assert all(job.picked == job.micrograph for job in found.jobs)
    assert found.warnings == () and found.picks_in == 13


def test_one_file_of_many_micrographs_is_split_by_name(tmp_path: Path) -> None:
    """Rows of a mixed particles.star go to their micrographs, in file order."""
    micrograph(tmp_path / "mics" / "a.mrc")
    micrograph(tmp_path / "mics" / "b.mrc")
    star = tmp_path / "particles.star"
    rows = "".join(f"mics/{m}.mrc {i} {i}\n" for i, m in enumerate("abaab"))
    star.write_text(
        "data_particles\n\nloop_\n_rlnMicrographName #1\n_rlnCoordinateX #2\n"
        "_rlnCoordinateY #3\n" + rows
    )
    first, second = planned(tmp_path, coordinates=(str(star),)).jobs
    assert (first.rows.tolist(), second.rows.tolist()) == ([0, 2, 3], [1, 4])
    assert (first.table, second.table) == (0, 0)


def test_micrographs_without_coordinates_are_screened_and_said(tmp_path: Path) -> None:
    """A micrograph without a coordinate file becomes a job with zero picks, and a warning."""
    for name in ("a", "b"):
        micrograph(tmp_path / "mics" / f"{name}.mrc")
    csv(tmp_path / "picks" / "a.csv")
    found = planned(tmp_path)
    assert [(job.name, len(job.rows)) for job in found.jobs] == [("a", 2), ("b", 0)]
    assert [path.name for path in found.without_coordinates] == ["b.mrc"]
    assert any("b.mrc" in text for text in found.warnings)


def test_coordinates_without_micrograph_are_said_with_their_picks(tmp_path: Path) -> None:
    """Entries that match nothing are named with how many picks stay unscreened."""
    micrograph(tmp_path / "mics" / "a.mrc")
    csv(tmp_path / "picks" / "a.csv")
    csv(tmp_path / "picks" / "lost.csv", 7)
    found = planned(tmp_path)
    assert found.unmatched == ("lost.csv",)
    assert any("7 picks" in text and "lost.csv" in text for text in found.warnings)
    assert found.picks_in == 9


def test_when_nothing_matches_both_lists_are_shown(tmp_path: Path) -> None:
    """Two unrelated folders are refused, naming what is in each."""
    micrograph(tmp_path / "mics" / "alpha.mrc")
    csv(tmp_path / "picks" / "omega.csv")
    with pytest.raises(MatchError, match=r"alpha\.mrc[\s\S]*omega\.csv"):
        planned(tmp_path)


def test_a_broken_coordinate_file_fails_its_micrograph_only(tmp_path: Path) -> None:
    """The job of a broken file carries the reason; the other jobs are as they should be."""
    for name in ("a", "b"):
        micrograph(tmp_path / "mics" / f"{name}.mrc")
    csv(tmp_path / "picks" / "a.csv")
    (tmp_path / "picks" / "b.csv").write_text("x,y\n1,2\nthree,four\n")
    found = planned(tmp_path)
    assert [job.problem is None for job in found.jobs] == [True, False]
    assert "b.csv" in (found.jobs[1].problem or "")
    assert len(found.problems) == 1 and not found.without_coordinates


def test_nothing_but_broken_coordinates_is_an_error(tmp_path: Path) -> None:
    """When not one coordinate file can be read, the run does not begin."""
    micrograph(tmp_path / "mics" / "a.mrc")
    (tmp_path / "picks").mkdir()
    (tmp_path / "picks" / "a.csv").write_text("x,y\nthree,four\n")
    with pytest.raises(PicksError, match=r"a\.csv"):
        planned(tmp_path)


def test_other_micrographs_are_paired_and_the_missing_ones_said(tmp_path: Path) -> None:
    """The other set is screened in place of the picked one; who has no partner is named."""
    for name in ("a", "b"):
        micrograph(tmp_path / "mics" / f"{name}.mrc")
        csv(tmp_path / "picks" / f"{name}.csv")
    other = micrograph(tmp_path / "denoised" / "a.mrc")
    (job,) = (found := planned(tmp_path, others=[tmp_path / "denoised"])).jobs
    assert (job.micrograph, job.picked) == (other, tmp_path / "mics" / "a.mrc")
    assert any("b.mrc" in text for text in found.warnings)
    micrograph(tmp_path / "wrong" / "zeta.mrc")
    with pytest.raises(MatchError, match=r"zeta\.mrc"):
        planned(tmp_path, others=[tmp_path / "wrong"])


def test_all_names_that_give_nothing_are_said_at_once(tmp_path: Path) -> None:
    """Three mistakes in the arguments give one error that names all three."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError) as caught:
        planned(
            tmp_path,
            micrographs=(str(tmp_path / "empty"), str(tmp_path / "no*.mrc")),
            coordinates=(str(tmp_path / "nowhere"),),
        )
    assert all(word in str(caught.value) for word in ("empty", "no*.mrc", "nowhere"))


def test_a_missing_box_is_refused_with_the_options(tmp_path: Path) -> None:
    """Neither file nor options say the box: the error names both options that would."""
    micrograph(tmp_path / "mics" / "a.mrc")
    csv(tmp_path / "picks" / "a.csv")
    with pytest.raises(UsageError, match=r"--box-size[\s\S]*--particle-diameter"):
        planned(tmp_path, box_size=None)


def test_the_box_comes_from_the_file_unless_an_option_says_it(tmp_path: Path) -> None:
    """EMAN boxes carry their size, zero-pick micrographs get the usual one, options win."""
    for name in ("a", "b"):
        micrograph(tmp_path / "mics" / f"{name}.mrc")
    (tmp_path / "picks").mkdir()
    (tmp_path / "picks" / "a.box").write_text("0\t0\t24\t24\n")
    assert [job.box_size for job in planned(tmp_path, box_size=None).jobs] == [24.0, 24.0]
    assert [job.box_size for job in planned(tmp_path, box_size=10.0).jobs] == [10.0, 10.0]
    by_diameter = planned(tmp_path, box_size=None, particle_diameter=100.0)
    assert [job.box_size for job in by_diameter.jobs] == [None, None]


@pytest.mark.parametrize("by_distance", [True, False])
def test_angstroms_without_a_pixel_size_are_refused_at_the_start(
    tmp_path: Path, by_distance: bool
) -> None:
    """A diameter or distance in Å needs a pixel size from the headers or the option."""
    micrograph(tmp_path / "mics" / "a.mrc", pixel_size=0.0)
    csv(tmp_path / "picks" / "a.csv")
    scoring = ScoreSettings(rule="distance", distance=100.0) if by_distance else None
    inputs: dict[str, object] = (
        {} if by_distance else {"box_size": None, "particle_diameter": 100.0}
    )
    with pytest.raises(UsageError, match="--pixel-size"):
        planned(tmp_path, scoring=scoring, **inputs)
    assert len(planned(tmp_path, scoring=scoring, pixel_size=1.2, **inputs).jobs) == 1


def test_files_named_twice_are_screened_once(tmp_path: Path) -> None:
    """A file that is named, matched by a pattern and in a folder gives one job."""
    path = micrograph(tmp_path / "mics" / "a.mrc")
    (tmp_path / "mics" / ".hidden.mrc").touch()
    (tmp_path / "mics" / "notes.txt").touch()
    problems: list[str] = []
    names = [
        str(path),
        str(tmp_path / "mics"),
        str(tmp_path / "mics" / "*"),
        f"{path.parent}/./a.mrc",
    ]
    assert find_micrographs(names, problems) == [path]
    assert problems == []


def test_links_of_other_names_are_micrographs_of_their_own(tmp_path: Path) -> None:
    """Two names of one file are two micrographs, since each has its own picks."""
    path = micrograph(tmp_path / "raw" / "a.mrc")
    links = [tmp_path / "mics" / name for name in ("a.mrc", "b.mrc", "c.mrc")]
    links[0].parent.mkdir()
    for link in links:
        link.symlink_to(path)
    assert find_micrographs([str(path), str(links[0].parent)], []) == [*links[1:], path]


def test_a_file_that_is_no_micrograph_by_name_is_said(tmp_path: Path) -> None:
    """A log file among the micrographs is a mistake worth a message."""
    (tmp_path / "run.log").touch()
    problems: list[str] = []
    find_micrographs([str(tmp_path / "run.log")], problems)
    assert "run.log" in problems[0] and ".mrc" in problems[0]


@given(st.lists(st.integers(0, 10**9), unique=True, min_size=1))
def test_natural_order_is_the_order_of_the_numbers(numbers: list[int]) -> None:
    """File names with numbers of any length sort by number."""
    paths = sorted((Path(f"m/mic_{number}_x.mrc") for number in numbers), key=natural_key)
    assert [int(path.name.split("_")[1]) for path in paths] == sorted(numbers)


@given(st.lists(st.tuples(st.sampled_from("pq"), st.sampled_from("rs"), st.sampled_from("ab"))))
def test_short_names_are_unique_and_deterministic(places: list[tuple[str, str, str]]) -> None:
    """Equal file names in different folders, even equal paths, get different names."""
    paths = [Path(f"/{top}/{middle}/{stem}.mrc") for top, middle, stem in places]
    names = unique_names(paths)
    assert len(set(names)) == len(paths)
    assert names == unique_names(paths)
    assert all("/" not in name for name in names)


def test_short_names_stay_short_where_they_can() -> None:
    """Only names that are taken get their folder put before them."""
    paths = [Path("/d/one/a.mrc"), Path("/d/two/a.mrc"), Path("/d/two/b.mrc.gz")]
    assert unique_names(paths) == ["one_a", "two_a", "b"]


def test_long_lists_are_cut() -> None:
    """A message names a few of thousands, and says how many more there are."""
    assert listing("abc", 2) == "a, b, and 1 more"
    assert listing("ab", 2) == "a, b"
