"""micscreen: screens picked cryo-EM particle coordinates.

A network predicts, per micrograph, which pixels are bad; every pick gets a goodness in [0, 1] by
what lies in and near its box; the picks that survive are handed back in the format they came in.

The public names below are loaded when they are first used, so that ``import micscreen`` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from micscreen.errors import (
    DeviceError,
    JobError,
    JobLockedError,
    JobMismatchError,
    MatchError,
    MicrographError,
    MicrographFormatError,
    MicscreenError,
    MissingDependencyError,
    ModelError,
    PicksError,
    UsageError,
)

if TYPE_CHECKING:
    from micscreen.cleaning import Cleaned, CleanSettings, clean
    from micscreen.io import read_micrograph, read_picks, write_mask, write_picks
    from micscreen.micrograph import Micrograph
    from micscreen.model.backend import open_backend as open_predictor
    from micscreen.picks import CLASS_NAMES, Picks
    from micscreen.run.pipeline import Outcome, screen
    from micscreen.run.settings import (
        ComputeSettings,
        InputSettings,
        OutputSettings,
        ScoreSettings,
        ScreenSettings,
    )
    from micscreen.score import keep

__version__ = "0.1.0"

_HOMES: Final = {
    "CLASS_NAMES": "micscreen.picks",
    "CleanSettings": "micscreen.cleaning",
    "Cleaned": "micscreen.cleaning",
    "ComputeSettings": "micscreen.run.settings",
    "InputSettings": "micscreen.run.settings",
    "Micrograph": "micscreen.micrograph",
    "Outcome": "micscreen.run.pipeline",
    "OutputSettings": "micscreen.run.settings",
    "Picks": "micscreen.picks",
    "ScoreSettings": "micscreen.run.settings",
    "ScreenSettings": "micscreen.run.settings",
    "clean": "micscreen.cleaning",
    "keep": "micscreen.score",
    "open_predictor": "micscreen.model.backend",
    "read_micrograph": "micscreen.io",
    "read_picks": "micscreen.io",
    "screen": "micscreen.run.pipeline",
    "write_mask": "micscreen.io",
    "write_picks": "micscreen.io",
}

__all__ = [
    "CLASS_NAMES",
    "CleanSettings",
    "Cleaned",
    "ComputeSettings",
    "DeviceError",
    "InputSettings",
    "JobError",
    "JobLockedError",
    "JobMismatchError",
    "MatchError",
    "Micrograph",
    "MicrographError",
    "MicrographFormatError",
    "MicscreenError",
    "MissingDependencyError",
    "ModelError",
    "Outcome",
    "OutputSettings",
    "Picks",
    "PicksError",
    "ScoreSettings",
    "ScreenSettings",
    "UsageError",
    "__version__",
    "clean",
    "keep",
    "open_predictor",
    "read_micrograph",
    "read_picks",
    "screen",
    "write_mask",
    "write_picks",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module when it is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'micscreen' has no attribute {name!r}")
    inside = "open_backend" if name == "open_predictor" else name
    value = getattr(importlib.import_module(_HOMES[name]), inside)
    globals()[name] = value
    return value
