"""How long a million picks take at another threshold, next to what must be done anyway.

The job is made by the main job itself with the fake network on small micrographs: 500 micrographs
with 2,000 picks each in one RELION particles.star of 25 columns.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import mrcfile
import numpy as np

from common import write_table
from micscreen import InputSettings, OutputSettings, ScreenSettings, screen
from micscreen.model.backend import FakeBackend
from micscreen.run.export import rethreshold

COLUMNS = (
    *("MicrographName", "CoordinateX", "CoordinateY", "AutopickFigureOfMerit", "ClassNumber"),
    *("AnglePsi", "ImageName", "DefocusU", "DefocusV", "DefocusAngle", "CtfBfactor"),
    *("CtfScalefactor", "PhaseShift", "OpticsGroup", "CtfMaxResolution", "CtfFigureOfMerit"),
    *("AngleRot", "AngleTilt", "OriginXAngst", "OriginYAngst", "GroupNumber", "NormCorrection"),
    *("LogLikeliContribution", "MaxValueProbDistribution", "NrOfSignificantSamples"),
)


def write_particles(path: Path, names: list[str], each: int, side: int) -> None:
    """Write a particles.star with optics."""
    lines = ["", "# version 30001", "", "data_optics", "", "loop_", "_rlnOpticsGroup #1"]
    lines += ["_rlnMicrographOriginalPixelSize #2", "1 1.10", "", "", "# version 30001", ""]
    lines += ["data_particles", "", "loop_"]
    lines += [f"_rln{name} #{i}" for i, name in enumerate(COLUMNS, 1)]
    rest = " 0.123456 1 12.345678 000001@Extract/job010/a.mrcs 10123.4 10011.2 45.1 0.0 1.0 0.0 1 "
    rest += "3.52 0.104 1.0 2.0 0.5 -0.5 1 0.9 1.2e+05 0.7 12"
    with path.open("w") as file:
        file.write("\n".join(lines) + "\n")
        for i, name in enumerate(names):
            xy = np.random.default_rng(i).uniform(1, side - 1, (each, 2))
            file.writelines(f"Mics/{name}.mrc {x:.6f} {y:.6f}{rest}\n" for x, y in xy)


def one_each(star: Path, folder: Path) -> None:
    """Write the same picks as one STAR file per micrograph."""
    lines = [line.split() for line in star.read_text().splitlines() if line.startswith("Mics/")]
    head = "\n# version 30001\n\ndata_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n"
    folder.mkdir()
    rows: dict[str, list[str]] = {}
    for name, x, y, *_ in lines:
        rows.setdefault(Path(name).stem, []).append(f"{x} {y}\n")
    for name, own in rows.items():
        (folder / f"{name}_autopick.star").write_text(head + "".join(own))


def times(job: Path, mics: Path, picks: Path) -> list[str]:
    """Screen with the fake network, then write sets at other thresholds; return table rows."""
    inputs = InputSettings((str(mics),), (str(picks),), box_size=64)
    settings = ScreenSettings(inputs, job, outputs=OutputSettings(threshold=0.8, thumbnails=0))
    screen(settings, backend=FakeBackend())
    rows = []
    for threshold in (0.9, 0.5, -1):
        start = time.perf_counter()
        report = rethreshold(job, threshold)
        seconds = time.perf_counter() - start
        rows.append(
            f"| {picks.name} | {threshold:g} | {seconds:.2f} | {report.kept:,} | "
            f"{report.rejected:,} |"
        )
    return rows


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--micrographs", type=int, default=500)
    parser.add_argument("--picks", type=int, default=2000, help="per micrograph")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        folder, side = Path(work), 1024
        names = [f"mic_{i:05d}" for i in range(asked.micrographs)]
        (folder / "Mics").mkdir()
        for i, name in enumerate(names):
            image = np.random.default_rng(i).normal(100, 3, (side, side)).astype(np.int8)
            image[: side // 3] -= 20
            with mrcfile.new(folder / "Mics" / f"{name}.mrc") as file:
                file.set_data(image)
        star, each = folder / "particles.star", folder / "autopick"
        write_particles(star, names, asked.picks, side)
        one_each(star, each)
        start = time.perf_counter()
        data = star.read_bytes()
        (folder / "copy.dat").write_bytes(data)
        floor = time.perf_counter() - start
        lines = [
            f"{asked.micrographs * asked.picks:,} picks of {asked.micrographs} micrographs: in one "
            f"particles.star of {len(COLUMNS)} columns, {len(data) / 2**20:.0f} MiB (reading and "
            f"writing it once takes {floor:.2f} s), and in `autopick`, a folder with one STAR file "
            "per micrograph.",
            "",
            "| coordinates | threshold | seconds | kept | rejected |",
            "|---|---|---|---|---|",
            *times(folder / "job_one", folder / "Mics", star),
            *times(folder / "job_each", folder / "Mics", each),
        ]
    write_table("rethreshold", "Another threshold on a million picks", lines)


if __name__ == "__main__":
    main()
