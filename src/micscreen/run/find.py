"""Files that the user named: expanded, in natural order, each once, with unique short names."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from micscreen.io import MICROGRAPH_SUFFIXES, micrograph_stem
from micscreen.io.exposures import exposure_paths
from micscreen.io.star_names import micrograph_names

NAMES_SHOWN: Final = 8

EXPOSURES: Final = (".cs", ".csg")
"""Endings of cryoSPARC's tables."""

SUFFIX_FILE: Final = "coords_suffix_"
"""Start of the name of RELION 3.1's file that says how the names of its coordinates end; it lies
beside them and holds none."""


def find_micrographs(patterns: Sequence[str], problems: list[str]) -> list[Path]:
    """Expand files, folders and glob patterns to micrographs, in natural order, each once.

    A file that is reached by two links of the same name is one micrograph; links of other names
    are micrographs of their own, since their picks may differ.

    Parameters
    ----------
    patterns
        A folder stands for the micrographs directly in it, hidden files not among them; a STAR
        file for the micrographs that it names.
    problems
        Gets a sentence for each pattern that gives nothing.
    """
    if not patterns:
        problems.append("no micrographs were given")
    found: dict[tuple[str, str], Path] = {}
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            inside = [p for p in path.iterdir() if not p.name.startswith(".") and p.is_file()]
            several = [p for p in inside if _is_micrograph(p)]
        elif path.suffix.lower() == ".star" and path.is_file():
            several = list(micrograph_names(path))
        elif path.suffix.lower() in EXPOSURES and path.is_file():
            several = list(exposure_paths(path))
        elif path.exists():
            several = [path]
            if not _is_micrograph(path):
                problems.append(f"{path}: not a micrograph by its name ({_suffixes()})")
        else:
            several = [p for p in _expand(pattern) if p.is_file() and _is_micrograph(p)]
        if not several:
            problems.append(f"{pattern}: no micrographs there ({_suffixes()})")
        for one in several:
            found.setdefault((os.path.realpath(one), one.name), one)
    return sorted(found.values(), key=natural_key)


def natural_key(path: Path) -> tuple[list[str | int], str]:
    """Return what sorts `mic_2` before `mic_10`."""
    text = str(path)
    parts = re.split(r"([0-9]+)", text)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], text


def printable(text: str) -> str:
    """Return a name as it can be printed: bytes that are no text, and line ends, as hex codes."""
    plain = os.fsencode(text).decode("utf-8", "backslashreplace")
    return "".join(f"\\x{ord(c):02x}" if ord(c) < 32 or ord(c) == 127 else c for c in plain)


def listing(names: Iterable[str], shown: int = NAMES_SHOWN) -> str:
    """Return names as one line; of many only the first."""
    every = [printable(name) for name in names]
    rest = len(every) - shown
    return ", ".join(every[:shown]) + (f", and {rest} more" if rest > 0 else "")


def unique_names(paths: Sequence[str | Path]) -> list[str]:
    """Return the stem of each file, with as many of its folders as make it unique."""
    names = [micrograph_stem(path) for path in paths]
    for depth in range(1, max((len(Path(path).parts) for path in paths), default=1)):
        counts = Counter(names)
        if len(counts) == len(names):
            break
        for i, path in enumerate(paths):
            if counts[names[i]] > 1:
                folders = Path(path).absolute().parent.parts[-depth:]
                names[i] = "_".join([*(part.strip("/") for part in folders), micrograph_stem(path)])
    seen: Counter[str] = Counter()
    for i, name in enumerate(names):
        seen[name] += 1
        if seen[name] > 1:
            names[i] = f"{name}_{seen[name]}"
    return names


def find_coordinates(patterns: Sequence[str], problems: list[str]) -> list[Path]:
    """Expand glob patterns; files and folders go on as they are.

    Parameters
    ----------
    patterns
        What the user named.
    problems
        Gets a sentence for each pattern that gives nothing.
    """
    found: list[Path] = []
    for pattern in patterns:
        if Path(pattern).exists():
            found.append(Path(pattern))
            continue
        several = [p for p in _expand(pattern) if not p.name.startswith(SUFFIX_FILE)]
        if not several:
            problems.append(f"{pattern}: no coordinates there")
        found.extend(several)
    if not patterns:
        problems.append("no coordinates were given")
    return list({path.resolve(): path for path in found}.values())


def _is_micrograph(path: Path) -> bool:
    return path.name.lower().endswith(MICROGRAPH_SUFFIXES)


def _suffixes() -> str:
    return "known are " + " ".join(MICROGRAPH_SUFFIXES)


def _expand(pattern: str) -> list[Path]:
    """Return what a glob pattern matches, in natural order."""
    # Path.glob takes no absolute patterns.
    return sorted(map(Path, glob.glob(pattern, recursive=True)), key=natural_key)  # noqa: PTH207
