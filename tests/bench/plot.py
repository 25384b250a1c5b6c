"""Draws rates as horizontal bars on a logarithmic scale: an SVG that reads on light and dark pages."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LEFT, RIGHT, BAR, GAP, HEAD = 820, 300, 130, 16, 7, 34
OURS, THEIRS, WORDS = "#c2410c", "#64748b", "#737373"


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: whose, how long, and what stands behind it."""

    name: str
    value: float
    says: str
    ours: bool


def svg(title: str, panels: Mapping[str, Sequence[Bar]]) -> str:
    """Return the picture of panels of bars, each panel with its heading."""
    bars = [bar for panel in panels.values() for bar in panel]
    least, most = (math.log10(edge) for edge in (min(bar.value for bar in bars) / 2, max(bar.value for bar in bars)))
    drawn, top = [], 28.0
    for heading, panel in panels.items():
        drawn.append(f'<text x="8" y="{top + 14:.0f}" class="h">{escape(heading)}</text>')
        top += HEAD - 8
        for bar in panel:
            long = (math.log10(bar.value) - least) / (most - least) * (WIDTH - LEFT - RIGHT)
            middle = top + BAR - 4
            drawn.append(f'<text x="{LEFT - 8}" y="{middle:.0f}" class="n">{escape(bar.name)}</text>')
            color = OURS if bar.ours else THEIRS
            drawn.append(f'<rect x="{LEFT}" y="{top:.0f}" width="{long:.0f}" height="{BAR}" fill="{color}" rx="2"/>')
            drawn.append(f'<text x="{LEFT + long + 6:.0f}" y="{middle:.0f}">{escape(bar.says)}</text>')
            top += BAR + GAP
        top += 8
    style = f"text{{font:12px sans-serif;fill:{WORDS}}}.h{{font-weight:bold}}.n{{text-anchor:end}}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top:.0f}" role="img">',
            f"<title>{escape(title)}</title><style>{style}</style>",
            f'<text x="8" y="18" class="h">{escape(title)}</text>',
            *drawn,
            "</svg>\n",
        ]
    )
