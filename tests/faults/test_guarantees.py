"""The page of guarantees names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

HOME = Path(__file__).parents[2]


def test_every_guarantee_names_tests_that_exist() -> None:
    """Each row of the tables in docs/guarantees.md has a test, by file and name."""
    text = (HOME / "docs/guarantees.md").read_text()
    rows = [
        line
        for line in text.splitlines()
        if line.startswith("| ") and not line.endswith("shown by |")
    ]
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row)
        assert named, row
        for file, name in named:
            assert re.search(rf"^def {name}\(", (HOME / file).read_text(), re.MULTILINE), name
