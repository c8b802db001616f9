"""The documents say what the code does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click import Context, Group

from micscreen.cli import COMMANDS, cli
from micscreen.cli.reference import command_reference
from micscreen.cli.vocabulary import COORDINATE_FORMATS
from micscreen.io import FORMATS
from micscreen.picks import CLASS_NAMES

PROJECT = Path(__file__).parents[1]
PAGES = sorted([PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md")])


def test_the_command_reference_is_current() -> None:
    """docs/commands.md is what `sh scripts/docs` writes today, so every option stands in it."""
    assert (PROJECT / "docs" / "commands.md").read_text() == command_reference()


def test_every_command_says_what_it_does() -> None:
    """Each command and each of its options has a help text."""
    context = Context(cli, info_name="micscreen")
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        assert command.help
        inside = command.commands.values() if isinstance(command, Group) else ()
        for parameter in (p for each in (command, *inside) for p in each.params):
            if parameter.param_type_name == "option":
                assert getattr(parameter, "help", None), f"{name} {parameter.name}"


def test_the_words_of_the_command_line_are_those_of_the_tables() -> None:
    """The formats offered by `--help` are exactly the rows of the table of formats."""
    assert set(COORDINATE_FORMATS) == set(FORMATS)


def test_every_format_and_class_is_documented() -> None:
    """Each coordinate format stands in docs/formats-coordinates.md, each class in docs/words.md."""
    text = (PROJECT / "docs" / "formats-coordinates.md").read_text()
    assert [name for name in FORMATS if f"`{name}`" not in text] == []
    words = (PROJECT / "docs" / "words.md").read_text()
    assert [name for name in CLASS_NAMES if name not in words] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(PROJECT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Each relative link and picture of a page exists."""
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(PROJECT)))
def test_options_named_in_the_pages_exist(page: Path) -> None:
    """An option that a page shows on a `micscreen COMMAND` line is one of that command."""
    context = Context(cli, info_name="micscreen")
    for name, rest in re.findall(r"^micscreen (\w+)(.*)$", page.read_text(), flags=re.MULTILINE):
        command = cli.get_command(context, name)
        assert command is not None, name
        if isinstance(command, Group):
            inner, *_ = rest.split()
            assert inner in command.commands, f"{name} {inner}"
            command = command.commands[inner]
        known = {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
        assert set(re.findall(r"(?<=\s)--?[a-z][A-Za-z-]*", rest)) <= known


def test_the_example_in_the_readme_runs(tmp_path: Path) -> None:
    """The Python example of the README runs as it stands, on a demo micrograph."""
    blocks = re.findall(r"```python\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 1
    make = (
        "from pathlib import Path\n"
        "from micscreen.io import write_picks\nfrom micscreen.simulate import simulate_micrograph\n"
        "from micscreen import Picks\nimport mrcfile\n"
        "scene = simulate_micrograph('film', (1024, 1024), 64.0, 2.0, 3)\n"
        "mrcfile.write('mic_001.mrc', scene.image, voxel_size=2.0)\n"
        "write_picks(Path('mic_001_autopick.star'), Picks(scene.x, scene.y), format='relion')\n"
    )
    script = tmp_path / "example.py"
    script.write_text(make + blocks[0])
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d+ of \d+ picks", done.stdout)
    assert (tmp_path / "mic_001_clean.star").exists()
