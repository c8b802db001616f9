# SPDX-License-Identifier: GPL-3.0-or-later
from .viewer_deep_micrograph_screen import MicscreenViewer

__all__ = ["MicscreenViewer"]
