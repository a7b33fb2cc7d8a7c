"""What `check --lines` finds of lines that were put into logs, and what it finds besides.

Two kinds of logs are made up: a web server's requests (*access*) and the services of some machines (*services*), each
with addresses, identifiers and words that come once, and with events that are rare but ordinary. For each a model is
trained (``train --minutes 1``) on a log of an ordinary day. Into logs of later days, lines of six kinds are put:

- *event*: what is requested or happens stands in no other line;
- *trace*: a line of a stack trace;
- *status*: an ordinary line but for its status, level or outcome, which this kind of line never has;
- *broken*: a line cut short, overwritten in part, or run into by the next;
- *foreign*: a line of another program's log;
- *number*: an ordinary line but for a number far from what it usually is.

A finding is right if it is of such a line. Precision is the share of findings that are right, recall the share of
lines found, and F0.5 weighs precision more. Beside it the plain measure: bits per byte of the line. Thresholds are
those with the best F0.5 on a log of another seed; `check` with its default is shown too, and what it finds in logs into
which nothing was put.

    python benchmarks/anomalous_lines.py [--lines 6000] [--share 0.02] [--seed 0] [--models DIR]
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import json
import random
import string
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from common import GRU_COMPLETE, Detection, best_threshold, parse_arguments

from gru_complete.checking.anomalous_lines import DEFAULT_THRESHOLD, AnomalousLineFinder
from gru_complete.runtime.completer import Completer

KINDS = ("event", "trace", "status", "broken", "foreign", "number")
FIRST_DAY = datetime(2026, 5, 4)
WORDS = [
    "lamp", "chair", "table", "oak", "desk", "shelf", "wool", "rug", "linen", "curtain", "mirror", "brass", "hook",
    "coat", "stand", "garden", "bench", "clay", "pot", "kettle", "copper", "pan", "steel", "knife", "bread", "board",
    "glass", "bowl", "candle", "soap", "towel", "basket", "cotton", "sheet", "pillow", "blanket", "drawer", "frame",
]  # fmt: skip
TRACES = (
    "\tat com.example.shop.cart.CartService.addItem(CartService.java:{})",
    "\tat java.base/java.util.concurrent.ThreadPoolExecutor.runWorker(ThreadPoolExecutor.java:{})",
    "Traceback (most recent call last):",
    '  File "/srv/shop/orders/views.py", line {}, in checkout',
    "KeyError: 'session_{}'",
    "java.lang.NullPointerException: Cannot invoke \"Order.getId()\" because \"order\" is null",
    "Caused by: java.net.SocketTimeoutException: Read timed out after {} ms",
    "goroutine {} [running]:",
    "    raise ConnectionError(err, request=request)",
    "panic: runtime error: index out of range [{}] with length 3",
)  # fmt: skip


class Put(NamedTuple):
    """A line that does not belong there: its number, from 1, and its kind."""

    line: int
    kind: str


class Log:
    """A source of lines. Whoever is not random (addresses, agents, jobs) is the same whatever the seed."""

    def __init__(self, seed: int, day: int) -> None:
        self.rng = random.Random(seed)
        self.time = FIRST_DAY + timedelta(days=day)
        cast = random.Random(7)
        self.addresses = [_address(cast) for _ in range(300)]
        self.fingerprints = ["".join(cast.choices(string.ascii_letters + string.digits, k=20)) for _ in range(12)]

    def usual(self) -> str:
        """An ordinary line."""
        raise NotImplementedError

    def odd(self, kind: str) -> str:
        """A line of a kind that is not."""
        if kind == "trace":
            return self.rng.choice(TRACES).format(self.rng.randrange(12, 900))
        if kind == "broken":
            return self._broken()
        return {"event": self.event, "status": self.status, "foreign": self.foreign, "number": self.number}[kind]()

    def event(self) -> str:
        """A line of something that never happened before."""
        raise NotImplementedError

    def status(self) -> str:
        """A line with a status that its kind never has."""
        raise NotImplementedError

    def foreign(self) -> str:
        """A line as another program writes it."""
        raise NotImplementedError

    def number(self) -> str:
        """A line with a number that is far too large."""
        raise NotImplementedError

    def tick(self, seconds: float) -> None:
        """Let time pass."""
        self.time += timedelta(seconds=self.rng.expovariate(1 / seconds))

    def ranked(self, number: int) -> int:
        """One of so many things, the first ones far more often than the last (Zipf)."""
        return min(number - 1, int(number ** self.rng.random()) - 1)

    def address(self) -> str:
        """A known address, now and then a new one."""
        return _address(self.rng) if self.rng.random() < 0.08 else self.addresses[self.ranked(300)]

    def _broken(self) -> str:
        line, rng = self.usual(), self.rng
        place = rng.randrange(len(line) // 5, 4 * len(line) // 5)
        way = rng.randrange(3)
        if way == 0:
            return line[:place]
        if way == 1:
            return line[:place] + self.usual()
        junk = "".join(rng.choices(string.printable[:94] + "\x00\x1b\ufffd", k=rng.randrange(4, 12)))
        return line[:place] + junk + line[place + len(junk) :]


def _address(rng: random.Random) -> str:
    return ".".join(str(rng.randrange(1, 255)) for _ in range(4))


AGENTS = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/147.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 26_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.4 "
    "Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.4 "
    "Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/147.0.0.0 Mobile Safari/537.36",
    "shop-app/4.12.1 (Android 16)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "kube-probe/1.33",
    "curl/8.14.1",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:150.0) Gecko/20100101 Firefox/150.0",
    "python-requests/2.32.4",
]
ASSETS = [
    f"/static/{WORDS[index]}.{index * 7919 + 65536:x}.{('css', 'js', 'png', 'svg')[index % 4]}" for index in range(30)
]
NEW_PATHS = (
    "/../../../../etc/passwd", "/wp-admin/setup-config.php?step=0", "/.git/config", "/.env", "/phpmyadmin/index.php",
    "/cgi-bin/luci/;stok=/locale?form=country", "/actuator/gateway/routes", "/api/v2/export?table=users&format=csv",
    "/vendor/phpunit/phpunit/src/Util/PHP/eval-stdin.php", "/search?q=%27%20OR%201%3D1%20--", "/backup/shop-db.sql.gz",
    "/account/../admin/roles", "/item/12%00.jpg", "/boaform/admin/formLogin", "/debug/pprof/heap", "/console/",
)  # fmt: skip


class AccessLog(Log):
    """Requests to a shop, in the combined format with the seconds that each took."""

    def usual(self) -> str:
        """A request."""
        return self._line(*self._request())

    def _request(self) -> tuple[str, str, int, int, float]:
        """Method, path, status, bytes, seconds."""
        rng = self.rng
        kind = self.ranked(12)
        if kind == 0:
            path = rng.choice(ASSETS)
            is_kept = rng.random() < 0.4
            return "GET", path, 304 if is_kept else 200, 0 if is_kept else 900 + 37 * ASSETS.index(path), 0.001
        if kind == 1:
            item = self.ranked(4000)
            path = f"/item/{item}"
            return (
                ("GET", path, 200, int(rng.gauss(18000, 1500)), 0.03) if item < 3900 else ("GET", path, 404, 1182, 0.01)
            )
        if kind == 2:
            return "GET", "/", 200, int(rng.gauss(24000, 600)), 0.02
        if kind == 3:
            query = "+".join(WORDS[self.ranked(len(WORDS))] for _ in range(rng.choice((1, 1, 2, 2, 3))))
            return "GET", f"/search?q={query}", 200, int(rng.gauss(9000, 3000)) if rng.random() < 0.9 else 2120, 0.08
        if kind == 4:
            return "GET", "/health", 200, 2, 0.001
        if kind == 5:
            ids = ",".join(str(self.ranked(4000)) for _ in range(rng.randrange(1, 5)))
            path = f"/api/v1/stock?ids={ids}"
            return ("GET", path, 500, 61, 0.2) if rng.random() < 0.005 else ("GET", path, 200, 2 + 31 * len(ids), 0.01)
        if kind == 6:
            return "POST", "/api/v1/cart", 201 if rng.random() < 0.95 else 409, 84, 0.03
        if kind == 7:
            return "POST", "/login", 302 if rng.random() < 0.85 else 401, 312, 0.2
        if kind == 8:
            return "GET", "/account/orders", 200, int(rng.gauss(7000, 1500)), 0.05
        if kind == 9:
            return "GET", "/feed.xml", rng.choice((200, 304)), 15113, 0.002
        if kind == 10:
            return "GET", rng.choice(("/robots.txt", "/favicon.ico", "/wp-login.php", "/sitemap.xml")), 404, 1182, 0.001
        return "POST", "/checkout", 303 if rng.random() < 0.9 else 402, 0, 0.6

    def _line(self, method: str, path: str, status: int, size: int, seconds: float) -> str:
        rng = self.rng
        self.tick(1.5)
        referer = f"https://shop.example.org/item/{self.ranked(4000)}" if rng.random() < 0.3 else "-"
        seconds *= rng.lognormvariate(0, 0.5)
        return (
            f"{self.address()} - - [{self.time:%d/%b/%Y:%H:%M:%S} +0000] \"{method} {path} HTTP/1.1\" {status} {size} "
            f'"{referer}" "{AGENTS[self.ranked(len(AGENTS))]}" {seconds:.3f}'
        )  # fmt: skip

    def event(self) -> str:
        """A path that nobody asked for before."""
        rng = self.rng
        return self._line(
            rng.choice(("GET", "GET", "POST")), rng.choice(NEW_PATHS), rng.choice((200, 403, 404)), 1182, 0.01
        )

    def status(self) -> str:
        """A status that this request never had."""
        method, path, status, size, seconds = self._request()
        others = [one for one in (200, 204, 403, 405, 500, 502, 503) if one != status]
        if "stock" in path:
            others.remove(500)
        return self._line(method, path, self.rng.choice(others), size, seconds)

    def foreign(self) -> str:
        """A line of a service."""
        return ServicesLog(self.rng.randrange(1 << 30), self.rng.randrange(30)).usual()

    def number(self) -> str:
        """Far too many bytes, or far too slow."""
        method, path, status, size, seconds = self._request()
        if self.rng.random() < 0.5:
            return self._line(method, path, status, self.rng.randrange(10**7, 10**9), seconds)
        return self._line(method, path, status, size, 100 + 200 * self.rng.random())


HOSTS = ("web-1", "web-2", "db-1", "mail", "queue-1")
UNITS = (
    "Daily apt download activities", "Rotate log files", "Cleanup of Temporary Directories", "Refresh fwupd metadata",
    "Daily man-db regeneration", "Update the message of the day", "Discard unused blocks",
)  # fmt: skip
COMMANDS = (
    "/usr/bin/certbot -q renew", "/usr/local/bin/backup --incremental", "test -x /usr/sbin/anacron",
    "/srv/bin/prune-carts", "cd / && run-parts --report /etc/cron.hourly",
    "/srv/bin/report --daily | mail -s report ops@example.org",
)  # fmt: skip
USERS = ("deploy", "backup", "anna", "marek", "ops")
QUEUES = ("mail", "thumbnails", "invoices", "search-index", "webhooks")
NEW_EVENTS = (
    "CRON[{n}]: (www-data) CMD (/tmp/.x/kworkerd -o pool.example.net:{n} -B)",
    "sudo: guest : TTY=pts/3 ; PWD=/home/guest ; USER=root ; COMMAND=/bin/cat /etc/shadow",
    "useradd[{n}]: new user: name=svc, UID=0, GID=0, home=/root, shell=/bin/bash",
    "sshd[{n}]: Accepted password for root from {a} port {n} ssh2",
    "kernel: Out of memory: Killed process {n} (postgres) total-vm:{n}4kB, anon-rss:{n}0kB",
    "kernel: EXT4-fs error (device sda1): ext4_find_entry:{n}: inode #2: comm nginx: reading directory lblock 0",
    "systemd[1]: nginx.service: Main process exited, code=killed, status=9/KILL",
    "kernel: nfs: server 10.0.0.{m} not responding, still trying",
    "worker[{n}]: ERROR cannot reach redis at 10.0.0.{m}:6379, giving up after 5 attempts",
    "api[{n}]: WARN certificate of payments.example.org expires in {m} hours",
    "dockerd[{n}]: Container {n} failed to exit within 10s of signal 15 - using the force",
    "kernel: mce: [Hardware Error]: Machine check events logged",
)
OTHER_LOGS = (
    '{{"ts":{n}.{n},"level":"info","logger":"http.log.access","msg":"handled request","status":200,"size":{n}}}',
    "LOG {n}: Microsoft-Windows-Security-Auditing EventID={m} SubjectUserName=ADMIN$ LogonType=3",
    "127.0.0.1:{n} [18/May/2026:10:{m}:09.{m}] fe_http be_app/app{m} 0/0/1/{m}/{m} 200 {n} - - ---- 12/11/0/0/0 0/0",
    "[{n}.{n}] player {m} connected: ping={m} map=de_dust2",
    "<{m}>1 2026-05-18T10:11:{m}Z fw01 filterlog - - - 5,,,{n},igb0,match,block,in,4,0x0,,64,{n},0,DF,6,tcp",
)


class ServicesLog(Log):
    """What services of five machines tell syslog."""

    def usual(self) -> str:
        """A message."""
        return self._line(self._message())

    def _message(self) -> str:
        rng, pid = self.rng, self.rng.randrange(300, 32768)
        kind = self.ranked(16)
        queue, user, worker = QUEUES[self.ranked(5)], USERS[self.ranked(5)], f"worker[{2000 + self.ranked(9)}]:"
        job = rng.randrange(10**5, 10**6)
        if kind == 0:
            return f"{worker} INFO job {job} done in {int(rng.lognormvariate(4, 0.7)) + 1} ms queue={queue}"
        if kind == 1:
            what = rng.choice(("GET /stock", "GET /cart", "POST /cart", "POST /checkout", "GET /orders"))
            took, customer = int(rng.lognormvariate(3, 0.6)) + 1, rng.randrange(10000, 99999)
            return f"api[{1400 + self.ranked(4)}]: INFO {what} status=200 took={took}ms user={customer}"
        if kind == 2:
            place = f"{self.address()} port {rng.randrange(32768, 60999)}"
            key = self.fingerprints[self.ranked(12)]
            return f"sshd[{pid}]: Accepted publickey for {user} from {place} ssh2: ED25519 SHA256:{key}"
        if kind == 3:
            return f"sshd[{pid}]: pam_unix(sshd:session): session {rng.choice(('opened', 'closed'))} for user {user}"
        if kind == 4:
            return f"CRON[{pid}]: (root) CMD ({rng.choice(COMMANDS)})"
        if kind == 5:
            return f"systemd[1]: {rng.choice(('Starting', 'Finished'))} {rng.choice(UNITS)}."
        if kind == 6:
            return f"{worker} INFO queue={queue} waiting={self.ranked(400)} oldest={self.ranked(60)}s"
        if kind == 7:
            target = rng.choice((22, 23, 445, 3389, 5060, 8080, rng.randrange(1024, 65536)))
            return (
                f"kernel: [UFW BLOCK] IN=eth0 OUT= SRC={_address(rng)} DST=192.0.2.{10 + self.ranked(5)} "
                f"LEN={rng.choice((40, 44, 52, 60))} TTL={rng.randrange(40, 250)} PROTO=TCP "
                f"SPT={rng.randrange(1024, 65536)} DPT={target}"
            )
        if kind == 8:
            name, size = f"{rng.randrange(16**10):010X}", int(rng.lognormvariate(8.5, 1))
            return f"postfix/qmgr[811]: {name}: from=<shop@example.org>, size={size}, nrcpt=1 (queue active)"
        if kind == 9:
            name = rng.choice(("admin", "test", "oracle"))
            return f"sshd[{pid}]: Failed password for invalid user {name} from {_address(rng)}"
        if kind == 10:
            wrote, took = rng.randrange(20, 900), rng.randrange(2, 90) / 100
            return (
                f"postgres[655]: LOG checkpoint complete: wrote {wrote} buffers ({wrote / 164:.1f}%); sync={took:.2f} s"
            )
        if kind == 11:
            name = f"ntp{rng.randrange(1, 5)}.example.org"
            return f"chronyd[590]: Selected source 192.0.2.{rng.randrange(100, 104)} ({name})"
        if kind == 12:
            return f"{worker} WARN job {job} tried again (2 of 5) queue={queue}"
        if kind == 13:
            renewal = rng.randrange(1500, 2000)
            return f"dhclient[602]: DHCPACK of 10.0.0.{rng.randrange(2, 40)} from 10.0.0.1, renewal in {renewal} s"
        if kind == 14:
            return f"systemd-logind[571]: New session {rng.randrange(100, 4000)} of user {user}."
        return f"{worker} ERROR job {job} gave up: bad address queue=mail"

    def _line(self, message: str) -> str:
        self.tick(4)
        return f"{self.time:%b} {self.time.day:2} {self.time:%H:%M:%S} {HOSTS[self.ranked(5)]} {message}"

    def event(self) -> str:
        """A message that nobody wrote before."""
        rng = self.rng
        message = rng.choice(NEW_EVENTS)
        return self._line(message.format(n=rng.randrange(1000, 60000), m=rng.randrange(10, 60), a=_address(rng)))

    def status(self) -> str:
        """A message with a level or an outcome that it never had."""
        return self._line(
            self._changed(
                {
                    ("INFO job", "done"): ("INFO", ("ERROR", "FATAL", "CRITICAL")),
                    ("status=200",): ("200", ("500", "503", "403", "429")),
                    ("Finished",): ("Finished", ("Failed", "Aborted")),
                    ("waiting=",): ("INFO", ("FATAL", "ERROR", "CRITICAL")),
                    ("LOG checkpoint",): ("LOG", ("PANIC", "FATAL")),
                    ("Accepted publickey",): ("Accepted", ("Rejected", "Expired")),
                }
            )
        )

    def number(self) -> str:
        """A message with a number that is far too large."""
        rng = self.rng
        large = str(rng.randrange(10**7, 10**9))
        line = self._changed(
            {
                (" done in ",): (" done in ", (f" done in {large}",)),
                ("took=",): ("took=", (f"took={large}",)),
                ("waiting=",): ("waiting=", (f"waiting={large}",)),
                ("size=",): ("size=", (f"size={large}",)),
                ("sync=",): ("sync=", (f"sync={large}",)),
                ("renewal in ",): ("renewal in ", (f"renewal in {large}",)),
            }
        )
        return self._line(line)

    def _changed(self, table: dict[tuple[str, ...], tuple[str, tuple[str, ...]]]) -> str:
        """A message in which there is something of the table, with another thing in its place."""
        while True:
            message = self._message()
            for marks, (old, new) in table.items():
                if all(mark in message for mark in marks):
                    return message.replace(old, self.rng.choice(new), 1)

    def foreign(self) -> str:
        """A line of a web server or of something else."""
        rng = self.rng
        if rng.random() < 0.4:
            return AccessLog(rng.randrange(1 << 30), rng.randrange(30)).usual()
        return rng.choice(OTHER_LOGS).format(n=rng.randrange(1000, 60000), m=rng.randrange(10, 60))


LOGS: dict[str, Callable[[int, int], Log]] = {"access": AccessLog, "services": ServicesLog}


def written(log: Log, number: int, share: float) -> tuple[str, list[Put]]:
    """So many lines, with lines of all kinds in the places of a share of them; and where those are."""
    places = sorted(log.rng.sample(range(1, number + 1), round(share * number)))
    kinds = [KINDS[index % len(KINDS)] for index in range(len(places))]
    log.rng.shuffle(kinds)
    odd = dict(zip(places, kinds, strict=True))
    lines = [log.odd(odd[line]) if line in odd else log.usual() for line in range(1, number + 1)]
    return "\n".join(lines) + "\n", [Put(line, kind) for line, kind in odd.items()]


class Scored(NamedTuple):
    """A log whose lines were scored: (score, line) by measure, and what was put into it."""

    scores: dict[str, list[tuple[float, int]]]
    put: list[Put]
    num_lines: int

    def detection(self, measure: str, threshold: float) -> Detection:
        """What is found with a threshold."""
        found = self._lines(measure, threshold)
        return Detection(len(found), sum(one.line in found for one in self.put), len(self.put))

    def recalls(self, measure: str, threshold: float) -> dict[str, float]:
        """The recall of each kind of line."""
        found = self._lines(measure, threshold)
        hits = Counter(one.kind for one in self.put if one.line in found)
        totals = Counter(one.kind for one in self.put)
        return {kind: hits[kind] / max(1, totals[kind]) for kind in KINDS}

    def _lines(self, measure: str, threshold: float) -> set[int]:
        return {line for score, line in self.scores[measure] if score >= threshold}

    def best_threshold(self, measure: str) -> float:
        """With which F0.5 is best."""
        return best_threshold(self.scores[measure], {one.line for one in self.put})


def looked_at(completer: Completer, text: str, put: list[Put]) -> Scored:
    """Score all lines of a log."""
    found = list(AnomalousLineFinder(completer, threshold=0.0).findings([text]))
    scores = {
        "bits per byte": [(one.bits_per_byte, one.line) for one in found],
        "strangeness": [(one.anomaly_score, one.line) for one in found],
    }
    return Scored(scores, put, text.count("\n"))


def train(corpus: Path, model: Path, minutes: float) -> None:
    """Train as a user does."""
    command = [*GRU_COMPLETE, "train", str(corpus), "-m", str(model), "--minutes", f"{minutes:g}"]
    subprocess.run([*command, "--replace", "--quiet"], check=True)


def measured(name: str, directory: Path, options: argparse.Namespace) -> dict[str, object]:
    """Figures of one kind of log."""
    make, seed = LOGS[name], options.seed
    model = directory / name
    if not model.exists():
        corpus = directory / f"{name}.log"
        corpus.write_text(written(make(seed, 0), options.training_lines, 0.0)[0])
        train(corpus, model, options.minutes)
    completer = Completer.load(model)
    tuning_text, tuning_put = written(make(seed + 1, 14), options.lines, options.share)
    text, put = written(make(seed + 2, 21), options.lines, options.share)
    clean, _ = written(make(seed + 3, 28), options.lines, 0.0)
    started = time.perf_counter()
    tuning = looked_at(completer, tuning_text, tuning_put)
    seconds = time.perf_counter() - started
    test, nothing = looked_at(completer, text, put), looked_at(completer, clean, [])
    print(f"{name}: {test.num_lines:,} lines, {len(put)} of them odd; {len(tuning_text) / seconds / 1000:.0f} kB/s")
    print(f"{'':28}{'threshold':>10}{'precision':>11}{'recall':>8}{'F0.5':>7}{'clean':>7}   recall by kind")
    result: dict[str, object] = {}
    for row, measure, threshold in (
        ("bits per byte, chosen", "bits per byte", tuning.best_threshold("bits per byte")),
        ("strangeness, chosen", "strangeness", tuning.best_threshold("strangeness")),
        ("strangeness, the default", "strangeness", DEFAULT_THRESHOLD),
    ):
        one, recalls = test.detection(measure, threshold), test.recalls(measure, threshold)
        per_thousand = 1000 * nothing.detection(measure, threshold).found / nothing.num_lines
        shown = ", ".join(f"{kind} {share:.2f}" for kind, share in recalls.items())
        figures = f"{threshold:10.2f}{one.precision:11.3f}{one.recall:8.3f}{one.f_half:7.3f}{per_thousand:7.2f}"
        print(f"{row:28}{figures}   {shown}")
        result[row] = {
            "threshold": threshold, "found": one.found, "right": one.right, "odd": one.actual, "recalls": recalls,
            "f_half": one.f_half, "clean_per_1000": per_thousand,
            "tuning_f_half": tuning.detection(measure, threshold).f_half,
        }  # fmt: skip
    print(f"on the tuning log: {_shown(tuning)}\n")
    return result


def _shown(tuning: Scored) -> str:
    """F0.5 by threshold."""
    return ", ".join(f"{one} {tuning.detection('strangeness', one).f_half:.3f}" for one in (2, 3, 3.5, 4, 4.5, 5, 6, 8))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0, help="of each training")
    parser.add_argument("--training-lines", type=int, default=20_000)
    parser.add_argument("--lines", type=int, default=6_000, help="of each log that is looked at")
    parser.add_argument("--share", type=float, default=0.02, help="of its lines that are odd")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", type=Path, help="keep the models here, and use those that are there")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parse_arguments(parser, smoke="--minutes 0.02 --training-lines 300 --lines 100 --share 0.1")
    with tempfile.TemporaryDirectory() as scratch:
        directory = options.models or Path(scratch)
        directory.mkdir(parents=True, exist_ok=True)
        report = {name: measured(name, directory, options) for name in LOGS}
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
