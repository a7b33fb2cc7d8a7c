"""Made-up texts of kinds that people have and no corpus offers: a shell history, JSON lines, mail.

Each text is a function of a seed and a number of bytes. Names, files and subjects follow Zipf's law and persist: a
session works in one directory, a record's city lies in its country, a reply quotes what it answers. So such a text can
be predicted in part, as a real one can, and by no fixed table.
"""

import random
from collections.abc import Callable, Iterator, Sequence

_ONSETS = [
    "b",
    "br",
    "c",
    "ch",
    "d",
    "dr",
    "f",
    "g",
    "gr",
    "h",
    "k",
    "l",
    "m",
    "n",
    "p",
    "pl",
    "r",
    "s",
    "sh",
    "st",
    "t",
    "tr",
    "v",
    "w",
    "z",
]
_VOWELS = ["a", "e", "i", "o", "u", "ai", "ea", "ou"]
_CODAS = ["", "", "n", "r", "s", "l", "t", "nd", "ck", "m"]


class Zipf:
    """Draws from items, the n-th of them 1 / n as often as the first."""

    def __init__(self, items: Sequence[str], generator: random.Random) -> None:
        self.items = items
        self._weights = [1 / rank for rank in range(1, len(items) + 1)]
        self._generator = generator

    def draw(self) -> str:
        """Draw one of the items."""
        return self._generator.choices(self.items, self._weights)[0]


def made_up_words(number: int, generator: random.Random) -> list[str]:
    """Different words of one to three syllables."""
    words: dict[str, None] = {}
    while len(words) < number:
        syllables = generator.choices((1, 2, 3), (1, 3, 1))[0]
        parts = [generator.choice(_ONSETS) + generator.choice(_VOWELS) for _ in range(syllables)]
        words["".join(parts) + generator.choice(_CODAS)] = None
    return list(words)


# ---------------------------------------------------------------------------------------- a shell history


def history_lines(generator: random.Random) -> Iterator[str]:
    """Commands of sessions, each in a directory with files of its own."""
    words = made_up_words(600, generator)
    directories = Zipf([f"~/{word}" for word in words[:12]], generator)
    files = {
        directory: Zipf(
            [f"{words[generator.randrange(600)]}{generator.choice(('.py', '.py', '.md', '.txt'))}" for _ in range(25)],
            generator,
        )
        for directory in directories.items
    }
    nouns, hosts = Zipf(words[20:400], generator), Zipf(words[400:408], generator)
    verbs = Zipf(["fix", "add", "remove", "rename", "update", "test", "document", "simplify"], generator)
    commands: dict[str, Callable[[Zipf], str]] = {
        "git": lambda here: generator.choices(
            (
                "git status",
                f"git add {here.draw()}",
                f'git commit -m "{verbs.draw()} {nouns.draw()} {nouns.draw()}"',
                "git diff",
                "git push",
                "git log --oneline",
                f"git checkout {nouns.draw()}",
            ),
            (9, 7, 6, 5, 4, 2, 2),
        )[0],
        "ls": lambda here: generator.choices(("ls -la", "ls", f"ls {nouns.draw()}/", "ls -lt | head"), (6, 8, 3, 1))[0],
        "vim": lambda here: f"vim {here.draw()}",
        "python": lambda here: generator.choices(
            (f"python {here.draw()}", f"python -m pytest -k {nouns.draw()}", "python -m pytest"), (4, 2, 3)
        )[0],
        "grep": lambda here: f"grep -rn {nouns.draw()} {generator.choice(('.', here.draw()))}",
        "cat": lambda here: f"cat {here.draw()}{generator.choice(('', '', ' | less', ' | wc -l'))}",
        "make": lambda here: generator.choices(
            ("make", "make test", "make clean", f"make {nouns.draw()}"), (4, 6, 2, 1)
        )[0],
        "ssh": lambda here: f"ssh {hosts.draw()}",
        "mv": lambda here: f"mv {here.draw()} {nouns.draw()}.txt",
        "docker": lambda here: generator.choices(
            ("docker ps", f"docker logs {nouns.draw()}", "docker compose up -d"), (3, 2, 2)
        )[0],
        "curl": lambda here: f"curl -s localhost:8000/{nouns.draw()} | jq .",
        "rm": lambda here: f"rm {generator.choice(('', '-r '))}{here.draw()}",
    }
    names = Zipf(list(commands), generator)
    while True:
        directory = directories.draw()
        yield f"cd {directory}"
        for _ in range(generator.randint(3, 20)):
            yield commands[names.draw()](files[directory])


# ---------------------------------------------------------------------------------------- JSON lines

_COUNTRIES = [
    "USA",
    "Germany",
    "India",
    "Brazil",
    "France",
    "Japan",
    "Kenya",
    "Norway",
    "Chile",
    "Vietnam",
    "Ghana",
    "Portugal",
]


def json_lines(generator: random.Random) -> Iterator[str]:
    """Records of fixed keys, whose values depend on each other."""
    words = made_up_words(900, generator)
    countries = Zipf(_COUNTRIES, generator)
    cities = {
        country: Zipf([word.capitalize() for word in generator.sample(words, 20)], generator) for country in _COUNTRIES
    }
    first_names = Zipf([word.capitalize() for word in words[:80]], generator)
    last_names = Zipf([word.capitalize() for word in words[80:500]], generator)
    products = {
        kind: Zipf(generator.sample(words, 15), generator) for kind in ("book", "tool", "garment", "game", "food")
    }
    kinds = Zipf(list(products), generator)
    states = Zipf(["shipped", "ordered", "returned", "cancelled"], generator)
    while True:
        country, kind = countries.draw(), kinds.draw()
        first_name, last_name = first_names.draw(), last_names.draw()
        yield (
            f'{{"Name": "{first_name} {last_name}", "Country": "{country}", '
            f'"City": "{cities[country].draw()}", "Kind": "{kind}", "Item": "{products[kind].draw()}", '
            f'"Count": {min(generator.randint(1, 9), generator.randint(1, 9))}, "State": "{states.draw()}"}}'
        )


# ---------------------------------------------------------------------------------------- mail


def mail_lines(generator: random.Random) -> Iterator[str]:
    """Mails with headers; half of them answer the one before, which they quote."""
    words = made_up_words(900, generator)
    people = Zipf([f"{words[2 * i].capitalize()} {words[2 * i + 1].capitalize()}" for i in range(30)], generator)
    nouns = Zipf(words[60:], generator)
    quoted: list[str] = []
    sender, receiver, subject = people.draw(), people.draw(), nouns.draw()
    while True:
        is_reply = bool(quoted) and generator.random() < 0.5
        if is_reply:
            sender, receiver = receiver, sender
        else:
            sender, receiver, subject = people.draw(), people.draw(), f"{nouns.draw()} {nouns.draw()}"
        first_name = sender.split()[0]
        yield f"From: {sender} <{sender.lower().replace(' ', '.')}@example.org>"
        yield f"To: {receiver} <{receiver.lower().replace(' ', '.')}@example.org>"
        yield f"Date: {generator.choice(('Mon', 'Tue', 'Wed', 'Thu', 'Fri'))}, {generator.randint(1, 28)} May 2024"
        yield f"Subject: {'Re: ' * is_reply}{subject}"
        yield ""
        if is_reply:
            yield f"{receiver} wrote:"
            yield from (f"> {line}" for line in quoted)
            yield ""
        yield f"{generator.choices(('Hi', 'Dear', 'Hello'), (5, 3, 1))[0]} {receiver.split()[0]},"
        yield ""
        quoted = []
        for _ in range(generator.randint(1, 4)):
            line = _mail_sentence(generator, nouns, people, subject)
            quoted.append(line)
            yield line
        yield ""
        yield generator.choices(("Best regards,", "Thanks,", "See you,"), (5, 3, 1))[0]
        yield first_name
        yield ""


def _mail_sentence(generator: random.Random, nouns: Zipf, people: Zipf, subject: str) -> str:
    person = people.draw().split()[0]
    day = generator.choice(("Monday", "Tuesday", "Wednesday", "Thursday", "Friday"))
    return generator.choices(
        (
            f"Could you send me the {nouns.draw()} before {day}?",
            f"I have talked to {person} about the {subject}, and the {nouns.draw()} is ready.",
            f"The {nouns.draw()} of the {nouns.draw()} will be late, as {person} said on {day}.",
            f"We should meet on {day} to discuss the {subject}.",
            f"Please find the {nouns.draw()} attached.",
            f"Thank you for the {nouns.draw()}.",
            f"{person} thinks that the {nouns.draw()} needs another {nouns.draw()}.",
        ),
        (4, 4, 3, 3, 3, 2, 2),
    )[0]


KINDS: dict[str, Callable[[random.Random], Iterator[str]]] = {
    "history": history_lines,
    "json": json_lines,
    "mail": mail_lines,
}


def made_up_text(kind: str, num_bytes: int, *, seed: int = 0) -> str:
    """Whole lines of one kind, about ``num_bytes`` together (all of it is ASCII)."""
    lines, size = [], 0
    for line in KINDS[kind](random.Random(f"{kind} {seed}")):
        lines.append(line)
        size += len(line) + 1
        if size >= num_bytes:
            break
    return "\n".join(lines) + "\n"
