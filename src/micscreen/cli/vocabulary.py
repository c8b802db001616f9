"""Words that several commands use; a test holds them to the tables of the code."""

from __future__ import annotations

from typing import Final

COORDINATE_FORMATS: Final = (
    "relion",
    "relion_list",
    "relion_particles",
    "cryosparc_cs",
    "cryosparc_csg",
    "eman_box",
    "eman_json",
    "cryolo_cbox",
    "xmipp_pos",
    "topaz",
    "csv",
    "tsv",
    "txt",
)
"""The keys of `micscreen.io.FORMATS`, here so that `--help` need not load the formats."""

SIMULATED_KINDS: Final = (
    "mixed",
    "clean",
    "empty",
    "dense",
    "film",
    "ice",
    "discs",
    "beads",
    "fibres",
    "crystalline",
    "aggregate",
    "clumps",
    "network",
    "vacuum",
    "crack",
    "beam",
    "drifted",
)
"""The keys of `micscreen.simulate.KINDS`, likewise."""

MASK_FORMATS: Final = ("tif", "mrc", "png", "npy")

THRESHOLD_HELP: Final = (
    "Keep picks with goodness >= threshold, 0 to 1; 0.75 to 0.9 is recommended, higher rejects "
    "more; -1 keeps all and only scores."
)
