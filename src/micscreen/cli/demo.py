"""`micscreen demo`: simulated micrographs through the main job."""

from __future__ import annotations

from pathlib import Path

import click

from micscreen.cli.vocabulary import THRESHOLD_HELP


@click.command("demo")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), default=Path("micscreen_demo"),
    show_default=True, help="Folder for micrographs, picks and the job.",
)  # fmt: skip
@click.option("--threshold", "-t", type=float, default=0.8, show_default=True, help=THRESHOLD_HELP)
@click.option("--quiet", "-q", is_flag=True, help="Print only the summary.")
def command(output: Path, threshold: float, quiet: bool) -> int:
    """Simulate micrographs with film, ice, crystals and aggregates, and screen them.

    Their picks have known truth, some of them lie on bad regions; a table shows how many bad picks
    were removed and how many true ones kept.
    """
    from micscreen.cli.progress import screen_with_progress
    from micscreen.demo import demo_scores, demo_settings, make_demo

    made = make_demo(output, lambda text: None if quiet else click.echo(text, err=True))
    settings = demo_settings(output, threshold)
    code = screen_with_progress(settings, "quiet" if quiet else "normal")
    if code:
        return code
    scores = demo_scores(settings.output, made, threshold)
    click.echo(f"\n{'micrograph':<24}{'true picks kept':>18}{'bad picks removed':>20}")
    for one in scores:
        true = f"{one.true_kept} of {one.true_picks}"
        bad = f"{one.bad_removed} of {one.bad_picks}" if one.bad_picks else "-"
        click.echo(f"{one.name:<24}{true:>18}{bad:>20}")
    true_kept, true_picks = sum(o.true_kept for o in scores), sum(o.true_picks for o in scores)
    removed, bad_picks = sum(o.bad_removed for o in scores), sum(o.bad_picks for o in scores)
    click.echo(
        f"\nBad picks removed: {removed} of {bad_picks} ({removed / max(bad_picks, 1):.1%}). "
        f"True picks kept: {true_kept} of {true_picks} ({true_kept / max(true_picks, 1):.1%})."
    )
    click.echo(f"Pictures with masks and picks: {settings.output / 'thumbnails'}")
    click.echo(f"Everything: {output}")
    return 0
