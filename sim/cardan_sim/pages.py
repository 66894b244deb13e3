"""Pages that need nothing else: one style, a frame, tables. Plots are `cardan_sim.replay.plots`."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_STYLE: Final = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1d2330; --soft: #5d6675; --grid: #e3e6eb;
  --s0: #2563c9; --s1: #d9682b; --s2: #2c9a5b; --s3: #9a4fb8; --s4: #b59410; --s5: #c43d5d; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171d; --ink: #e6e9ef; --soft: #9aa4b5;
  --grid: #2b313c; --s0: #6ea0f5; --s1: #f2955f; --s2: #5fcf8f; --s3: #c98be3; --s4: #dcbf4a;
  --s5: #ee7f99; } }
body { background: var(--paper); color: var(--ink); margin: 2rem auto; max-width: 76rem;
  padding: 0 1rem; font: 15px/1.5 system-ui, sans-serif; }
* { box-sizing: border-box; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p.what { color: var(--soft); margin: .2rem 0 1.2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap; }
th, td { padding: .25rem .8rem; border-bottom: 1px solid var(--grid); text-align: right; }
th:first-child, td:first-child { text-align: left; padding-left: 0; white-space: pre; }
ul.notes { color: var(--soft); padding-left: 1.2rem; }
.plots { display: grid; gap: 1.5rem 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(28rem, 100%), 1fr)); }
figure { margin: 0; } figcaption { font-weight: 600; margin-bottom: .3rem; }
ul.legend { list-style: none; margin: 0; padding: 0; font-weight: 400; font-size: .85rem; }
ul.legend li { display: inline-block; margin-right: 1.2rem; }
ul.legend i { display: inline-block; width: .7rem; height: .7rem; margin-right: .35rem; }
p.note { color: var(--soft); font-size: .85rem; margin: .2rem 0 0; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 13px; }
svg .grid { stroke: var(--grid); } svg .mark { stroke: var(--soft); stroke-dasharray: 4 3; }
svg polyline { fill: none; stroke-width: 2; stroke-linejoin: round; }
@media (max-width: 40rem) { body { margin: 1rem auto; } svg text { font-size: 17px; }
  table { font-size: .85rem; } th, td { padding: .25rem .4rem; } }
"""


def document(title: str, what: str, parts: Sequence[str]) -> str:
    """A whole page: a title, a sentence on what is shown, and the parts."""
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(title)}</h1>",
            f'<p class="what">{escape(what)}</p>',
            *parts,
            "</body></html>",
            "",
        ]
    )


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that scrolls by itself where the page is narrow."""
    lines = ['<div class="wide"><table><thead>', _row("th", head), "</thead><tbody>"]
    lines += [_row("td", row) for row in rows]
    return "".join([*lines, "</tbody></table></div>"])


def _row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"
