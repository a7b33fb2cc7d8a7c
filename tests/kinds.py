"""Texts of many kinds and languages, generated: the same for the same seed, and of any size."""

import random

_LETTERS = {
    "latin": "etaoinshrdlu",
    "cyrillic": "оеаинтсрвлкмдпу",
    "arabic": "ابتثجحخدذرزسشعفقكلمنهوي",
    "thai": "กขคงจชซดตถทนบปผพมยรลวสหอะาเแโ",
    "devanagari": ["क", "का", "कि", "म", "में", "न", "र", "ल", "स", "त"],
    "han": [chr(0x4E00 + index) for index in range(600)],
}


class _Writer:
    """Draws words of one script, and from them texts."""

    def __init__(self, script, seed, num_words=300):
        self.draw = random.Random(f"{script} {seed}")
        letters = _LETTERS[script]
        lengths = (1, 3) if script == "han" else (2, 9)
        words = (
            "".join(self.draw.choice(letters) for _ in range(self.draw.randint(*lengths))) for _ in range(num_words)
        )
        self.words = list(words)

    def word(self):
        return self.draw.choice(self.words)

    def number(self, highest):
        return self.draw.randint(0, highest)

    def sentence(self, space=" ", end=". "):
        return space.join(self.word() for _ in range(self.draw.randint(4, 12))).capitalize() + end


def _kind(unit, script="latin", num_words=300):
    """A kind of text: ``unit`` writes its next line, sentence or record with a writer of this script."""

    def write(num_bytes, seed=0):
        writer = _Writer(script, seed, num_words)
        parts, size = [], 0
        while size < num_bytes:
            parts.append(unit(writer))
            size += len(parts[-1].encode())
        data = "".join(parts).encode()[:num_bytes].decode(errors="ignore").encode()
        return data + b"\n" * (num_bytes - len(data))  # where a character did not fit

    return write


KINDS = {
    "prose": _kind(lambda by: by.sentence()),
    "prose of twelve words": _kind(lambda by: by.sentence(), num_words=12),
    "russian": _kind(lambda by: by.sentence(), "cyrillic"),
    "arabic": _kind(lambda by: by.sentence(), "arabic"),
    "hindi": _kind(lambda by: by.sentence(end="। "), "devanagari"),
    "chinese": _kind(lambda by: by.sentence(space="", end="。"), "han"),
    "thai": _kind(lambda by: by.sentence(space="", end=" "), "thai"),
    "one line": _kind(lambda by: f"{by.word()} "),
    "one repeated line": _kind(lambda by: "The cat sat on the mat.\n"),
    "names": _kind(lambda by: f"{by.word().title()} {by.word().title()}\n"),
    "history": _kind(lambda by: f"git commit -m '{by.word()}' {by.word()}.py\nls -la {by.word()}\n"),
    "csv": _kind(lambda by: f"2026-11-{by.number(30)},{by.word()},{by.number(9999) / 100}\n"),
    "json lines": _kind(lambda by: f'{{"name": "{by.word()}", "city": "{by.word()}", "n": {by.number(99)}}}\n'),
    "log": _kind(lambda by: f"Nov 30 17:{by.number(59):02} host sshd[{by.number(9999)}]: key of {by.word()}\n"),
    "code": _kind(lambda by: f"def {by.word()}({by.word()}):\n    return {by.word()} + {by.number(9)}\n\n"),
    "digits": _kind(lambda by: str(by.number(9))),
}
"""By the name of each kind, what writes a text of it: ``(num_bytes, seed)`` to exactly so many bytes of UTF-8."""
