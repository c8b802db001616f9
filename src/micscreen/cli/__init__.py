"""The command line: it translates words into settings, calls one function, and reports.

Exit codes: 0 done (also when no pick is left), 2 the run could not begin (usage, files, names,
device), 3 some micrographs failed (they are listed), 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Final

import click

from micscreen import __version__
from micscreen.errors import MicscreenError

EXIT_DONE: Final = 0
EXIT_USAGE: Final = 2
EXIT_SOME_FAILED: Final = 3
EXIT_INTERRUPTED: Final = 130

COMMANDS: Final = {
    "screen": "Score picks, and write the ones that deserve to go on.",
    "rethreshold": "Write a new set from the stored scores, without the network.",
    "mask": "Predict masks alone, for any picker to use.",
    "show": "Print what a job found.",
    "view": "Look at a job in the browser: move the threshold, correct, write a set.",
    "report": "Write a job as one HTML file to send to a colleague.",
    "formats": "List the coordinate and micrograph formats.",
    "train": "Train on your own labels, from the weights of the package or from nothing.",
    "evaluate": "Measure a network on your own labelled micrographs.",
    "model": "Bring MicrographCleaner's weights: import a Keras model.",
    "compat": "Run MicrographCleaner's command line here: cleanmics.",
    "simulate": "Simulate micrographs with known truth, to measure and to train with.",
    "demo": "Simulate a few micrographs and screen them.",
}


class LazyGroup(click.Group):
    """A group whose commands are imported only when they are called, so that help is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of a day's work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of one command."""
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"micscreen.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list without importing any command."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="micscreen")
def cli() -> None:
    """Screen picked cryo-EM particle coordinates.

    A network finds carbon and gold film, ice contamination, crystalline ice, aggregates and damage
    in micrographs; every pick gets a goodness in [0, 1] by what lies in and near its box; the picks
    that survive are written in the format in which they came. Picks are only ever removed.
    """


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except MicscreenError as error:
        click.secho("Error: ", fg="red", bold=True, nl=False, err=True)
        click.echo(str(error), err=True)
        code = EXIT_USAGE
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted.", err=True)
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); nothing is left to say to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_DONE
    sys.exit(code or EXIT_DONE)
