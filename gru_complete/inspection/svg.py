"""The picture of an inspection as SVG, written by hand: no library, no network, no font but the reader's.

In a page the picture is light or dark like its surroundings; on its own it is on white paper.
"""

import html

from gru_complete.inspection.picture import (
    FONT_SIZE,
    Box,
    Bracket,
    Label,
    LineSample,
    Polyline,
    ScaleEnds,
    Shape,
    TokenColumn,
    draw_picture,
)
from gru_complete.inspection.record import Inspection


def render_svg(inspection: Inspection) -> str:
    """The picture of an inspection, as the text of an SVG file."""
    picture = draw_picture(inspection)
    width, height = picture.width, picture.height
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="system-ui, sans-serif" font-size="{FONT_SIZE}" fill="currentColor" role="img">',
        f"<title>{html.escape(picture.title)}</title>",
        '<rect class="paper" width="100%" height="100%" fill="white"/>',
    ]
    return "\n".join([*head, *map(_element, picture.shapes), "</svg>"]) + "\n"


def _element(shape: Shape) -> str:
    """A shape as an SVG element."""
    match shape:
        case Box(x, y, width, height, fill, opacity):
            translucent = "" if opacity is None else f' fill-opacity="{opacity}"'
            return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{fill}"{translucent}/>'
        case Label():
            return _text(shape)
        case ScaleEnds(left, right):
            return _text(left) + _text(right)
        case Polyline(points, dashes):
            path = " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
            return f'<path d="M{path}" fill="none" {_stroke(dashes)}/>'
        case LineSample(x, y, length, dashes):
            return f'<path d="M{x} {y}h{length}" {_stroke(dashes)}/>'
        case Bracket(x, top, bottom):
            return f'<path d="M{x - 3} {top}h3V{bottom}h-3" fill="none" stroke="currentColor" stroke-opacity="0.6"/>'
        case TokenColumn(token, x, y, width, height, description):
            return (
                f'<rect class="column" data-token="{token}" x="{x}" y="{y}" width="{width}" height="{height}" '
                f'fill="none" pointer-events="all"><title>{html.escape(description)}</title></rect>'
            )


def _text(label: Label) -> str:
    """A line of text as an SVG element."""
    if label.angle:
        place = f'transform="translate({label.x} {label.y}) rotate({label.angle})"'
    else:
        place = f'x="{label.x}" y="{label.y}"'
    size = "" if label.size is None else f' font-size="{label.size}"'
    weight = ' font-weight="bold"' if label.is_bold else ""
    anchor = "" if label.anchor == "start" else f' text-anchor="{label.anchor}"'
    return f"<text {place}{size}{weight}{anchor}>{html.escape(label.text)}</text>"


def _stroke(dashes: str) -> str:
    return f'stroke="currentColor" stroke-width="1.5" stroke-dasharray="{dashes}"'
