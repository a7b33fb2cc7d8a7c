"""What secrets look like: one detector for each kind of key, token, number and address.

Every kind has a mark that hardly any other text has: a fixed beginning (``AKIA``), a word before it (``password=``), or
a check digit (cards, bank accounts). Where a mark is not enough, what follows must look random. Telephone numbers have
no such mark and would be found in every table of numbers, so they are not detected.

Linear time: fixed strings are found with ``bytes.find``, and a pattern is tried only where one occurs. Patterns have
bounded repetitions of one class each, followed by something not of that class, so that there is nothing to backtrack
to.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

MAX_SECRET_BYTES = 1 << 15
"""Longer secrets are not detected; private keys come near a tenth of it."""
CONTEXT_BYTES = 1 << 10
"""Bytes before a secret that a detector may need to recognise it."""

Span = tuple[int, int]
"""The first byte of a secret, and the byte after its last."""
Detector = Callable[[bytes, bytes, int], Iterator[Span]]
"""Called with a text, the same in lower case, and where to start; it may look at ``CONTEXT_BYTES`` before that."""


def _occurrences(text: bytes, mark: bytes, start: int) -> Iterator[int]:
    """Yield where a fixed string occurs, from the context before ``start`` on."""
    place = text.find(mark, max(0, start - CONTEXT_BYTES))
    while place >= 0:
        yield place
        place = text.find(mark, place + 1)


def _entropy(value: bytes) -> float:
    """Bits per byte, given how often each byte occurs in the value itself."""
    return math.log2(len(value)) - sum(n * math.log2(n) for n in Counter(value).values()) / len(value)


def _looks_random(value: bytes, *, distinct: int = 8) -> bool:
    """Whether a value has at least ``distinct`` different bytes, and a digit."""
    return len(set(value)) >= distinct and any(byte in b"0123456789" for byte in value)


def _prefixed(mark: bytes, pattern: bytes, *, distinct: int = 8) -> Detector:
    """Make a detector of tokens that begin with ``mark`` and continue as the pattern says, but no further."""
    rest = re.compile(pattern + rb"(?![A-Za-z0-9_])")

    def detect(text: bytes, lower: bytes, start: int) -> Iterator[Span]:
        for place in _occurrences(text, mark, start):
            if _is_within_word(text, place):
                continue
            match = rest.match(text, place + len(mark))
            if match and _looks_random(match[0], distinct=distinct):
                yield place, match.end()

    return detect


_WORD_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


def _is_within_word(text: bytes, place: int) -> bool:
    return place > 0 and text[place - 1] in _WORD_BYTES


_KEY_BEGIN = re.compile(rb"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_KEY_END = b"-----END "
_KEY_LINE = re.compile(rb"[A-Za-z0-9+/=]{16,}")
_MIN_KEY_BYTES = 40


def _private_keys(text: bytes, lower: bytes, start: int) -> Iterator[Span]:
    """Find keys in armour (PEM, OpenSSH, PGP), but not its lines alone, as in a manual or a program."""
    for place in _occurrences(text, b"-----BEGIN ", start):
        match = _KEY_BEGIN.match(text, place)
        if match is None:
            continue
        limit = place + MAX_SECRET_BYTES - 100
        other = text.find(b"-----BEGIN ", match.end(), limit)
        end = text.find(_KEY_END, match.end(), limit if other < 0 else other)
        if end < 0:
            continue
        if sum(len(part) for part in _KEY_LINE.findall(text, match.end(), end)) >= _MIN_KEY_BYTES:
            dashes = text.find(b"-----", end + len(_KEY_END), end + 100)
            yield place, end + len(_KEY_END) if dashes < 0 else dashes + 5


_ALNUM_RUN = re.compile(rb"[A-Za-z0-9]{16,}")
_SK_REST = re.compile(rb"[A-Za-z0-9_-]{20,300}(?![A-Za-z0-9_-])")


def _sk_keys(text: bytes, lower: bytes, start: int) -> Iterator[Span]:
    """Find the keys of OpenAI, Anthropic and others; a hyphenated name that begins with sk- has no long random part."""
    for place in _occurrences(text, b"sk-", start):
        if _is_within_word(text, place):
            continue
        match = _SK_REST.match(text, place + 3)
        if match and any(_looks_random(run) for run in _ALNUM_RUN.findall(match[0])):
            yield place, match.end()


_JWT = re.compile(rb"eyJ[A-Za-z0-9_-]{10,8000}\.eyJ[A-Za-z0-9_-]{10,8000}\.[A-Za-z0-9_-]{10,8000}(?![A-Za-z0-9_-])")


def _json_web_tokens(text: bytes, lower: bytes, start: int) -> Iterator[Span]:
    """Find JSON web tokens: three base64 parts, of which two begin as JSON objects do."""
    for place in _occurrences(text, b"eyJ", start):
        if not _is_within_word(text, place) and (match := _JWT.match(text, place)):
            yield match.span()


_URL_PASSWORD = re.compile(rb"://[^\s/:@\"'<>]{1,64}:([^\s/:@\"'<>]{3,128})@(?=[A-Za-z0-9\[])")


def _url_passwords(text: bytes, lower: bytes, start: int) -> Iterator[Span]:
    """Find the password of ``scheme://user:password@host``, unless it is a placeholder such as ``$PASSWORD``."""
    for place in _occurrences(text, b"://", start):
        match = _URL_PASSWORD.match(text, place)
        if match and not _PLACEHOLDER.match(match[1]):
            yield match.span(1)


_PASSWORD_WORDS = (b"password", b"passwd", b"passphrase", b"pwd")
_TOKEN_WORDS = (b"secret", b"token", b"api_key", b"apikey", b"api-key", b"access_key", b"accesskey", b"private_key")
_ASSIGNED = re.compile(
    rb"(?:[_-]?(?i:access|key|token|value|base|secret|prod|dev|test|[0-9]{1,2})){0,3}"  # SECRET_ACCESS_KEY
    rb"(?:[\"']?[ \t]{0,2}(?:=>|:=|==?|:)[ \t]{0,2}|[ ]is[ ])"
    rb"(?:\"([^\s\"]{8,256})\"|'([^\s']{8,256})'|([^\s\"'`<>(){}\[\]\\,;]{8,256})(?![^\s\"'`<>},;\\\])]))"
)
_NEXT_PARAMETER = re.compile(rb"&[A-Za-z_]+=")  # of a URL
_BEARER = re.compile(rb"[ :]{1,2}([A-Za-z0-9._~+/-]{16,512}={0,2})(?![A-Za-z0-9._~+/=-])")
# What is written in place of a secret, or how a program gets one.
_PLACEHOLDER = re.compile(rb"[$%<{*/.\[]|[A-Za-z]{2,10}://|[xX.*]+$|(?i:your[_-]|example|changeme|pass(?:word)?$)")
_NAME = re.compile(rb"[A-Za-z_.:/-]*[0-9]{0,4}$")  # of a variable or a path, or a word with a number


def _passwords(text: bytes, lower: bytes, start: int) -> Iterator[Span]:
    """Find what is assigned to a name that says it is secret, if it looks random; and bearer tokens."""
    for words, is_secret in ((_PASSWORD_WORDS, _is_password), (_TOKEN_WORDS, _is_token)):
        for word in words:
            for place in _occurrences(lower, word, start):
                match = _ASSIGNED.match(text, place + len(word))
                if match is None:
                    continue
                group = match.lastindex or 0
                first, end = match.span(group)
                if parameter := _NEXT_PARAMETER.search(text, first, end):
                    end = parameter.start()
                if end - first >= 8 and is_secret(text[first:end], quoted=group < 3):
                    yield first, end
    for place in _occurrences(lower, b"bearer", start):
        match = _BEARER.match(text, place + len(b"bearer"))
        if match and _is_token(match[1], quoted=False):
            yield match.span(1)


def _is_password(value: bytes, *, quoted: bool) -> bool:
    """Whether an assigned value has letters and digits and, without quotes, cannot be the name of a variable."""
    if _PLACEHOLDER.match(value) or not (re.search(rb"[A-Za-z]", value) and re.search(rb"[0-9]", value)):
        return False
    return _entropy(value) >= 2.7 and (quoted or not _NAME.match(value))


def _is_token(value: bytes, *, quoted: bool) -> bool:
    """Whether an assigned value looks random; a single digit, as in a name, needs more evidence than several."""
    if len(value) < 16 or _PLACEHOLDER.match(value) or _NAME.match(value):
        return False
    digits = len(re.findall(rb"[0-9]", value))
    if digits > 1:
        return value.lower() != value.upper() and _entropy(value) >= 3.0
    return digits == 1 and value.lower() != value != value.upper() and _entropy(value) >= 3.5


# Every byte as its class (0, A, a or space), so that bytes.find finds "two capitals, two digits".
_CLASSES = bytes(
    0x30 if 0x30 <= byte <= 0x39 else 0x41 if 0x41 <= byte <= 0x5A else 0x61 if byte in _WORD_BYTES - {0x2D} else 0x20
    for byte in range(256)
)
_CARD = re.compile(
    rb"(?<![0-9][.-])[2-6][0-9]{3}(?:"
    rb"([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{4}|[0-9]{10,15}"  # in fours, or 14 to 19 digits
    rb"|([ -])[0-9]{6}\2[0-9]{4,5}"  # American Express and Diners
    rb")(?![0-9A-Za-z_])(?![.-][0-9])"
)
# Whatever _CARD matches begins with one of these; else it would be tried at every number of a table.
_CARD_SHAPES = (b"0000 0000 0000 0000", b"00000000000000", b"0000 000000 0000")
_FOUR_BEFORE = re.compile(rb"(?<![0-9])[0-9]{4}[ -]$")
_FOUR_AFTER = re.compile(rb"[ -][0-9]{4}(?![0-9])")


def _word_starts(text: bytes, shapes: Iterable[bytes], start: int) -> Iterator[int]:
    """Yield where words begin with bytes of the classes of a shape, without a letter, digit or underscore before."""
    low = max(0, start - CONTEXT_BYTES)
    kinds = b" " + text[low:].translate(_CLASSES)
    for shape in shapes:
        place = kinds.find(b" " + shape)
        while place >= 0:
            yield low + place
            place = kinds.find(b" " + shape, place + 1)


def _cards(text: bytes, lower: bytes, start: int) -> Iterator[Span]:
    """Find numbers of payment cards: of an issuer's length and first digits, with the right check digit (Luhn).

    Four four-digit numbers in a row of a table with more of them are not a card.
    """
    for first in _word_starts(text, _CARD_SHAPES, start):
        match = _CARD.match(text, first)
        if match is None:
            continue
        end = match.end()
        digits = match[0].translate(None, b" -")
        if not (_is_card_number(digits) and _has_luhn_digit(digits)):
            continue
        if match[1] and (_FOUR_BEFORE.search(text, max(0, first - 6), first) or _FOUR_AFTER.match(text, end)):
            continue
        yield first, end


def _is_card_number(digits: bytes) -> bool:
    """Whether an issuer has such numbers. Digits are compared as text: the first ones decide."""
    if len(digits) == 16:  # Visa; Mastercard; JCB; Discover; UnionPay
        is_issued = (
            b"4" <= digits < b"5" or b"51" <= digits < b"56" or b"2221" <= digits < b"2721"
            or b"3528" <= digits < b"3590" or b"6011" <= digits < b"6012" or b"62" <= digits < b"63"
            or b"644" <= digits < b"66"
        )  # fmt: skip
    elif len(digits) == 15:
        is_issued = digits.startswith((b"34", b"37"))  # American Express
    elif len(digits) == 14:
        is_issued = digits.startswith((b"36", b"38", b"39")) or b"300" <= digits < b"306"  # Diners
    else:
        is_issued = len(digits) in (17, 18, 19) and digits.startswith(b"62")
    return is_issued and len(set(digits)) > 1


# For each digit, the sum of the digits of its double (Luhn).
_DOUBLED = bytes.maketrans(b"0123456789", b"0246813579")


def _has_luhn_digit(digits: bytes) -> bool:
    """Whether the last digit is the right check digit (ISO/IEC 7812-1)."""
    return (sum(digits[::-2]) + sum(digits[-2::-2].translate(_DOUBLED)) - ord("0") * len(digits)) % 10 == 0


_IBAN_LENGTHS = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FO FI GL NL", 19: "MK SI", 20: "AT BA EE KZ LT LU XK", 21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST", 26: "IS TR", 27: "FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HU LB PL SV",
        29: "BR EG PS QA UA", 30: "JO KW MU", 31: "MT SC", 32: "LC",
    }.items()
    for country in countries.split()
}  # fmt: skip
_IBAN = re.compile(rb"[A-Z]{2}[0-9]{2}(?:(?: [0-9A-Z]{4}){2,7}(?: [0-9A-Z]{1,3})?|[0-9A-Z]{11,28}(?![0-9A-Za-z_]))")


def _ibans(text: bytes, lower: bytes, start: int) -> Iterator[Span]:
    """Find bank account numbers (IBAN, ISO 13616): of their country's length, with the right check digits."""
    for first in _word_starts(text, (b"AA00",), start):
        match = _IBAN.match(text, first)
        if match is None:
            continue
        length = _IBAN_LENGTHS.get(match[0][:2].decode(), 0)
        spaced = length + (length - 1) // 4 if b" " in match[0] else length
        value = match[0][:spaced]
        end = first + len(value)
        compact = value.replace(b" ", b"")
        if not length or len(compact) != length or (end < len(text) and text[end] in _WORD_BYTES - {0x2D}):
            continue
        if int("".join(str(int(chr(byte), 36)) for byte in compact[4:] + compact[:4])) % 97 == 1:
            yield first, end


_LATIN = "".join(filter(str.isalpha, map(chr, range(0xC0, 0x250))))
_LOCAL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._%+-" + _LATIN
_IN_URL = re.compile(r"://[^\s/]*$")
_DOMAIN = re.compile(rb"[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}")
_FILES = {b"png", b"jpg", b"jpeg", b"gif", b"svg", b"webp", b"css", b"js", b"ts", b"json", b"tgz", b"service", b"local"}


def _addresses(text: bytes, lower: bytes, start: int) -> Iterator[Span]:
    """Find e-mail addresses; ``git@host`` is how to reach a program, ``icon@2x.png`` a file."""
    for place in _occurrences(text, b"@", start):
        before = text[max(0, place - 128) : place].decode(errors="ignore")
        if "://" in before and _IN_URL.search(before):  # https://user@host
            continue
        local = before[len(before.rstrip(_LOCAL)) :].lstrip(".%+-").encode()
        match = _DOMAIN.match(text, place + 1)
        if not 0 < len(local) <= 64 or local == b"git" or match is None:
            continue
        labels = match[0].split(b".")
        while labels and not re.fullmatch(rb"[A-Za-z]{2,24}", labels[-1]):  # "me@example.org.-"
            labels.pop()
        is_name = all(label and label[:1] != b"-" and label[-1:] != b"-" for label in labels)
        if len(labels) > 1 and is_name and labels[-1].lower() not in _FILES:
            yield place - len(local), place + 1 + len(b".".join(labels))


# The most certain first: a token after `password=` is reported as a token.
DETECTORS: tuple[tuple[str, Detector], ...] = (
    ("private key", _private_keys),
    ("AWS key", _prefixed(b"AKIA", rb"[A-Z0-9]{16}", distinct=6)),
    ("AWS key", _prefixed(b"ASIA", rb"[A-Z0-9]{16}", distinct=6)),
    ("GitHub token", _prefixed(b"github_pat_", rb"[A-Za-z0-9_]{40,255}")),
    *(
        ("GitHub token", _prefixed(mark, rb"[A-Za-z0-9]{36,255}"))
        for mark in (b"ghp_", b"gho_", b"ghs_", b"ghr_", b"ghu_")
    ),
    ("GitLab token", _prefixed(b"glpat-", rb"[A-Za-z0-9_-]{20,100}")),
    ("Slack token", _prefixed(b"xox", rb"[a-z]-(?:[0-9]{1,2}-)?[A-Za-z0-9-]{10,250}")),
    ("Google key", _prefixed(b"AIza", rb"[A-Za-z0-9_-]{35}")),
    *(
        ("Stripe key", _prefixed(mark, rb"[A-Za-z0-9]{16,250}"))
        for mark in (b"sk_live_", b"sk_test_", b"rk_live_", b"rk_test_")
    ),
    ("API key", _sk_keys),
    ("API key", _prefixed(b"npm_", rb"[A-Za-z0-9]{36}")),
    ("API key", _prefixed(b"hf_", rb"[A-Za-z0-9]{30,50}")),
    ("API key", _prefixed(b"pypi-AgE", rb"[A-Za-z0-9_-]{50,500}")),
    ("API key", _prefixed(b"SG.", rb"[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}")),
    ("web token", _json_web_tokens),
    ("password", _url_passwords),
    ("password", _passwords),
    ("card number", _cards),
    ("bank account", _ibans),
    ("email", _addresses),
)

KINDS = tuple(dict.fromkeys(kind for kind, _ in DETECTORS))
"""The kinds of secrets, the most certain first."""
