import pytest

from gru_complete.inspection.picture import TOKENS_PER_BAND, Box, Label, TokenColumn, draw_picture, split_into_bands


@pytest.mark.parametrize("number", [1, TOKENS_PER_BAND, TOKENS_PER_BAND + 1, 3 * TOKENS_PER_BAND + 7])
def test_bands_hold_all_tokens_and_about_as_many_each(number):
    bands = split_into_bands(number)
    assert [position for band in bands for position in band] == list(range(number))
    assert max(map(len, bands)) <= TOKENS_PER_BAND
    assert len(bands) == -(-number // TOKENS_PER_BAND)


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
def test_no_shape_is_outside_the_picture(inspection_of, cell):
    picture = draw_picture(inspection_of([b"The", b" cat"] * 50, cell, num_layers=2))
    for shape in picture.shapes:
        if isinstance(shape, Box | TokenColumn):
            assert 0 <= shape.x <= shape.x + shape.width <= picture.width
            assert 0 <= shape.y <= shape.y + shape.height <= picture.height
        elif isinstance(shape, Label):
            assert 0 <= shape.x <= picture.width
            assert 0 <= shape.y <= picture.height


def test_every_token_has_a_column_that_describes_it(inspection_of):
    inspection = inspection_of([b"The", b" cat", b" ate"])
    columns = [shape for shape in draw_picture(inspection).shapes if isinstance(shape, TokenColumn)]
    assert [column.token for column in columns] == [0, 1, 2]
    bits = inspection.trace.bits[1]
    assert columns[1].description.startswith(f"␣cat: {bits:.1f} bits, update ")
