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
        star = folder / "particles.star"
        write_particles(star, names, asked.picks, side)
        job = folder / "job"
        inputs = InputSettings((str(folder / "Mics"),), (str(star),), box_size=64)
        screen(
            ScreenSettings(inputs, job, outputs=OutputSettings(threshold=0.8, thumbnails=0)),
            backend=FakeBackend(),
        )
        start = time.perf_counter()
        data = star.read_bytes()
        (folder / "copy.star").write_bytes(data)
        floor = time.perf_counter() - start
        rows = []
        for threshold in (0.9, 0.5, -1):
            start = time.perf_counter()
            report = rethreshold(job, threshold)
            rows.append((threshold, time.perf_counter() - start, report.kept, report.rejected))
        lines = [
            f"{asked.micrographs * asked.picks:,} picks of {asked.micrographs} micrographs in one "
            f"particles.star, {len(COLUMNS)} columns, {len(data) / 2**20:.0f} MiB. Reading and "
            f"writing the file once takes {floor:.2f} s.",
            "",
            "| threshold | seconds | kept | rejected |",
            "|---|---|---|---|",
            *(f"| {t:g} | {s:.2f} | {k:,} | {r:,} |" for t, s, k, r in rows),
        ]
    write_table("rethreshold", "Another threshold on a million picks", lines)


if __name__ == "__main__":
    main()
