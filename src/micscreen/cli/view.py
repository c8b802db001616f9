"""`micscreen view`: look at a job in the browser, and decide."""

from __future__ import annotations

from pathlib import Path

import click

from micscreen.errors import MissingDependencyError


@click.command("view")
@click.argument("job", type=click.Path(path_type=Path))
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, show_default=True, metavar="N",
    help="On this machine; 0 takes a free one.",
)  # fmt: skip
@click.option("--no-browser", is_flag=True, help="Print the address, open nothing.")
def command(job: Path, port: int, no_browser: bool) -> int:
    """Look at JOB in the browser: move the threshold, see micrographs, correct, write a set.

    The page is served to this machine only and loads nothing from outside. On another machine, open
    an SSH tunnel to its port. JOB may still be running. It needs the extra `view`.
    """
    try:
        from micscreen.view.server import serve
    except ImportError as error:
        raise MissingDependencyError(
            f"the view needs {error.name}", hint="pip install 'micscreen[view]'"
        ) from error

    def said(address: str, port: int) -> None:
        click.echo(f"Open {address}")
        click.echo(f"From another machine: ssh -L {port}:127.0.0.1:{port} HOST, then the same.")
        click.echo("Stop with Ctrl-C.")

    serve(job, port, said, open_browser=not no_browser)
    return 0
