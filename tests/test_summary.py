"""What stands on the terminal at the end of a run."""

from __future__ import annotations

import json
import re
from pathlib import Path

from click.testing import CliRunner

from micscreen.cli import cli


def test_histogram_and_table_stand_at_the_end_unless_silence_is_asked(
    small_set, tmp_path: Path
) -> None:
    """`screen` ends with table and histogram; --quiet leaves them out, --json prints objects."""
    words = ["screen", small_set.micrographs, "-c", small_set.picks, "-o", tmp_path / "job"]
    words += ["--box-size", 64, "--thumbnails", 0]
    texts = {}
    for option in ([], ["--quiet"], ["--json"]):
        done = CliRunner().invoke(cli, [str(word) for word in [*words, *option]])
        assert done.exit_code == 0, done.output
        texts["".join(option)] = done.stdout
    normal = texts[""].splitlines()
    bars = [line for line in normal if "█" in line or "▏" in line]
    assert bars
    assert sum("<- threshold 0.8" in line for line in normal) == 1
    bins = [line for line in normal if re.match(r"  \d\.\d\d-\d\.\d\d ", line)]
    counts = [int(line.split("<")[0].split()[-1].replace(",", "")) for line in bins]
    assert len(counts) == 20
    assert sum(counts) == small_set.rows
    table = {line.split("  ")[0].strip() for line in normal}
    assert {"micrographs", "picks in"} <= table
    assert "<- threshold" not in texts["--quiet"]
    assert "picks in" not in texts["--quiet"]
    assert [json.loads(line) for line in texts["--json"].splitlines()][-1]["event"] == "end"
