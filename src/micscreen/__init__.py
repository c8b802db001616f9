"""micscreen: screens picked cryo-EM particle coordinates.

A network predicts, per micrograph, which pixels are bad; every pick gets a goodness in [0, 1] by
what lies in and near its box; the picks that survive are handed back in the format they came in.
"""

from __future__ import annotations

__version__ = "0.1.0"
