import pytest

from gru_complete.inspection.picture import draw_picture


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
def test_a_png_has_the_size_of_its_picture(inspection_of, cell):
    pytest.importorskip("matplotlib", reason="PNG pictures need matplotlib")
    from gru_complete.inspection.png import render_png

    inspection = inspection_of([b"The", b" $x^", b"\xff", "日".encode()] * 15, cell, num_layers=2)
    data = render_png(inspection)
    assert data.startswith(b"\x89PNG\r\n")
    width, height = (int.from_bytes(data[start : start + 4], "big") for start in (16, 20))
    assert width > 600
    assert height > 600
    picture = draw_picture(inspection)
    assert width / height == pytest.approx(picture.width / picture.height, rel=0.01)
