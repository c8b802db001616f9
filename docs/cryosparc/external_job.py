"""Screen particles inside a cryoSPARC project, as an External Job of cryosparc-tools.

    pip install micscreen cryosparc-tools
    python external_job.py P3 W1 --exposures J5:exposures_accepted --particles J12:particles \
        --box-size 256 --threshold 0.8

Run it where the project's folder can be read. Address and login come from the environment, as
cryosparc-tools documents: CRYOSPARC_BASE_URL, CRYOSPARC_EMAIL, CRYOSPARC_PASSWORD.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from micscreen.run.pipeline import screen
from micscreen.run.settings import InputSettings, OutputSettings, ScreenSettings


def screened(
    folder: Path, box_size: float, threshold: float
) -> tuple[NDArray[np.uint64], dict[int, float], str]:
    """Screen ``exposures.cs`` and ``particles.cs`` in a folder below the project.

    Parameters
    ----------
    folder
        Gets the job ``screened``; run again, it goes on.
    box_size
        px of the micrographs.
    threshold
        Particles with goodness >= threshold are kept.

    Returns
    -------
    uids of the particles that are kept; goodness by uid of all that were judged; a sentence.
    """
    outcome = screen(
        ScreenSettings(
            inputs=InputSettings(
                micrographs=(str(folder / "exposures.cs"),),
                coordinates=(str(folder / "particles.cs"),),
                box_size=box_size,
            ),
            output=folder / "screened",
            outputs=OutputSettings(threshold=threshold),
        )
    )
    goodness: dict[int, float] = {}
    kept = np.empty(0, np.uint64)
    for one in outcome.export.folders if outcome.export else ():
        path = one / "particles.cs"
        if one.name.endswith("_unscreened") or not path.is_file():
            continue
        rows = np.load(path)
        goodness |= dict(
            zip(rows["uid"].tolist(), rows["micscreen/goodness"].tolist(), strict=True)
        )
        if not one.name.endswith("_rejected"):
            kept = rows["uid"]
    told = f"{outcome.done} of {outcome.micrographs} micrographs screened, {len(kept)} picks kept"
    told += "".join(f"\nfailed: {name}: {reason}" for name, reason in outcome.failed)
    return kept, goodness, told


def main() -> None:
    """Connect, read the inputs, screen, save accepted and rejected particles."""
    from cryosparc.tools import CryoSPARC

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project")
    parser.add_argument("workspace")
    parser.add_argument("--exposures", required=True, metavar="JOB:OUTPUT")
    parser.add_argument("--particles", required=True, metavar="JOB:OUTPUT")
    parser.add_argument("--box-size", type=float, required=True, metavar="PX")
    parser.add_argument("--threshold", type=float, default=0.8)
    asked = parser.parse_args()

    server = CryoSPARC(
        os.environ["CRYOSPARC_BASE_URL"],
        email=os.environ["CRYOSPARC_EMAIL"],
        password=os.environ["CRYOSPARC_PASSWORD"],
    )
    project = server.find_project(asked.project)
    job = project.create_external_job(asked.workspace, title="micscreen")
    job.add_input("exposure", name="exposures", min=1, slots=["micrograph_blob"])
    job.add_input("particle", name="particles", min=1, slots=["location"])
    job.connect("exposures", *asked.exposures.split(":"))
    job.connect("particles", *asked.particles.split(":"))
    for name in ("accepted", "rejected"):
        job.add_output("particle", name=name, passthrough="particles", title=name.title())
    with job.run():
        exposures, particles = job.load_input("exposures"), job.load_input("particles")
        folder = Path(project.dir) / job.uid / "micscreen"
        folder.mkdir(exist_ok=True)
        exposures.save(folder / "exposures.cs")
        particles.save(folder / "particles.cs")
        kept, goodness, told = screened(folder, asked.box_size, asked.threshold)
        job.log(told)
        judged = np.isin(particles["uid"], list(goodness))
        accepted = np.isin(particles["uid"], kept)
        job.save_output("accepted", particles.mask(accepted))
        job.save_output("rejected", particles.mask(judged & ~accepted))


if __name__ == "__main__":
    main()
