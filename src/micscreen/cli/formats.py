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
    click.echo("Coordinates (--coordinate-format NAME):")
    for row in FORMATS.values():
        click.echo(f"  {row.name}  ({' '.join(row.extensions)})")
        click.echo(f"      {row.description}")
        kept = f"goodness in {row.goodness_column}" if row.goodness_column else "no goodness"
        click.echo(f"      x, y are the {row.anchor}; {kept}")
    click.echo("Micrographs:\n  " + " ".join(MICROGRAPH_SUFFIXES))
    return 0
