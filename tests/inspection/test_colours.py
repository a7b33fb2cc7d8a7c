from gru_complete.inspection.colours import CIVIDIS, FIRST_LIGHT, colour, palette_step


def lightness(code):
    red, green, blue = (int(code[start : start + 2], 16) / 255 for start in (0, 2, 4))
    return 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2


def test_the_scale_is_readable_in_black_and_white():
    values = [lightness(code) for code in CIVIDIS]
    assert values == sorted(values)
    contrast = [
        1.05 / (value + 0.05) if step < FIRST_LIGHT else (value + 0.05) / 0.05 for step, value in enumerate(values)
    ]
    assert min(contrast) > 4.5  # WCAG 2, AA
    assert [palette_step(value) for value in (0, 0.0999, 0.1, 0.9, 1)] == [0, 0, 1, 9, 9]
    assert (colour(0), colour(1), colour(1 / 9)) == ("#00224e", "#fee838", "#123570")
