"""Pairing micrographs and coordinates by name."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micscreen.errors import MatchError
from micscreen.io import matching
from micscreen.io.matching import Matching, match, pick_stem


def named(found: Matching, left: list[str], right: list[str]) -> dict[str, str]:
    return {left[i]: right[j] for i, j in found.pairs}


@pytest.mark.parametrize(
    ("micrograph", "coordinates"),
    [
        ("mic_01.mrc", "mic_01.mrc"),
        ("Movies/mic_01.mrc", "/data/Movies/mic_01.mrc"),
        ("mic_01.mrc", "mic_01.star"),
        ("mic_01.mrc.gz", "mic_01.box"),
        ("mic_01.mrc", "mic_01.mrc.star"),
        ("mic_01.tiff", "mic_01_autopick.star"),
        ("mic_01.mrc", "mic_01_manualpick.star"),
        ("mic_01.mrc", "mic_01_extract.star"),
        ("mic_01.mrc", "mic_01_topazpicks.star"),
        ("mic_01.mrc", "mic_01_topaz_picks.txt"),
        ("mic_01.mrc", "info/mic_01_info.json"),
        ("mic_01.mrc", "mic_01_boxes.csv"),
        ("mic_01.mrc", "mic_01_coords.tsv"),
        ("mic_01.mrc", "mic_01_BoxNet2_20180602.star"),
        ("mic_01_DW.mrc", "mic_01_DW_autopick.star"),
        ("mic_01_DW.mrc", "mic_01.cbox"),
        ("mic_01.mrc", "mic_01_dose_weighted_picks.star"),
        ("mic_01_aligned_mic_DW.mrc", "mic_01.pos"),
        ("mic_01.mrc", "J7/012345678901234567890_mic_01_patch_aligned_doseweighted.mrc"),
        ("012345678901234567890_mic_01.mrc", "987654321098765432109_mic_01.mrc"),
        ("mic_01.mrc", "123456789_mic_01.mrc"),
        ("20200101_mic_01.mrc", "mic_01.star"),
        ("mic_01.mrc", "mic_01"),
        ("mic.01.mrc", "mic.01.star"),
        ("gr\u00fcn.mrc", "gru\u0308n_autopick.star"),
        (r"C:\data\mic_01.mrc", "mic_01.star"),
    ],
)  # fmt: skip
def test_names_that_programs_make_of_one_micrograph_match(
    micrograph: str, coordinates: str
) -> None:
    """Every addition that is known is seen through, among neighbours of like names."""
    others = ["mic_011.mrc", "mic_1.mrc", "amic_01.mrc"]
    found = match([*others, micrograph], [coordinates])
    assert found.pairs == ((3, 0),)
    assert found.micrographs_alone == (0, 1, 2)
    assert found.coordinates_alone == ()


@pytest.mark.parametrize(
    ("micrograph", "coordinates"),
    [
        ("mic_1.mrc", "mic_11.star"),
        ("mic_1.mrc", "mic_1_2_autopick.star"),
        ("mic_1.mrc", "amic_1.star"),
        ("mic_1.mrc", "Mic_1.star"),
        ("20200101_mic_1.mrc", "20200102_mic_1_autopick.star"),
        ("mic_1_a.mrc", "mic_1_b_picks.star"),
        ("mic_1.mrc", "_autopick.star"),
        ("mic_1.mrc", "picks.star"),
    ],
)
def test_different_names_stay_apart(micrograph: str, coordinates: str) -> None:
    """Nothing is paired because it is like or the only one left."""
    assert match([micrograph], [coordinates]) == Matching((), (0,), (0,))


def test_what_pickers_add_is_taken_off_before_what_correction_adds() -> None:
    """With and without dose weighting are two micrographs, and each finds its own picks."""
    left = ["mic_1.mrc", "mic_1_DW.mrc"]
    right = ["mic_1_DW_autopick.star", "mic_1_autopick.star"]
    assert match(left, right).pairs == ((0, 1), (1, 0))
    assert match(left, right[:1]).pairs == ((1, 0),)


def test_the_exact_name_goes_before_all_others() -> None:
    """A second file for a micrograph that has its own is left over, and said so."""
    found = match(["mic_1.mrc"], ["mic_1_autopick.star", "mic_1.star"])
    assert found == Matching(((0, 1),), (), (0,))


def test_equal_names_are_told_apart_by_their_folders() -> None:
    """The longest common tail of folders decides, however the paths begin."""
    left = ["/data/A/Movies/mic.mrc", "/data/B/Movies/mic.mrc"]
    right = ["B/Movies/mic_autopick.star", "A/Movies/mic_autopick.star"]
    assert named(match(left, right), left, right) == dict(zip(left, right[::-1], strict=True))


def test_equal_names_in_other_folders_are_not_paired_for_want_of_better() -> None:
    """Of A/mic, B/mic and A/mic, C/mic only the first pair belongs together."""
    found = match(["A/mic.mrc", "B/mic.mrc"], ["C/mic.star", "A/mic.star"])
    assert found == Matching(((0, 1),), (1,), (0,))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (["A/mic.mrc", "B/mic.mrc"], ["mic.star"]),
        (["mic.mrc"], ["mic_autopick.star", "mic_manualpick.star"]),
        (["mic_DW.mrc", "mic_dose_weighted.mrc"], ["mic.star"]),
        (["X/A/mic.mrc", "Y/A/mic.mrc"], ["A/mic.star", "B/mic.star"]),
        (["mic.mrc", "mic.mrc"], ["mic.mrc"]),
    ],
)
def test_what_fits_twice_is_an_error_with_both_lists(left: list[str], right: list[str]) -> None:
    """No choice is made; the names of both sides are in the message."""
    with pytest.raises(MatchError) as caught:
        match([*left, "other.mrc"], [*right, "other.star"])
    assert all(name in str(caught.value) for name in left)
    assert right[0] in str(caught.value)
    assert "other" not in str(caught.value)


def test_an_error_about_many_names_shows_the_first_ten() -> None:
    """The message stays readable with thousands of ambiguous names."""
    left = [f"{side}/mic_{i:03d}.mrc" for i in range(30) for side in "AB"]
    with pytest.raises(MatchError) as caught:
        match(left, [f"mic_{i:03d}.star" for i in range(30)])
    assert "and 50 more" in str(caught.value)
    assert str(caught.value).count(".mrc") == matching.SHOWN


def test_nothing_matches_nothing() -> None:
    """Empty lists are no error."""
    assert match([], []) == Matching((), (), ())
    assert match(["a.mrc"], []) == Matching((), (0,), ())


letters = st.text("abcxyz019_-é", min_size=1, max_size=8)
# The end is no word that programs add, and the start no number.
stems = letters.map(lambda text: f"m{text}q7")
pickers = st.sampled_from(["", "_autopick", "_manualpick", "_topaz", "_topaz_picks", "_info"])
processed = st.sampled_from(["", "_DW", "_dose_weighted", "_patch_aligned", "-picks", "_boxes"])
added = st.tuples(processed, pickers).map("".join)
before = st.sampled_from(
    ["", "123456_", "123456789012345678901_", "picks/", "/a/b/", "J1/99887766_"]
)
ending = st.sampled_from(["", ".star", ".mrc", ".mrc.star", ".box", ".json", ".tiff", ".cbox"])


@settings(max_examples=200, deadline=None)
@given(data=st.data(), names=st.lists(stems, min_size=1, max_size=12, unique=True))
def test_unique_stems_with_any_additions_are_paired_right_in_any_order(
    data: st.DataObject, names: list[str]
) -> None:
    """Known prefixes, suffixes and endings never lead to another micrograph, nor does order."""
    left = [f"Movies/{name}.mrc" for name in names]
    right = [data.draw(before) + name + data.draw(added) + data.draw(ending) for name in names]
    expected = dict(zip(left, right, strict=True))
    assert named(match(left, right), left, right) == expected
    some = data.draw(st.permutations(range(len(names))))
    mixed = [right[i] for i in some]
    assert named(match(left, mixed), left, mixed) == expected
    other = [left[i] for i in data.draw(st.permutations(range(len(names))))]
    assert named(match(other, mixed), other, mixed) == expected
    assert all(pick_stem(name) == stem for name, stem in zip(right, names, strict=True))


@settings(max_examples=200, deadline=None)
@given(
    left=st.lists(stems, max_size=8, unique=True), right=st.lists(stems, max_size=8, unique=True)
)
def test_only_equal_stems_are_paired(left: list[str], right: list[str]) -> None:
    """Two names that differ in what is theirs are never one micrograph."""
    found = match([f"{a}.mrc" for a in left], [f"{b}_autopick.star" for b in right])
    assert all(left[i] == right[j] for i, j in found.pairs)
    assert len(found.pairs) == len(set(left) & set(right))
    assert sorted(found.micrographs_alone) == [i for i, a in enumerate(left) if a not in right]
    assert sorted(found.coordinates_alone) == [j for j, b in enumerate(right) if b not in left]


def test_many_names_are_paired_without_comparing_each_with_each() -> None:
    """20,000 names on both sides, in mixed order and with additions, all find their own."""
    left = [f"/data/Movies/FoilHole_{i}_Data_{i * 7}_fractions.mrc" for i in range(20_000)]
    right = [f"J1/{10**20 + i}_FoilHole_{i}_Data_{i * 7}_fractions_DW.mrc" for i in range(20_000)]
    order = random.Random(1).sample(range(20_000), 20_000)
    assert match(left, [right[i] for i in order]).pairs == tuple(
        sorted((i, j) for j, i in enumerate(order))
    )
