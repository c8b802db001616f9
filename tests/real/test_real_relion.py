"""RELION picks real micrographs (EMPIAR-10017), we screen, and RELION extracts again."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import mrcfile
import numpy as np
import pytest
import starfile

JOB = Path(__file__).parents[3] / "shared" / "data" / "job"
pytestmark = [
    pytest.mark.skipif(not JOB.is_dir(), reason="../shared/data is not here"),
    pytest.mark.skipif(shutil.which("relion_preprocess") is None, reason="no relion"),
]
BINNED = 4
TABLE = """
data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnMicrographPixelSize #3
_rlnVoltage #4
_rlnSphericalAberration #5
_rlnAmplitudeContrast #6
opticsGroup1 1 7.08 300.0 2.0 0.1


data_micrographs

loop_
_rlnMicrographName #1
_rlnOpticsGroup #2
_rlnDefocusU #3
_rlnDefocusV #4
_rlnDefocusAngle #5
"""


def ran(project: Path, *words: object) -> None:
    done = subprocess.run(
        list(map(str, words)), cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_relion_picks_real_micrographs_and_extracts_what_we_keep(tmp_path: Path) -> None:
    """Every LoG pick of RELION is kept or rejected, and RELION extracts just the kept ones."""
    (tmp_path / "Micrographs").mkdir()
    names = []
    for i, path in enumerate(sorted((JOB / "micrographs").glob("*.jpg"))[:2]):
        picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.float32)
        h, w = (side // BINNED for side in picture.shape)
        small = cv2.resize(picture, (w, h), interpolation=cv2.INTER_AREA)
        names.append(f"Micrographs/real_{i}.mrc")
        mrcfile.write(tmp_path / names[-1], small, voxel_size=7.08)
    table = TABLE + "".join(f"{name} 1 20000.0 20000.0 0.0\n" for name in names) + "\n"
    (tmp_path / "mics.star").write_text(table)
    ran(
        tmp_path, "relion_autopick", "--i", "mics.star", "--odir", "AutoPick/job004/", "--pickname",
        "autopick", "--LoG", "--LoG_diam_min", 150, "--LoG_diam_max", 200,
    )  # fmt: skip
    (tmp_path / "AutoPick/job004/coords_suffix_autopick.star").write_text("mics.star\n")
    ran(
        tmp_path, sys.executable, "-m", "micscreen.relion.command", "--o", "External/job005/",
        "--in_mics", "mics.star", "--in_coords", "AutoPick/job004/coords_suffix_autopick.star",
        "--particle_diameter", 180,
    )  # fmt: skip
    (tmp_path / "Extract/job006").mkdir(parents=True)
    ran(
        tmp_path, "relion_preprocess", "--i", "External/job005/micrographs.star", "--coord_dir",
        "External/job005/", "--coord_suffix", "_micscreen.star", "--part_star",
        "Extract/job006/particles.star", "--part_dir", "Extract/job006/", "--extract",
        "--extract_size", 32,
    )  # fmt: skip

    def rows(folder: str, name: str) -> int:
        files = sorted((tmp_path / folder).rglob(name))
        return sum(len(starfile.read(file, always_dict=True)[""]) for file in files)

    picked = rows("AutoPick/job004/Micrographs", "*_autopick.star")
    kept = rows("External/job005/Micrographs", "*_micscreen.star")
    rejected = rows("External/job005/micscreen/picks_auto_080_rejected", "*_autopick.star")
    assert picked > 100
    assert kept + rejected == picked
    assert kept > 0
    extracted = starfile.read(tmp_path / "Extract/job006/particles.star")
    assert len(extracted["particles"]) == kept
    assert float(extracted["optics"]["rlnImagePixelSize"].iloc[0]) == pytest.approx(7.08)
