"""`relion_micscreen` as RELION runs it; where RELION is installed, against RELION itself."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import gemmi
import mrcfile
import numpy as np
import pytest
import starfile

from micscreen.io import read_picks
from micscreen.relion.command import PARAMS
from micscreen.relion.outputs import COLUMNS, LABELS, in_project
from micscreen.simulate import simulate_micrograph

COMMAND = [sys.executable, "-m", "micscreen.relion.command"]
CTF = Path("CtfFind/job003/micrographs_ctf.star")
KINDS = ("film", "clean", "ice")
OPTICS = """
# version 30001

data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnMicrographOriginalPixelSize #3
_rlnVoltage #4
_rlnSphericalAberration #5
_rlnAmplitudeContrast #6
_rlnMicrographPixelSize #7
opticsGroup1 1 2.0 300.0 2.7 0.1 2.0


# version 30001

data_micrographs

loop_
_rlnMicrographName #1
_rlnOpticsGroup #2
_rlnDefocusU #3
_rlnDefocusV #4
_rlnDefocusAngle #5
"""


def write_ctf(project: Path, names: Sequence[str]) -> None:
    path = project / CTF
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(OPTICS + "".join(f"{name} 1 15000.0 15100.0 20.0\n" for name in names) + "\n")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RELION project: corrected micrographs, their CTF, and picks as RELION 4 lists them."""
    project = tmp_path_factory.mktemp("made")
    names, lines = [], []
    for i, kind in enumerate(KINDS):
        scene = simulate_micrograph(kind, (768, 896), 64.0, pixel_size=2.0, seed=40 + i)
        name = f"MotionCorr/job002/Movies/mic_{i}.mrc"
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        with mrcfile.new(project / name) as mrc:
            mrc.set_data(scene.image)
            mrc.voxel_size = 2.0
        picks = f"AutoPick/job004/Movies/mic_{i}_autopick.star"
        (project / picks).parent.mkdir(parents=True, exist_ok=True)
        rows = "".join(
            f"{x:12.6f} {y:12.6f} {0.5:12.6f} {1:12d} {0:12.6f}\n"
            for x, y in zip(scene.x, scene.y, strict=True)
        )
        (project / picks).write_text(
            "\n# version 30001\n\ndata_\n\nloop_ \n_rlnCoordinateX #1 \n_rlnCoordinateY #2 \n"
            "_rlnAutopickFigureOfMerit #3 \n_rlnClassNumber #4 \n_rlnAnglePsi #5 \n" + rows + " \n"
        )
        names.append(name)
        lines.append(f"{name} {picks}\n")
    write_ctf(project, names)
    (project / "AutoPick/job004/autopick.star").write_text(
        "\n# version 30001\n\ndata_coordinate_files\n\nloop_\n_rlnMicrographName #1\n"
        "_rlnMicrographCoordinates #2\n" + "".join(lines) + "\n"
    )
    suffix = project / "AutoPick/job004/coords_suffix_autopick.star"
    suffix.write_text(f"{CTF}\n")
    return project


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "project"))


def relion_micscreen(project: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, words)], cwd=project, capture_output=True, text=True, check=False
    )


def exits(out: Path) -> set[str]:
    return {path.name.removeprefix("RELION_JOB_") for path in out.glob("RELION_JOB_*")}


def column(path: Path, block: str, tag: str) -> list[str]:
    return list(gemmi.cif.read(str(path)).find_block(block).find_loop(tag))


def picks_of(project: Path, list_file: Path) -> dict[str, set[tuple[float, float]]]:
    """Return micrograph and coordinates of a list of coordinate files, read by other programs."""
    found = {}
    table = starfile.read(project / list_file)
    for micrograph, target in zip(
        table["rlnMicrographName"], table["rlnMicrographCoordinates"], strict=True
    ):
        rows = starfile.read(project / target, always_dict=True)[""]
        found[micrograph] = set(zip(rows["rlnCoordinateX"], rows["rlnCoordinateY"], strict=True))
    return found


def test_a_list_of_coordinates_becomes_what_relion_4_and_5_read(project: Path) -> None:
    """From autopick.star: a list of mirrored files whose rows are rows of the input, fewer on film;
    a table of micrographs with its optics and the areas; nodes with their labels; success.
    """
    done = relion_micscreen(
        project, "--o", "External/job005/", "--in_mics", CTF,
        "--in_coords", "AutoPick/job004/autopick.star", "--j", 2,
        "--particle_diameter", 85, "--threshold", 0.8, "--max_contamination", 0.05,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    out = project / "External/job005"
    assert exits(out) == {"EXIT_SUCCESS"}
    kept = picks_of(project, Path("External/job005/micscreen.star"))
    before = picks_of(project, Path("AutoPick/job004/autopick.star"))
    assert kept.keys() == before.keys()
    assert all(kept[name] <= before[name] for name in kept)
    film, clean, _ = sorted(kept)
    assert len(kept[film]) < 0.95 * len(before[film])
    assert len(kept[clean]) >= 0.95 * len(before[clean])
    first = (out / "Movies/mic_1_micscreen.star").read_text().splitlines()
    source = (project / "AutoPick/job004/Movies/mic_1_autopick.star").read_text()
    assert all(line.rsplit(maxsplit=1)[0] in source for line in first if line.count(".") == 5)
    blocks = starfile.read(out / "micrographs.star")
    assert float(blocks["optics"]["rlnMicrographPixelSize"].iloc[0]) == 2.0
    areas = blocks["micrographs"][[tag.removeprefix("_") for tag in COLUMNS[1:]]].to_numpy()
    np.testing.assert_allclose(areas.sum(axis=1), 1.0, atol=1e-4)
    film_bad, clean_bad, _ = blocks["micrographs"]["micscreenContamination"]
    assert film_bad > 0.05 > clean_bad
    chosen = column(out / "micrographs_selected.star", "micrographs", "_rlnMicrographName")
    assert clean in chosen
    assert film not in chosen
    nodes = starfile.read(out / "RELION_OUTPUT_NODES.star")
    for name, label in zip(
        nodes["rlnPipeLineNodeName"], nodes["rlnPipeLineNodeTypeLabel"], strict=True
    ):
        assert (project / name).is_file()
        assert label == LABELS[Path(name).name]
    assert len(nodes) == 3
    assert "3 of 3 micrographs" in done.stdout
    assert "rejected" in done.stdout


def test_particles_stay_with_their_optics(project: Path) -> None:
    """From particles.star: the same file with fewer rows, its box taken from the optics table, and
    coordinates beside it.
    """
    picks = read_picks(project / "AutoPick/job004/Movies/mic_0_autopick.star")
    name = "MotionCorr/job002/Movies/mic_0.mrc"
    rows = "".join(
        f"{i:06d}@Extract/job005/x.mrcs {name} {x:.6f} {y:.6f} 1\n"
        for i, (x, y) in enumerate(zip(picks.x, picks.y, strict=True), 1)
    )
    (project / "Extract/job005").mkdir(parents=True)
    (project / "Extract/job005/particles.star").write_text(
        "\n# version 30001\n\ndata_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnImagePixelSize #2\n"
        "_rlnImageSize #3\n1 4.0 32\n\n\n# version 30001\n\ndata_particles\n\nloop_\n"
        "_rlnImageName #1\n_rlnMicrographName #2\n_rlnCoordinateX #3\n_rlnCoordinateY #4\n"
        "_rlnOpticsGroup #5\n" + rows + "\n"
    )
    done = relion_micscreen(
        project, "--o", "External/job006/", "--in_parts", "Extract/job005/particles.star"
    )
    assert done.returncode == 0, done.stderr
    blocks = starfile.read(project / "External/job006/particles.star")
    assert int(blocks["optics"]["rlnImageSize"].iloc[0]) == 32
    kept = list(blocks["particles"]["rlnImageName"])
    assert 0 < len(kept) < len(picks.x)
    listed = picks_of(project, Path("External/job006/micscreen.star"))
    assert len(listed[name]) == len(kept)
    boxes = (project / "External/job006/micscreen/micrographs.csv").read_text()
    assert ",64," in boxes  # px: 32 px of 4 Å in micrographs of 2 Å


def test_a_scheme_runs_it_again_and_only_the_new_is_done(project: Path) -> None:
    """A second run with a further micrograph screens that one and lists all, with new files whole;
    a third one does nothing and lists all again.
    """
    names = [f"MotionCorr/job002/Movies/mic_{i}.mrc" for i in range(3)]
    suffix = project / "AutoPick/job004/coords_suffix_autopick.star"
    words = ("--o", "External/job005/", "--in_coords", suffix.relative_to(project))
    words += ("--particle_diameter", "85")
    write_ctf(project, names[:2])
    late = project / "AutoPick/job004/Movies/mic_2_autopick.star"
    late.rename(project / "late")
    assert relion_micscreen(project, *words).returncode == 0
    assert len(picks_of(project, Path("External/job005/micscreen.star"))) == 2
    write_ctf(project, names)
    (project / "late").rename(late)
    again = relion_micscreen(project, *words, "--continue")
    assert again.returncode == 0, again.stderr
    assert "3 micrographs, 2 done before" in again.stdout
    assert list(picks_of(project, Path("External/job005/micscreen.star"))) == names
    third = relion_micscreen(project, *words)
    assert "3 micrographs, 3 done before" in third.stdout
    assert list(picks_of(project, Path("External/job005/micscreen.star"))) == names


def test_the_gui_aborts_and_the_job_goes_on_later(project: Path) -> None:
    """RELION_JOB_ABORT_NOW ends the job with EXIT_ABORTED after what is in flight; run again, it
    ends well and the exit file of before is gone.
    """
    first = project / "MotionCorr/job002/Movies/mic_0.mrc"
    names = [f"MotionCorr/job002/Movies/big_{i}.mrc" for i in range(400)]
    picks = (project / "AutoPick/job004/Movies/mic_0_autopick.star").read_bytes()
    for name in names:
        os.link(first, project / name)
        stem = Path(name).stem
        (project / f"AutoPick/job004/Movies/{stem}_autopick.star").write_bytes(picks)
    write_ctf(project, names)
    words = ("--o", "External/job009/", "--in_mics", CTF, "--particle_diameter", 85)
    words += ("--in_coords", "AutoPick/job004/coords_suffix_autopick.star", "--thumbnails", 0)
    out = project / "External/job009"
    process = subprocess.Popen([*COMMAND, *map(str, words)], cwd=project, stdout=subprocess.PIPE)
    store = out / "micscreen" / "screen.sqlite"
    while not store.exists() and process.poll() is None:
        time.sleep(0.05)
    (out / "RELION_JOB_ABORT_NOW").touch()
    said = process.communicate(timeout=120)[0].decode()
    assert process.returncode == 1, said
    assert exits(out) == {"EXIT_ABORTED"}
    write_ctf(project, names[:3])  # the rest of the 400 is not what is tested
    done = relion_micscreen(project, *words)
    assert done.returncode == 0, done.stderr
    assert exits(out) == {"EXIT_SUCCESS"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--in_coords", "nowhere.star"), "is not there"),
        (("--in_mics", CTF), "one kind of coordinates"),
        (("--in_coords", "AutoPick/job004/autopick.star"), "particle_diameter"),
        (("--in_coords", "AutoPick/job004/autopick.star", "--treshold", 0.8), "threshold"),
        (("--in_coords", "AutoPick/job004/autopick.star", "--threshold", "high"), "threshold"),
        (("--in_parts", CTF, "--particle_diameter", 85), "micrographs_ctf.star"),
        (("--in_coords", "coords_suffix_binary.star"), "names no STAR file"),
    ],
)
def test_what_cannot_be_done_is_a_failed_job_with_its_reason(
    project: Path, words: tuple[object, ...], said: str
) -> None:
    """Wrong inputs and labels leave EXIT_FAILURE and one clear error in run.err."""
    (project / "coords_suffix_binary.star").write_bytes(b"\xff\xfe\x00")
    done = relion_micscreen(project, "--o", "External/job007/", *words)
    assert done.returncode == 1
    assert exits(project / "External/job007") == {"EXIT_FAILURE"}
    assert done.stderr.startswith("ERROR:")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_broken_micrograph_stops_nothing(project: Path) -> None:
    """A cut micrograph and one that is not there fail with their reasons; the others go on."""
    broken = project / "MotionCorr/job002/Movies/mic_0.mrc"
    broken.write_bytes(broken.read_bytes()[:5000])
    (project / "MotionCorr/job002/Movies/mic_2.mrc").unlink()
    done = relion_micscreen(
        project, "--o", "External/job005/", "--in_mics", CTF, "--particle_diameter", 85,
        "--in_coords", "AutoPick/job004/autopick.star",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert exits(project / "External/job005") == {"EXIT_SUCCESS"}
    assert done.stderr.count("FAILED:") == 2
    rows = starfile.read(project / "External/job005/micrographs.star")["micrographs"]
    assert list(rows["micscreenContamination"] >= 0) == [False, True, False]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("MotionCorr/job002/Movies/a.mrc", "Movies/a.mrc"),
        ("Micrographs/a.mrc", "Micrographs/a.mrc"),
        ("Import/job001/raw/day1/a.mrc", "raw/day1/a.mrc"),
        ("/data/elsewhere/a.mrc", "a.mrc"),
        ("../elsewhere/a.mrc", "a.mrc"),
    ],
)
def test_coordinates_lie_where_relion_looks_for_them(name: str, place: str) -> None:
    """The job part of a name goes, what lies below it stays, and nothing leaves the job folder."""
    assert in_project(name) == place


needs_relion = pytest.mark.skipif(
    shutil.which("relion_preprocess") is None, reason="RELION is not installed"
)


def run_relion(project: Path, program: str, *words: object) -> str:
    done = subprocess.run(
        [program, *map(str, words)], cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_second_screening_replaces_the_columns_of_the_first(project: Path) -> None:
    """From our own outputs, with a name spelt in another way, come the same columns, each once."""
    words = ("--in_mics", CTF, "--in_coords", "AutoPick/job004/autopick.star")
    diameter = ("--particle_diameter", 85)
    assert relion_micscreen(project, "--o", "External/job005/", *words, *diameter).returncode == 0
    first = project / "External/job005/micrographs.star"
    expected = starfile.read(first)["micrographs"]
    text = first.read_text()
    first.write_text(
        text.replace("MotionCorr/job002/Movies/mic_0", "./MotionCorr/job002/Movies/mic_0")
    )
    words = ("--in_mics", "External/job005/micrographs.star")
    words += ("--in_coords", "External/job005/micscreen.star")
    assert relion_micscreen(project, "--o", "External/job006/", *words, *diameter).returncode == 0
    found = starfile.read(project / "External/job006/micrographs.star")["micrographs"]
    assert list(found.columns) == list(expected.columns)
    areas = [name for name in found.columns if name.startswith("micscreen")]
    assert len(areas) == 7
    assert np.allclose(found[areas], expected[areas], atol=0.02)


def test_a_micrograph_that_is_listed_no_more_leaves_no_file(project: Path) -> None:
    """When a micrograph's picks are gone, its file of the run before goes too; the sets stay."""
    words = ("--o", "External/job005/", "--in_mics", CTF, "--particle_diameter", 85)
    words += ("--in_coords", "AutoPick/job004/autopick.star")
    assert relion_micscreen(project, *words).returncode == 0
    out = project / "External/job005"
    assert len(list(out.glob("Movies/*_micscreen.star"))) == 3
    (project / "AutoPick/job004/Movies/mic_1_autopick.star").unlink()
    assert relion_micscreen(project, *words).returncode == 0
    left = sorted(path.name for path in out.glob("Movies/*_micscreen.star"))
    assert left == ["mic_0_micscreen.star", "mic_2_micscreen.star"]
    assert (out / "coords_suffix_micscreen.star").exists()


def test_other_values_need_another_job(project: Path) -> None:
    """Continued with another threshold it fails, says which value was before, and what to do."""
    words = ("--o", "External/job005/", "--in_mics", CTF, "--particle_diameter", 85)
    words += ("--in_coords", "AutoPick/job004/autopick.star")
    assert relion_micscreen(project, *words).returncode == 0
    done = relion_micscreen(project, *words, "--threshold", 0.9)
    assert done.returncode == 1
    assert exits(project / "External/job005") == {"EXIT_FAILURE"}
    assert "--threshold: was 0.8, is now 0.9" in done.stderr
    assert "new job in RELION" in done.stderr


def test_an_output_that_cannot_be_written_is_a_failed_job(project: Path) -> None:
    """A folder where a file should go ends with EXIT_FAILURE, for which RELION waits."""
    (project / "External/job005/RELION_OUTPUT_NODES.star").mkdir(parents=True)
    done = relion_micscreen(
        project, "--o", "External/job005/", "--in_mics", CTF, "--particle_diameter", 85,
        "--in_coords", "AutoPick/job004/autopick.star",
    )  # fmt: skip
    assert done.returncode == 1
    assert exits(project / "External/job005") == {"EXIT_FAILURE"}
    assert "RELION_OUTPUT_NODES.star" in done.stderr


@needs_relion
def test_relion_extracts_from_our_coordinates(project: Path) -> None:
    """RELION picks by LoG, we screen, RELION extracts from our files by our table: its particles
    are the kept picks, in number and place, with the optics of the micrographs.
    """
    shutil.rmtree(project / "AutoPick")
    (project / "AutoPick/job004").mkdir(parents=True)
    run_relion(
        project, "relion_autopick", "--i", CTF, "--odir", "AutoPick/job004/", "--pickname",
        "autopick", "--LoG", "--LoG_diam_min", 70, "--LoG_diam_max", 120, "--shrink", 0,
        "--lowpass", 20, "--LoG_adjust_threshold", 0,
    )  # fmt: skip
    (project / "AutoPick/job004/coords_suffix_autopick.star").write_text(f"{CTF}\n")
    done = relion_micscreen(
        project, "--o", "External/job005/", "--in_mics", CTF, "--particle_diameter", 85,
        "--in_coords", "AutoPick/job004/coords_suffix_autopick.star",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run_relion(
        project, "relion_preprocess", "--i", "External/job005/micrographs.star", "--coord_dir",
        "External/job005/", "--coord_suffix", "_micscreen.star", "--part_star",
        "Extract/job006/particles.star", "--part_dir", "Extract/job006/", "--extract",
        "--extract_size", 64, "--bg_radius", 24, "--norm",
    )  # fmt: skip
    particles = starfile.read(project / "Extract/job006/particles.star")
    assert float(particles["optics"]["rlnImagePixelSize"].iloc[0]) == 2.0
    rows = particles["particles"]
    kept = picks_of(project, Path("External/job005/micscreen.star"))
    assert len(rows) == sum(map(len, kept.values())) > 50
    for micrograph, places in kept.items():
        own = rows[rows["rlnMicrographName"] == micrograph]
        assert set(zip(own["rlnCoordinateX"], own["rlnCoordinateY"], strict=True)) == places
    # and once more from RELION's own particles
    again = relion_micscreen(
        project, "--o", "External/job007/", "--in_parts", "Extract/job006/particles.star",
        "--threshold", 0.9,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    stricter = starfile.read(project / "External/job007/particles.star")["particles"]
    assert set(stricter["rlnImageName"]) <= set(rows["rlnImageName"])


@needs_relion
def test_relion_reads_every_star_file_of_ours(project: Path) -> None:
    """relion_star_printtable prints each table that we write, with as many rows as it has."""
    done = relion_micscreen(
        project, "--o", "External/job005/", "--in_mics", CTF, "--particle_diameter", 85,
        "--in_coords", "AutoPick/job004/autopick.star", "--max_contamination", 1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    out = Path("External/job005")
    tables = {
        out / "micscreen.star": ("coordinate_files", "_rlnMicrographName", 3),
        out / "micrographs.star": ("micrographs", "_rlnDefocusU", 3),
        out / "micrographs_selected.star": ("micrographs", "_rlnDefocusU", 3),
        out / "RELION_OUTPUT_NODES.star": ("output_nodes", "_rlnPipeLineNodeName", 3),
        out / "micscreen" / "micrographs.star": ("micrographs", "_rlnMicrographName", 3),
    }
    for i in range(3):
        path = out / f"Movies/mic_{i}_micscreen.star"
        count = len(read_picks(project / path).x)
        tables[path] = ("", "_rlnCoordinateX", count)
    for path, (block, tag, count) in tables.items():
        said = run_relion(project, "relion_star_printtable", path, f"data_{block}", tag)
        rows = [line for line in said.splitlines() if line.strip() and "WARNING" not in line]
        assert len(rows) == count, (path, said)


@pytest.mark.parametrize("when", [b"finding", b"done before", b"writing"])
def test_a_signal_is_an_abort(project: Path, when: bytes) -> None:
    """SIGTERM, as a queue sends it, before, in or after the loop, ends the job with EXIT_ABORTED or
    lets it end well; never without a word to RELION.
    """
    words = ("--o", "External/job005/", "--in_mics", CTF, "--particle_diameter", 85)
    words += ("--in_coords", "AutoPick/job004/autopick.star")
    process = subprocess.Popen([*COMMAND, *map(str, words)], cwd=project, stdout=subprocess.PIPE)
    assert process.stdout is not None
    for line in process.stdout:
        if when in line:
            break
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert exits(project / "External/job005") in ({"EXIT_ABORTED"}, {"EXIT_SUCCESS"})


@needs_relion
def test_relion_runs_it_as_a_job_and_files_its_outputs(project: Path) -> None:
    """RELION's own pipeliner builds the command from a job.star, starts it, sees that it succeeded,
    and puts its outputs into the project's graph.
    """
    (project / "default_pipeline.star").write_text(
        "\n# version 30001\n\ndata_pipeline_general\n\n_rlnPipeLineJobCounter 1\n"
    )
    (project / "external.star").write_text(
        "\n# version 30001\n\ndata_job\n\n_rlnJobType 99\n_rlnJobIsContinue 0\n\n"
        "# version 30001\n\ndata_joboptions_values\n\nloop_\n_rlnJobOptionVariable #1\n"
        f'_rlnJobOptionValue #2\nfn_exe "{" ".join(COMMAND)}"\nin_mic {CTF}\n'
        "in_coords AutoPick/job004/coords_suffix_autopick.star\n"
        "param1_label particle_diameter\nparam1_value 85\nnr_threads 1\ndo_queue No\n"
    )
    run_relion(project, "relion_pipeliner", "--addJobFromStar", "external.star")
    run_relion(
        project, "relion_pipeliner", "--schedule", "once", "--RunJobs", "External/job001/",
        "--sec_wait_after", 1,
    )  # fmt: skip
    assert exits(project / "External/job001") == {"EXIT_SUCCESS"}
    pipeline = project / "default_pipeline.star"
    assert column(pipeline, "pipeline_processes", "_rlnPipeLineProcessStatus") == ["2"]
    edges = column(pipeline, "pipeline_output_edges", "_rlnPipeLineEdgeToNode")
    assert edges == ["External/job001/micscreen.star", "External/job001/micrographs.star"]


def test_the_example_scheme_is_complete() -> None:
    """Every node of the scheme's edges is an operator or a job with its job.star, every variable
    is defined, the loop closes, and the job's labels are those of the command.
    """
    folder = Path(__file__).parents[1] / "docs/relion/Schemes/micscreen"
    scheme = folder / "scheme.star"
    jobs = column(scheme, "scheme_jobs", "_rlnSchemeJobName")
    operators = column(scheme, "scheme_operators", "_rlnSchemeOperatorName")
    starts = column(scheme, "scheme_edges", "_rlnSchemeEdgeInputNodeName")
    ends = column(scheme, "scheme_edges", "_rlnSchemeEdgeOutputNodeName")
    assert set(starts) == set(ends) == {*jobs, *operators}
    variables = column(scheme, "scheme_floats", "_rlnSchemeFloatVariableName")
    assert set(column(scheme, "scheme_operators", "_rlnSchemeOperatorInput1")) == set(variables)
    (job,) = jobs
    names = column(folder / job / "job.star", "joboptions_values", "_rlnJobOptionVariable")
    values = column(folder / job / "job.star", "joboptions_values", "_rlnJobOptionValue")
    said = dict(zip(names, values, strict=True))
    labels = {value for name, value in said.items() if name.endswith("_label")} - {'""'}
    assert labels <= set(PARAMS)
    assert said["fn_exe"] == "relion_micscreen"
