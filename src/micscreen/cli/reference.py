"""The command reference, written from the commands themselves (`sh scripts/docs`)."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from micscreen.cli import COMMANDS, cli
from micscreen.io.files import write_whole


def command_reference() -> str:
    """Return the command reference as Markdown."""
    parts = [
        "# Commands",
        "",
        "Written by `sh scripts/docs` from the code; do not edit.",
        "",
        "Exit codes: 0 done (also when no pick is left), 2 the run could not begin (usage, files, "
        "names, device), 3 some micrographs failed (they are listed), 130 interrupted.",
    ]
    context = click.Context(cli, info_name="micscreen", **cli.context_settings)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        own = click.Context(command, context, name)
        if not isinstance(command, click.Group):
            parts += ["", *_section(command, own)]
            continue
        for inner, sub in command.commands.items():
            parts += ["", *_section(sub, click.Context(sub, own, f"{name} {inner}"))]
    return "\n".join(parts) + "\n"


def _section(command: click.Command, context: click.Context) -> list[str]:
    """Return one command's part: usage, what it does, its options as a table."""
    paragraphs = [" ".join(p.split()) for p in (command.help or "").split("\n\n")]
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [f"## micscreen {context.info_name}", "", f"`micscreen {context.info_name} {usage}`"]
    for paragraph in paragraphs:
        lines += ["", paragraph]
    parameters = command.get_params(context)
    rows = [p.get_help_record(context) for p in parameters if isinstance(p, click.Option)]
    lines += ["", "| option | meaning |", "|---|---|"]
    for names, meaning in (row for row in rows if row is not None):
        cells = [" ".join(text.split()).replace("|", "\\|") for text in (f"`{names}`", meaning)]
        lines.append(f"| {cells[0]} | {cells[1]} |")
    return lines


if __name__ == "__main__":
    write_whole(Path(sys.argv[1]), command_reference().encode())
