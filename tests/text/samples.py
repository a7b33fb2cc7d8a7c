"""Text with everything that a tokenizer must get right."""

SAMPLE = (
    b"Mr Watson goes to Paris, and Mrs Watson goes to Rome.\n\nThe dog went there in 1895.\n"
    b"def f(x):\n\t\treturn x\n\t\tgoes\n\t\tto\n\n        indented indented\n"
    + "Ein Mädchen, ▁▅␉. <unk> <0x0A> </s>\n".encode()
) * 20
TEXTS = [
    b"",
    b" ",
    b"On",
    b"On ",
    b"Mr Watson\n\nThe dog",
    b"\t\t\treturn  \r\n\x0b\x0c\x00",
    "▁ ▁▁a ▅ ␉\t \u2028\u3000 ﬁ \ufeff \uffff \U0010ffff e\u0301 👩\u200d👩".encode(),
    b"<unk><s></s><pad><0x00><0x0A> \xe2\x96\x81<unk>",
    b"\xff\xfe\x80 \xe2\x96 \xed\xa0\x80 Wat\xc3son",
    bytes(range(256)),
    "字".encode() * 50,
    b"x" * 64 + b" " * 200 + b"y" * 65,
]
