import json
import re
import xml.etree.ElementTree as ElementTree

from gru_complete.inspection.html_page import render_page
from gru_complete.inspection.svg import render_svg


def test_text_stays_text_in_picture_and_page(inspection_of):
    pieces = [b"<script>alert(1)</script>", b"&amp;", b"]]>", b"</style>", b"@DATA@", b"\xff", b"\x00", b"\xe2\x80\xa8"]
    inspection = inspection_of(pieces)
    ElementTree.fromstring(render_svg(inspection))
    text = render_page(inspection)
    assert text.count("<script") == 2
    assert "alert(1)</script>" not in text
    data = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1]
    record = json.loads(data)
    assert record["tokens"][0]["text"] == "<script>alert(1)</script>"
    assert [token["shown"] for token in record["tokens"][4:]] == ["@DATA@", "\\xff", "\\x00", "\\u2028"]
    assert not re.search(r"https?://(?!www\.w3\.org/)", text)
