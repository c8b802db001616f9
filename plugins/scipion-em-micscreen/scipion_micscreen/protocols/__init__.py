# SPDX-License-Identifier: GPL-3.0-or-later
from .protocol_deep_micrograph_screen import MicscreenProtDeepMicrographScreen

__all__ = ["MicscreenProtDeepMicrographScreen"]
