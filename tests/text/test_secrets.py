"""Secrets are found, reported and redacted, wherever blocks end; what only looks like one is left alone."""

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gru_complete.text.secret_kinds import KINDS, MAX_SECRET_BYTES
from gru_complete.text.secrets import SecretScanner, find_secrets

# Made up for these tests, in two parts, so that no scanner of repositories takes them for real ones.
PEM = "-----BEGIN RSA PRIVATE " + "KEY-----\n" + "MIIEpAIBAAKCAQEAx7Zk2QpT\n" * 24 + "-----END RSA PRIVATE KEY-----"


ONE_LINE_PEM = PEM.replace("\n", r"\n")


PGP = (
    "-----BEGIN PGP PRIVATE " + "KEY BLOCK-----\nVersion: GnuPG v2\n\n" + "lQOYBFxTq1kBCADZ4kq7mXv\n" * 9
    + "=x4Tq\n-----END PGP PRIVATE KEY BLOCK-----"
)  # fmt: skip


SECRETS = {
    "private key": [PEM, ONE_LINE_PEM, PGP],
    "AWS key": ["AKIA" + "IOSFODNN7EXAMPLE", "ASIA" + "Q3EGRPV5K2LJ7WXZ"],
    "GitHub token": [
        "ghp_" + "x7Zk2QpT9vLmN4wRb8sYc1dFg5hJ3kA6eUoP",
        "github_pat_" + "11ABCDEFG0x7Zk2QpT9vLm_" + "a8F3" * 14,
    ],
    "GitLab token": ["glpat-" + "x7Zk2QpT9vLmN4wRb8sY"],
    "Slack token": ["xoxb-" + "123456789012-1234567890123-x7Zk2QpT9vLmN4wRb8sYc1dF"],
    "Google key": ["AIza" + "SyD3x7Zk2QpT9vLmN4wRb8sYc1dFg5hJ3kA"],
    "Stripe key": ["sk_live_" + "51x7Zk2QpT9vLmN4wRb8sYc1", "rk_test_" + "x7Zk2QpT9vLmN4wRb8sYc1dF"],
    "API key": [
        "sk-" + "x7Zk2QpT9vLmN4wRb8sYc1dFg5hJ3kA6eUoPx7Zk2QpT9vLm",
        "sk-proj-" + "x7Zk_2QpT9vLmN4wRb8sYc1dFg5hJ3kA6eUo-Px7",
        "sk-ant-api03-" + "x7Zk2QpT9vLmN4wRb8sYc1dFg5hJ3kA6eUoP", "npm_" + "x7Zk2QpT9vLmN4wRb8sYc1dFg5hJ3kA6eUoP",
        "hf_" + "x7ZkQp7vLmNwRbsYcdFghJkAeUoPqWzXyV",
        "SG." + "x7Zk2QpT9vLmN4wRb8sYc1." + "dFg5hJ3kA6eUoPx7Zk2QpT9vLmN4wRb8sYc1dFg5hJ3",
    ],
    "web token": ["eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0." + "dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0T"],
    "card number": [
        "4111 1111 1111 1111", "4111-1111-1111-1111", "5500000000000004", "378282246310005", "3782 822463 10005",
        "6011111111111117", "2223003122003222", "3056 930902 5904", "6205500000000000004",
    ],
    "bank account": [
        "DE89 3704 0044 0532 0130 00", "GB29NWBK60161331926819", "NO9386011117947",
        "FR1420041010050500013M02606",
    ],
    "email": ["john.h.watson@bart.example.org", "o+tag@x-y.co.uk", "müller@strasse.de", "a@b.museum"],
}  # fmt: skip


ASSIGNED = [
    ("password = ", "Tr0ub4dor&3"), ("passwd:", "x7Zk2QpT9v"),
    ('"password": "', "correct1horse"), ("PGPASSWORD='", "hunter2024"),
    ("my password is ", "Sh3rl0ckH0lmes"),
    ("export AWS_SECRET_ACCESS_KEY=", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
    ("api_key: ", "3f786850e387550fdab836ed7e6dc881"), ("client-secret := ", "x7Zk2QpT9vLmN4wRb8sY"),
    ("Authorization: Bearer ", "x7Zk2QpT9vLmN4wRb8sYc1dF"), ("postgres://holmes:", "elementary"),
    ("https://a.org/?page=2&access_token=", "x7Zk2QpT9vLmN4wRb8sY"),
]  # fmt: skip


HARMLESS = [
    "ISBN 978-0-14-043771-4, ISBN-13: 9780140437714, ISBN 0140437711",
    "commit 3f786850e387550fdab836ed7e6dc881de23001b\nAuthor: Watson\nDate: Mon Nov 21 18:46:07 2026 +0000",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822 tokenizer_sha256: 9f86d081884c7d659a2feaa0",
    "2026-11-21T18:46:07.123456Z 1763750767 1763750767123 1763750767123456 20261121184607123",
    "4111111111111112 and 4111 1111 1111 1112 have another check digit; 1234567890123456 is no issuer's",
    "4111111111111111.25 0.4111111111111111 x4111111111111111 41111111111111110000000",
    "1000 4111 1111 1111 1111 2000 are columns of a table",
    "call +44 20 7224 3688 or 555-0199 (0171/1234567)",
    "DE89 3704 0044 0532 0130 01 has other check digits, ZZ89370400440532013000 is of no country, ABCD12345678",
    "Twitter: @watson, @pytest.mark.slow, a @ b, icon@2x.png, lodash@4.17.21,",
    "git@github.com:holmes/violin.git, user@localhost",
    "password: ********, password = os.environ['DB_PASSWORD1'], password=$PASSWORD1, token: <your-token-1234567890>",
    "password=get_password(user1), token = next_token2, token: Token12, secret: str = None, pwd=/home/watson/docs1",
    "def tokenize(tokens1, max_tokens=1000000): token = tokens1[3]; self.token_ids_2 = self.token_ids_1 + other",
    "The password is swordfish. Nobody knew the secret: Irene had token: 1234567890123456789",
    "tokenizer: bert-base-uncased-v2.1-2023, token_count=x7Zk2QpT9vLmN4wRb8sY",
    "risk-x7Zk2QpT9vLmN4wRb8sYc1dFg5hJ3kA6eUoP sk-circle-fade-dot-with-a-long-name-12",
    "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    'if data.startswith(b"-----BEGIN PRIVATE KEY-----"): ... b"-----END PRIVATE KEY-----"',
    "-----BEGIN CERTIFICATE-----\n" + "MIIEpAIBAAKCAQEAx7Zk2QpT\n" * 9 + "-----END CERTIFICATE-----",
    "AKIA is four letters, AKIAAAAAAAAAAAAAAAAA a placeholder, XAKIAIOSFODNN7EXAMPLE a longer word",
    "http://user:$PASSWORD@host http://localhost:8080/a@b https://user@host ssh://git:password@example.org",
    "eyJ and eyJhbGciOiJIUzI1NiJ9.eyJzdWIi are too short",
    "Mr Watson, who lives in Perth, pays 67 dollars for 329 badges; it costs 4,111,111,111,111,111.",
]  # fmt: skip


def kinds(text):
    return [secret.kind for secret in find_secrets(text.encode())]


def redacted(text, pieces=None, block_bytes=1 << 20):
    scanner = SecretScanner(redacts=True, block_bytes=block_bytes)
    parts = [scanner.feed(piece, "a.txt") for piece in pieces or [text.encode()]] + [scanner.end_document()]
    return b"".join(parts).decode(), scanner.report()


@pytest.mark.parametrize(("kind", "secret"), [(kind, secret) for kind, found in SECRETS.items() for secret in found])
@pytest.mark.parametrize(("before", "after"), [("", ""), ("Say ", ", he said."), ('{"x": "', '"}\n'), ("<", ">")])
def test_a_secret_of_each_kind_is_replaced_by_the_name_of_its_kind(kind, secret, before, after):
    assert redacted(before + secret + after)[0] == f"{before}[{kind}]{after}"


@pytest.mark.parametrize(("before", "secret"), ASSIGNED)
def test_what_is_assigned_to_a_secret_name_is_a_password(before, secret):
    after = {'"': '"', "'": "'", ":": "@host/db" if "://" in before else " "}.get(before[-1], "\n")
    assert redacted(before + secret + after)[0] == f"{before}[password]{after}"


def test_every_kind_is_tested():
    assert {*SECRETS, "password"} == set(KINDS)


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_like_a_secret_is_left_alone(text):
    assert kinds(text) == []


def test_a_token_in_an_assignment_is_named_as_what_it_is():
    token = SECRETS["GitHub token"][0]
    assert redacted(f"password={token}\nhttps://x:{token}@github.com")[0] == (
        "password=[GitHub token]\nhttps://x:[GitHub token]@github.com"
    )


def test_places_are_file_and_line_and_only_a_few():
    scanner = SecretScanner(redacts=False)
    for name, text in (
        ("a.txt", "one\ntwo me@x.org you@x.org\n"),
        ("-", "me@x.org\n" * 5),
        ("b.txt", PEM + "\n4111111111111111"),
    ):
        assert scanner.feed(text.encode(), name) + scanner.end_document() == text.encode()
    report = scanner.report()
    assert list(report.found) == ["private key", "card number", "email"]
    assert report.found["email"].count == 7
    assert report.found["email"].places == ["a.txt:2", "standard input:1", "standard input:2"]
    assert report.found["card number"].places == ["b.txt:27"]
    assert report.counts() == {"private key": 1, "card number": 1, "email": 7}


def long_text(seed):
    """Secrets of all kinds at any distance, more than once the length that is held back."""
    rng = random.Random(seed)
    everything = [secret for found in SECRETS.values() for secret in found]
    everything += [before + secret for before, secret in ASSIGNED] + HARMLESS
    everything += ["a@b.cc@d.ee@f.gg", "é" * 50, PEM[:200], "x" * 300]
    parts = []
    while sum(map(len, parts)) < 5 * MAX_SECRET_BYTES:
        parts += [rng.choice(everything), rng.choice([" ", "\n", "; ", " said Ünal, "]) * rng.choice([1, 1, 40])]
    return "".join(parts)


@pytest.mark.parametrize("seed", range(4))
def test_a_secret_across_blocks_is_found_as_in_one(seed):
    text = long_text(seed)
    whole, report = redacted(text, block_bytes=1 << 30)
    assert report.found.keys() == set(KINDS)
    rng = random.Random(seed)
    for block_bytes in (1, 1000, 50_000):
        pieces, start = [], 0
        while start < len(text):
            end = start + rng.choice([1, 70, 5000, 40_000])
            pieces.append(text[start:end].encode())
            start = end
        parted, other = redacted(text, pieces, block_bytes)
        assert parted == whole
        assert other == report


def test_a_secret_over_a_block_border_is_found_wherever_it_lies():
    secret = SECRETS["GitHub token"][0]
    for place in range(len(secret) + 2):
        text = "word " * 20_000 + "x" * place + " " + secret + " end"
        cut = len(text) - len(" end") - len(secret)
        parted, report = redacted(text, [text[:cut].encode(), text[cut:].encode()], 1)
        assert secret not in parted
        assert report.counts() == {"GitHub token": 1}


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300))
def test_without_redaction_the_text_comes_out_as_it_went_in(text):
    text = "".join(char for char in text if not "\ud800" <= char <= "\udfff")
    scanner = SecretScanner(redacts=False)
    assert scanner.feed(text.encode(), "a") + scanner.end_document() == text.encode()


@pytest.mark.parametrize(
    "text",
    ["password=", "a@", "@", "eyJaaaaaaaaaa.", "4111 ", "sk-", "://a:", "-----BEGIN PRIVATE KEY-----", "DE89 3704 ",
     "token: 'a", "a" * 63 + "@", "secret_key_key=", "7", "A1", "password is ", "xoxb-1-", "SG."],
)  # fmt: skip
def test_no_text_takes_long(text):
    data = (text * (300_000 // len(text))).encode()
    start = time.process_time()
    find_secrets(data)
    assert time.process_time() - start < 3  # measured 0.01 to 0.15
