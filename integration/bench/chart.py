"""A plot of ratios as SVG: a bar for each, a line at 1, a mark where a goal is."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

__all__ = ["Bar", "chart"]

_LEFT: Final = 340
_WIDTH: Final = 760
_ROW: Final = 20
_FONT: Final = 'font-family="sans-serif" font-size="12"'
_MOST: Final = 2.0
"""The largest ratio that has room; what is more is cut, with its figure beside it."""


@dataclass(frozen=True)
class Bar:
    """One ratio."""

    group: str
    what: str
    ratio: float
    goal: float | None


def chart(title: str, bars: Sequence[Bar]) -> str:
    """The file's text. It has a background of its own, so that it can be read on a dark page too."""
    height = 70 + _ROW * len(bars)
    unit = (_WIDTH - _LEFT - 60) / _MOST
    one = _LEFT + unit
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" {_FONT}>',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="24" font-size="15">{escape(title)}</text>',
    ]
    for number, bar in enumerate(bars):
        y = 44 + _ROW * number
        end = _LEFT + min(bar.ratio, _MOST) * unit
        drawn += [
            f'<text x="{_LEFT - 8}" y="{y + 11}" text-anchor="end">{escape(f"{bar.group}: {bar.what}")}</text>',
            f'<rect x="{_LEFT}" y="{y}" width="{end - _LEFT:.1f}" height="14" fill="#4477aa"/>',
            f'<text x="{end + 6:.1f}" y="{y + 11}">{bar.ratio:.2f}</text>',
        ]
        if bar.goal is not None:
            x = _LEFT + bar.goal * unit
            drawn.append(f'<line x1="{x:.1f}" y1="{y - 2}" x2="{x:.1f}" y2="{y + 16}" stroke="#cc3311"/>')
    drawn += [
        f'<line x1="{one:.1f}" y1="38" x2="{one:.1f}" y2="{height - 22}" stroke="#333333" stroke-dasharray="3 3"/>',
        f'<text x="{one:.1f}" y="{height - 8}" text-anchor="middle">1.0</text>',
        "</svg>",
    ]
    return "\n".join(drawn) + "\n"
