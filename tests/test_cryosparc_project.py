"""A cryoSPARC project through the command line: exported groups in, groups and statistics out."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from micscreen.errors import MicrographFormatError, PicksError
from micscreen.io.exposures import exposure_paths
from micscreen.simulate import Scene, picks_on_bad, simulate_micrograph

KINDS = ("film", "clean", "ice")
SHAPE = (640, 768)


def group(folder: Path, name: str, kind: str, members: dict[str, NDArray[Any]]) -> Path:
    """Write an exported group: the .csg file and its .cs files."""
    folder.mkdir(parents=True, exist_ok=True)
    results = {}
    for member, rows in members.items():
        with (folder / f"{name}_{member}.cs").open("wb") as file:
            np.lib.format.write_array(file, rows)
        results[member] = {
            "metafile": f">{name}_{member}.cs", "num_items": len(rows), "type": f"{kind}.{member}",
        }  # fmt: skip
    text = yaml.safe_dump({"created": "2026", "group": {"name": name}, "results": results})
    (folder / f"{name}.csg").write_text(text)
    return folder / f"{name}.csg"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Micrographs with uids before their names; exposures and particles with passthroughs."""
    top = tmp_path_factory.mktemp("CS-demo")
    scenes: list[Scene] = []
    paths = []
    for i, kind in enumerate(KINDS):
        scene = simulate_micrograph(kind, SHAPE, 64.0, pixel_size=1.5, seed=60 + i)
        path = f"J3/motioncorrected/{10**20 + i}_mic_{i}_patch_aligned_doseweighted.mrc"
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        with mrcfile.new(top / path) as mrc:
            mrc.set_data(scene.image)
            mrc.voxel_size = 1.5
        scenes.append(scene)
        paths.append(path)
    uids = np.array([11, 12, 13], np.uint64) + np.uint64(2**63)
    exposures = np.zeros(3, [("uid", "<u8"), ("micrograph_blob/path", "S99"), ("odd", "u1", (5,))])
    exposures["uid"], exposures["micrograph_blob/path"] = uids, paths
    exposures["odd"] = np.arange(15).reshape(3, 5)
    ctf = np.zeros(3, [("uid", "<u8"), ("ctf/df1_A", "<f4")])
    ctf["uid"], ctf["ctf/df1_A"] = uids, (9e3, 1e4, 1.1e4)
    group(
        top / "exports/exposures",
        "exposures",
        "exposure",
        {"micrograph_blob": exposures, "ctf": ctf},
    )
    fields = [
        ("uid", "<u8"), ("location/micrograph_uid", "<u8"), ("location/micrograph_path", "S99"),
        ("location/micrograph_shape", "<u4", (2,)), ("location/center_x_frac", "<f4"),
        ("location/center_y_frac", "<f4"),
    ]  # fmt: skip
    parts = []
    for i, scene in enumerate(scenes):
        x, y = picks_on_bad(scene, 40, seed=i)
        x, y = np.concatenate([scene.x, x]), np.concatenate([scene.y, y])
        rows = np.zeros(len(x), fields)
        rows["location/micrograph_uid"], rows["location/micrograph_path"] = uids[i], paths[i]
        rows["location/micrograph_shape"] = SHAPE
        rows["location/center_x_frac"] = x / SHAPE[1]
        rows["location/center_y_frac"] = y / SHAPE[0]
        parts.append(rows)
    location = np.concatenate(parts)
    location["uid"] = np.random.default_rng(0).permutation(len(location)) + 2**40
    stats = np.zeros(len(location), [("uid", "<u8"), ("pick_stats/ncc_score", "<f4")])
    stats["uid"] = location["uid"][::-1]  # members have their own order
    group(
        top / "exports/particles", "particles", "particle", {"location": location, "stats": stats}
    )
    return top


def screen(project: Path, job: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable, "-m", "micscreen", "screen", "exports/exposures/exposures.csg",
            "-c", "exports/particles/particles.csg", "-b", "64", "-o", str(job), "--quiet",
            "--flip-y", "no", "--thumbnails", "0",
        ],
        cwd=project, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_exported_groups_are_screened_and_come_out_as_groups(project: Path, tmp_path: Path) -> None:
    """The exposures name the micrographs and the particles their places; kept and rejected groups
    share all particles between them, in every member; the exposures come out to the bit, with
    statistics in fields of their own.
    """
    done = screen(project, tmp_path / "job")
    assert done.returncode == 0, done.stderr
    uids: dict[str, set[int]] = {}
    for name in ("picks_auto_080", "picks_auto_080_rejected"):
        folder = tmp_path / "job" / name
        results = yaml.safe_load((folder / "particles.csg").read_text())["results"]
        for member in ("location", "stats"):
            rows = np.load(folder / f"particles_{member}.cs")
            assert results[member]["num_items"] == len(rows)
            uids[f"{name} {member}"] = set(rows["uid"].tolist())
        assert uids[f"{name} location"] == uids[f"{name} stats"]
    kept, rejected = uids["picks_auto_080 stats"], uids["picks_auto_080_rejected stats"]
    everything = set(np.load(project / "exports/particles/particles_location.cs")["uid"].tolist())
    assert kept | rejected == everything
    assert not kept & rejected
    assert kept
    assert rejected
    out = tmp_path / "job" / "exposures"
    assert (out / "exposures.csg").is_file()
    assert (out / "exposures_ctf.cs").is_file()
    before = np.load(project / "exports/exposures/exposures_micrograph_blob.cs")
    after = np.load(out / "exposures_micrograph_blob.cs")
    for field in before.dtype.names:
        np.testing.assert_array_equal(after[field], before[field])
    areas = [after[n] for n in after.dtype.names if n.startswith("micscreen/area_")]
    np.testing.assert_allclose(np.sum(areas, axis=0), 1.0, atol=1e-4)
    assert after["micscreen/picks_in"].sum() == len(everything)
    assert after["micscreen/picks_kept"].sum() == len(kept)
    film, clean, _ = after["micscreen/contamination"]
    assert film > 0.03 > clean


def test_an_exposure_that_cannot_be_read_has_no_statistics(project: Path, tmp_path: Path) -> None:
    """A micrograph that is gone fails alone; its statistics are NaN, the others are there."""
    (micrograph,) = project.glob("J3/motioncorrected/*mic_1_*")
    aside = micrograph.rename(tmp_path / "aside")
    try:
        done = screen(project, tmp_path / "job")
    finally:
        aside.rename(micrograph)
    assert done.returncode == 3, done.stderr
    after = np.load(tmp_path / "job/exposures/exposures_micrograph_blob.cs")
    assert np.isnan(after["micscreen/contamination"]).tolist() == [False, True, False]


def test_tables_without_micrographs_and_groups_from_outside_are_refused(
    project: Path, tmp_path: Path
) -> None:
    """A table that names no micrograph says so; a group that leaves its folder is refused."""
    with pytest.raises(MicrographFormatError, match="names no micrographs"):
        exposure_paths(project / "exports/exposures/exposures_ctf.cs")
    (tmp_path / "a.csg").write_text("results:\n  x:\n    metafile: '>../../secret.cs'\n")
    with pytest.raises(PicksError, match="no file below this folder"):
        exposure_paths(tmp_path / "a.csg")


def test_the_example_for_cryosparc_tools_screens_what_it_saved(project: Path) -> None:
    """What the External Job script does between reading and saving: of two .cs files in the
    project the kept uids and a goodness for each particle that was judged.
    """
    path = Path(__file__).parents[1] / "docs/cryosparc/external_job.py"
    spec = importlib.util.spec_from_file_location("external_job", path)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    folder = project / "J20" / "micscreen"
    folder.mkdir(parents=True)
    exposures = project / "exports/exposures/exposures_micrograph_blob.cs"
    (folder / "exposures.cs").write_bytes(exposures.read_bytes())
    particles = project / "exports/particles/particles_location.cs"
    (folder / "particles.cs").write_bytes(particles.read_bytes())
    kept, goodness, told = example.screened(folder, 64.0, 0.8)
    assert goodness.keys() == set(np.load(particles)["uid"].tolist())
    assert set(kept.tolist()) == {uid for uid, value in goodness.items() if value >= 0.8}
    assert "3 of 3 micrographs" in told
