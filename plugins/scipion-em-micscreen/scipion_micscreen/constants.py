# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that the parts of the plugin share."""

ENV_ACTIVATION = "MICSCREEN_ENV_ACTIVATION"
PIP_REQUIREMENT = "MICSCREEN_PIP_REQUIREMENT"

VERSION = "0.1"
"""Of the environment that `scipion installb micscreen` makes."""

SAME, OTHER = 0, 1
"""Values of micsSource, and of useOtherScale (same as coordinates, scale to micrographs)."""

THUMBNAILS = 50
"""At most so many in a whole run."""

SCORE = "_goodRegionScore"
XMIPP_SCORE = "_xmipp_goodRegionScore"
"""Attributes of every coordinate in an output; the second is where Xmipp's tools look."""

BAD_CLASSES = (
    "good",
    "support_film",
    "ice_contamination",
    "crystalline_ice",
    "aggregate",
    "damaged",
)
"""What micscreen's class_index means."""

REASONS = ("good", "bad_region", "outside_frame", "no_image")
"""What micscreen's reason means."""
