"""What the cells did, as a picture (SVG) and as a page (HTML) that needs nothing but a browser.

Both are written by hand: no library, no network, no font but the reader's. The picture is light or dark as its
surroundings are where it stands in the page, and on white paper where it stands alone.
"""

import base64
import html
import json
import math
import re
from collections.abc import Iterator
from importlib.resources import files as package_files

import numpy as np

from gru_complete.arrays import FloatArray
from gru_complete.inspection.colours import CIVIDIS, colour
from gru_complete.inspection.record import Inspection, describe_saturation
from gru_complete.inspection.trace import printable_piece

MAX_DRAWN = 480
"""How many tokens a picture shows; a page lists them all."""

TOKENS_PER_BAND = 40
_CELL_WIDTH, _CELL_HEIGHT = 20, 11
_LEFT, _RIGHT, _TOP = 190, 24, 112
_BARS_HEIGHT, _MEANS_HEIGHT, _GAP = 60, 48, 26
_LABEL_CHARS, _LABEL_HEIGHT = 12, 78
_FOLLOWS_CHARS = 22
_DASHES = ("", "5 3", "1.5 3")


def svg(inspection: Inspection) -> str:
    """The picture: for each band of tokens their surprisal, the mean of each gate, and a map of each gate."""
    trace = inspection.trace
    number = min(len(trace.pieces), MAX_DRAWN)
    bands = split_into_bands(number)
    parts: list[str] = []
    top = _TOP
    for band in bands:
        drawn, top = _band(inspection, band, top)
        parts += drawn
    longest = max(len(band) for band in bands)
    width = max(_LEFT + longest * _CELL_WIDTH + _RIGHT, 560)
    part = f", the first {number:,} of {len(trace.pieces):,} tokens" if number < len(trace.pieces) else ""
    title = html.escape(inspection.title + part)
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top}" width="{width}" height="{top}" '
        'font-family="system-ui, sans-serif" font-size="11" fill="currentColor" role="img">',
        f"<title>{title}</title>",
        '<rect class="paper" width="100%" height="100%" fill="white"/>',
        f'<text x="16" y="26" font-size="16" font-weight="bold">{title}</text>',
        f'<text x="16" y="46">{html.escape(describe_saturation(trace.saturation()))}</text>',
        *_legend(inspection),
    ]
    return "\n".join([*head, *parts, "</svg>"]) + "\n"


def split_into_bands(number: int) -> list[range]:
    """The tokens of each band, of at most ``TOKENS_PER_BAND``, all of them about as long."""
    per_band = math.ceil(number / math.ceil(number / TOKENS_PER_BAND))
    return [range(start, min(start + per_band, number)) for start in range(0, number, per_band)]


def unit_label(inspection: Inspection, layer: int, unit: int) -> str:
    """A unit's number, after the end of what it follows, if that is known."""
    follows = inspection.follows.get((layer, unit), "")
    name = printable_piece(follows.encode()).replace("␣", " ").split(": ")[-1]
    return f"{_short(name, _FOLLOWS_CHARS)}  {unit}" if follows else str(unit)


def _legend(inspection: Inspection) -> Iterator[str]:
    """The scale of the maps, and which line is which gate's mean."""
    steps = 50
    for index in range(steps):
        yield f'<rect x="{16 + 2 * index}" y="58" width="2.2" height="10" fill="{colour((index + 0.5) / steps)}"/>'
    low, high, what = ("0", "1", "gate") if inspection.trace.gate_names else ("-1", "1", "state")
    yield f'<text x="16" y="80">{low}</text><text x="116" y="80" text-anchor="end">{high}</text>'
    yield f'<text x="66" y="80" text-anchor="middle">{what}</text>'
    x = 150
    for name, dashes in zip(inspection.trace.gate_names, _DASHES, strict=False):
        yield f'<path d="M{x} 64h26" stroke="currentColor" stroke-width="1.5" stroke-dasharray="{dashes}"/>'
        yield f'<text x="{x + 32}" y="68">mean {name} gate</text>'
        x += 160


def _band(inspection: Inspection, band: range, top: int) -> tuple[list[str], int]:
    """One band of tokens from ``top`` on, and where it ends."""
    trace = inspection.trace
    parts: list[str] = []
    start = top
    width = len(band) * _CELL_WIDTH
    parts += _bars(trace.bits[band.start : band.stop], float(max(trace.bits.max(), 1.0)), top)
    top += _BARS_HEIGHT + _GAP // 2
    if trace.gate_names:
        means = trace.gates[band.start : band.stop].mean(axis=(1, 3))  # over layers and units
        parts += _means(means, top)
        top += _MEANS_HEIGHT + _GAP
    else:
        top += _GAP // 2
    for layer, units in enumerate(inspection.units):
        for gate, values in trace.panels(layer).items():
            where = f"layer {layer + 1}, " if trace.num_layers > 1 else ""
            what = f"{where}{gate} gate" if trace.gate_names else f"{where}state"
            parts.append(f'<text x="{_LEFT}" y="{top - 5}" font-weight="bold">{what}, by unit</text>')
            for row, unit in enumerate(units):
                y = top + row * _CELL_HEIGHT
                name = html.escape(unit_label(inspection, layer, unit))
                parts.append(f'<text x="{_LEFT - 6}" y="{y + 9}" font-size="9" text-anchor="end">{name}</text>')
                for column, position in enumerate(band):
                    fill = colour(float(values[position, unit]))
                    x = _LEFT + column * _CELL_WIDTH
                    parts.append(f'<rect x="{x}" y="{y}" width="{_CELL_WIDTH}" height="{_CELL_HEIGHT}" fill="{fill}"/>')
            middle = top + len(units) * _CELL_HEIGHT / 2
            parts.append(_upright("unit", 20, middle))
            top += len(units) * _CELL_HEIGHT + _GAP
    top -= _GAP - 4
    for column, position in enumerate(band):
        middle = _LEFT + (column + 0.5) * _CELL_WIDTH
        name = html.escape(_short(printable_piece(trace.pieces[position])))
        parts.append(f'<text transform="translate({middle + 4} {top + 4}) rotate(-60)" text-anchor="end">{name}</text>')
        parts.append(
            f'<rect class="column" data-token="{position}" x="{_LEFT + column * _CELL_WIDTH}" y="{start}" '
            f'width="{_CELL_WIDTH}" height="{top - start}" fill="none" pointer-events="all">'
            f"<title>{_described(inspection, position)}</title></rect>"
        )
    parts.append(f'<text x="{_LEFT + width / 2}" y="{top + _LABEL_HEIGHT}" text-anchor="middle">token</text>')
    return parts, top + _LABEL_HEIGHT + _GAP


def _bars(bits: FloatArray, largest: float, top: int) -> Iterator[str]:
    """The surprisal of some tokens, with an axis."""
    bottom = top + _BARS_HEIGHT
    yield _upright("bits", _LEFT - 34, top + _BARS_HEIGHT / 2)
    yield from _axis(top, bottom, "0", f"{largest:.0f}")
    yield f'<text x="{_LEFT}" y="{top - 5}" font-weight="bold">surprisal</text>'
    for column, value in enumerate(bits):
        height = _BARS_HEIGHT * float(value) / largest
        x = _LEFT + column * _CELL_WIDTH + 3
        yield (
            f'<rect x="{x}" y="{bottom - height:.1f}" width="{_CELL_WIDTH - 6}" height="{height:.1f}" '
            'fill="currentColor" fill-opacity="0.65"/>'
        )


def _means(means: FloatArray, top: int) -> Iterator[str]:
    """The mean of each gate at each token, ``(tokens, gates)``, as lines."""
    bottom = top + _MEANS_HEIGHT
    yield _upright("mean", _LEFT - 34, top + _MEANS_HEIGHT / 2)
    yield from _axis(top, bottom, "0", "1")
    for values, dashes in zip(means.T, _DASHES, strict=False):
        places = (
            f"{_LEFT + (column + 0.5) * _CELL_WIDTH:.1f} {bottom - _MEANS_HEIGHT * float(value):.1f}"
            for column, value in enumerate(values)
        )
        yield (
            f'<path d="M{" L".join(places)}" fill="none" stroke="currentColor" stroke-width="1.5" '
            f'stroke-dasharray="{dashes}"/>'
        )


def _axis(top: int, bottom: int, low: str, high: str) -> Iterator[str]:
    yield f'<path d="M{_LEFT - 3} {top}h3V{bottom}h-3" fill="none" stroke="currentColor" stroke-opacity="0.6"/>'
    for y, text in ((top, high), (bottom, low)):
        yield f'<text x="{_LEFT - 6}" y="{y + 4}" font-size="9" text-anchor="end">{text}</text>'


def _upright(text: str, x: float, y: float) -> str:
    return f'<text transform="translate({x} {y}) rotate(-90)" text-anchor="middle">{text}</text>'


def _short(text: str, length: int = _LABEL_CHARS) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _described(inspection: Inspection, position: int) -> str:
    """A token in one line: what it cost, its gates' means, what switched."""
    trace = inspection.trace
    means = trace.gates[position].mean(axis=(0, 2))
    facts = [f"{trace.bits[position]:.1f} bits"]
    facts += [f"{name} {mean:.2f}" for name, mean in zip(trace.gate_names, means, strict=True)]
    facts += [f"{'+' if switch.change > 0 else '-'}{switch.unit}" for switch in trace.largest_changes(position, 3)]
    return html.escape(f"{printable_piece(trace.pieces[position])}: {', '.join(facts)}")


def page(inspection: Inspection) -> str:
    """The page: the text, each token of which shows its gates when the mouse or the keyboard comes to it."""
    trace = inspection.trace
    record = inspection.to_json()
    for token, piece in zip(record["tokens"], trace.pieces, strict=True):
        token["shown"] = printable_piece(piece)
        token["breaks"] = piece.count(b"\n")
    panels = [trace.panels(layer) for layer in range(trace.num_layers)]
    whole = {
        name: base64.b64encode(
            np.round(255 * np.stack([layer[name] for layer in panels], axis=1)).astype(np.uint8).tobytes()
        ).decode()
        for name in panels[0]
    }  # (T, L, H) of each gate, a byte for each value
    data = json.dumps(record | {"whole": whole, "palette": CIVIDIS})
    parts = {
        "TITLE": html.escape(inspection.title),
        "VERDICT": html.escape(describe_saturation(trace.saturation())),
        "PICTURE": svg(inspection),
        "DATA": re.sub("[<>&\u2028\u2029]", lambda match: f"\\u{ord(match[0]):04x}", data),
    }
    template = (package_files("gru_complete.inspection") / "page.html").read_text("utf-8")
    return re.sub("@([A-Z]+)@", lambda match: parts[match[1]], template)  # in one pass: the text may hold such words
