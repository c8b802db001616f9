"""`micscreen formats`: what can be read and written."""

from __future__ import annotations

import click


@click.command("formats")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(as_json: bool) -> int:
    """List the coordinate and micrograph formats."""
    import json

    from micscreen.io import FORMATS, MICROGRAPH_SUFFIXES

    rows = [
        {
            "name": row.name,
            "extensions": list(row.extensions),
            "anchor": row.anchor,
            "y": row.y_rule,
            "many_micrographs": row.many,
            "goodness": row.goodness_column,
            "can_convert_to": row.write_new is not None,
            "description": row.description,
        }
        for row in FORMATS.values()
    ]
    if as_json:
        click.echo(json.dumps({"coordinates": rows, "micrographs": list(MICROGRAPH_SUFFIXES)}))
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "files", "x, y are the", "goodness", "what it is", box=None)
    for row in FORMATS.values():
        table.add_row(
            row.name,
            " ".join(row.extensions),
            row.anchor,
            row.goodness_column or "-",
            row.description,
        )
    console = Console()
    console.print(table)
    console.print("micrographs: " + " ".join(MICROGRAPH_SUFFIXES))
    return 0
