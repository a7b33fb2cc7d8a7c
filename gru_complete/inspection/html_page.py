"""What the cells did with a text, as an HTML page that needs nothing but a browser: no library, no network."""

import base64
import html
import json
import re
from importlib.resources import files as package_files

import numpy as np

from gru_complete.inspection.colours import CIVIDIS
from gru_complete.inspection.record import Inspection, describe_saturation
from gru_complete.inspection.svg import render_svg
from gru_complete.inspection.trace import Trace, printable_piece


def render_page(inspection: Inspection) -> str:
    """The page: the text, whose tokens show their gates when the mouse or the keyboard comes to them."""
    trace = inspection.trace
    record = inspection.to_json()
    for token, piece in zip(record["tokens"], trace.pieces, strict=True):
        token["shown"] = printable_piece(piece)
        token["breaks"] = piece.count(b"\n")
    data = json.dumps(record | {"whole": _packed_gates(trace), "palette": CIVIDIS})
    parts = {
        "TITLE": html.escape(inspection.title),
        "VERDICT": html.escape(describe_saturation(trace.saturation())),
        "PICTURE": render_svg(inspection),
        "DATA": re.sub("[<>&\u2028\u2029]", lambda match: f"\\u{ord(match[0]):04x}", data),
    }
    template = (package_files("gru_complete.inspection") / "page.html").read_text("utf-8")
    return re.sub("@([A-Z]+)@", lambda match: parts[match[1]], template)  # in one pass: the text may hold such words


def _packed_gates(trace: Trace) -> dict[str, str]:
    """Every value of each gate as one byte, ``(T, L, H)`` in base64."""
    panels = [trace.panels(layer) for layer in range(trace.num_layers)]
    return {
        name: base64.b64encode(
            np.round(255 * np.stack([layer[name] for layer in panels], axis=1)).astype(np.uint8).tobytes()
        ).decode()
        for name in panels[0]
    }
