"""One HTML file that a colleague can open: no script, and nothing that comes from outside."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

STYLE: Final = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 15px/1.45 system-ui, "DejaVu Sans", sans-serif; color: #1d2430; background: #fff;
  margin: 0 auto; padding: 1.5rem; max-width: 1180px; }
h1 { font-size: 1.6rem; margin: 0 0 .2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid #ccd3dc;
  padding-bottom: .2rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
p { margin: .4rem 0; max-width: 78ch; }
.quiet { color: #4d5866; }
.numbers { display: grid; gap: .6rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); }
.numbers div { border: 1px solid #ccd3dc; border-radius: 6px; padding: .5rem .7rem; }
.numbers b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
.numbers span { color: #4d5866; font-size: .85rem; }
.side { display: grid; gap: 1.2rem; grid-template-columns: repeat(auto-fit, minmax(25rem, 1fr)); }
.pictures { display: grid; gap: 1rem; margin-top: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(21rem, 1fr)); }
figure { margin: 0; break-inside: avoid; }
figure img, figure svg { width: 100%; height: auto; display: block; }
figcaption { font-size: .85rem; color: #4d5866; overflow-wrap: anywhere; margin-top: .25rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .22rem .8rem .22rem 0; border-bottom: 1px solid #e3e7ec;
  vertical-align: top; overflow-wrap: break-word; }
td:first-child { min-width: 6rem; }
.wide { overflow-x: auto; } .wide svg { min-width: 42rem; }
th { font-weight: 600; }
td.n, th.n { text-align: right; white-space: nowrap; }
tr.now td { background: #eef4fb; font-weight: 600; }
.swatch { display: inline-block; width: .85em; height: .85em; border: 1px solid #555;
  margin-right: .45em; vertical-align: -.08em; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .82rem; background: #f5f7f9;
  padding: .8rem; border-radius: 6px; }
ul { padding-left: 1.2rem; } li { overflow-wrap: anywhere; }
svg text { font: 12px system-ui, "DejaVu Sans", sans-serif; fill: #303a47; }
@media (max-width: 480px) { .side, .pictures { grid-template-columns: 1fr; } }
@media print { body { max-width: none; padding: 0; font-size: 11px; } h2 { break-after: avoid; }
  .pictures { grid-template-columns: repeat(2, 1fr); } tr { break-inside: avoid; } }
"""

POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""What a browser may load for the page: what is in it, and nothing else."""


def escape(text: str) -> str:
    """Return text as it can stand in a page; bytes of names that are no text become marks."""
    return html.escape(text.encode("utf-8", "backslashreplace").decode())


def page(title: str, subtitle: str, parts: Iterable[str]) -> str:
    """Return a whole HTML file.

    Parameters
    ----------
    title, subtitle
        Plain text, for the head of the page.
    parts
        HTML of the sections.
    """
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            "</head>",
            "<body>",
            f"<header><h1>{escape(title)}</h1>",
            f'<p class="quiet">{escape(subtitle)}</p></header>',
            "<main>",
            *parts,
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )


def section(heading: str, *parts: str) -> str:
    """Return a section; empty when there is nothing in it."""
    inside = "\n".join(part for part in parts if part)
    return f"<section><h2>{escape(heading)}</h2>\n{inside}\n</section>" if inside else ""


def paragraph(text: str, *, quiet: bool = False) -> str:
    """Return a paragraph of plain text."""
    return f"<p{' class=quiet' if quiet else ''}>{escape(text)}</p>"


def numbers(entries: Iterable[tuple[str, str]]) -> str:
    """Return large numbers, each with what it is: (number, words)."""
    boxes = (f"<div><b>{escape(n)}</b><span>{escape(words)}</span></div>" for n, words in entries)
    return f'<div class="numbers">{"".join(boxes)}</div>'


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    text: Sequence[int] = (0,),
    marked: int | None = None,
    swatches: Sequence[tuple[int, int, int] | None] = (),
) -> str:
    """Return a table of plain texts; empty without rows.

    Parameters
    ----------
    head
        Words above the columns.
    rows
        One text per column.
    text
        Columns of words; all others hold numbers and stand to the right.
    marked
        Number of a row that stands out.
    swatches
        A colour before the first cell of each row, RGB.
    """
    kinds = ["" if i in text else ' class="n"' for i in range(len(head))]
    lines = []
    for number, row in enumerate(rows):
        colour = swatches[number] if number < len(swatches) else None
        mark = ""
        if colour is not None:
            mark = f'<span class="swatch" style="background:{rgb(colour)}"></span>'
        cells = [f"<td{k}>{escape(value)}</td>" for k, value in zip(kinds, row, strict=True)]
        cells[0] = cells[0].replace(">", f">{mark}", 1)
        now = ' class="now"' if number == marked else ""
        lines.append(f"<tr{now}>{''.join(cells)}</tr>")
    if not lines:
        return ""
    names = "".join(
        f'<th scope="col"{k}>{escape(name)}</th>' for k, name in zip(kinds, head, strict=True)
    )
    body = "\n".join(lines)
    return (
        f'<div class="scroll"><table><thead><tr>{names}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>"
    )


def pairs(entries: Mapping[str, str]) -> str:
    """Return names and values as a table with a name per row."""
    rows = (
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in entries.items()
    )
    return f'<div class="scroll"><table><tbody>{"".join(rows)}</tbody></table></div>'


def bullets(entries: Sequence[str], shown: int, rest: str) -> str:
    """Return a list of plain texts, the first `shown` of them; `rest` says where the others are."""
    if not entries:
        return ""
    lines = [f"<li>{escape(shortened(entry))}</li>" for entry in entries[:shown]]
    if len(entries) > shown:
        lines.append(f"<li>and {len(entries) - shown:,} more: {escape(rest)}</li>")
    return f"<ul>{''.join(lines)}</ul>"


def shortened(text: str, length: int = 400) -> str:
    """Return text without its middle where it is too long for a list."""
    half = (length - 5) // 2
    return text if len(text) <= length else f"{text[:half]} ... {text[-half:]}"


def figure(content: str, caption: str = "") -> str:
    """Return a figure of an <svg> or <img>, with plain text below."""
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{content}{below}</figure>"


def rgb(colour: tuple[int, int, int]) -> str:
    """Return a colour for CSS and SVG."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
