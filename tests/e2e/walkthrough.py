# SPDX-License-Identifier: GPL-2.0-only
"""Runs the examples of docs/examples as their pages have them, and holds the pages against it.

A page is Markdown. In its blocks of kind `console` a line `$ COMMAND` is typed at the balancer and
a line `client$ COMMAND` at a machine of clients; what follows up to the next such line, or the end
of the block, is what the command prints. Blocks of kind `yaml` are parts of the configurations. A
comment `<!-- within N% -->` says how far numbers of the next block may be from the printed ones,
where that is not 5%. Nothing else is known about a page: what runs is what is written there.

    with Platform(directory) as platform:
        differences = walk(platform, Page("docs/examples/random.md"))

Commands run in @directory, where `docs` and `scripts` are the repository's and `build/examples`
is what they make, in the namespaces of a lab of their own.
"""

import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lab import Lab, LabError  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.environ.get("XDP_CANARY", os.path.join(ROOT, "build", "xdp-canary"))
PAGES = [os.path.join(ROOT, "docs", "examples", name) for name in
         ("random.md", "behaviour.md", "interest.md", "learned.md", "README.md")]
SECRET = "000102030405060708090a0b0c0d0e0f"  # so that the pages' clients are drawn in every run
VIPS = ("192.0.2.10", "2001:db8::10")
PORT = 443
CLIENTS = {4: ("198.18.0.0/15", "198.51.100.0/24"), 6: ("2001:db8:1000::/36", "2001:db8:5::/48")}
COHORTS = {"b1": "stable", "b2": "stable", "b3": "canary"}  # as the configurations have them
PROMPT = re.compile(r"(\$|client\$) (.*)")
WITHIN = re.compile(r"<!-- within (\d+)% -->")
TIMEOUT = 300

# What is another one in every run, and what numbers are.
TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?")
DIGEST = re.compile(r"\b[0-9a-f]{16}\b")
NUMBER = re.compile(r"([-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?)(%|ppm)?")
DURATION = re.compile(r"(\d+(\.\d+)?(ms|s|m|h|d|w))+")
NEAR = 0.05  # part by which a number may differ from the page's
FEW = 5  # or a whole number by so many
# Of what is passed to the balancer itself, as neighbours' questions, there is more or less.
OWN = re.compile(r"pass +\w+ +\d+")


class Step:
    """A command of a page and the lines that the page says it prints."""

    def __init__(self, role, command, line, near):
        self.role, self.command, self.line = role, command, line  # from 1
        self.near = near  # part by which a number may be another
        self.output = []


class Page:
    def __init__(self, path):
        self.path = path
        with open(path, encoding="utf-8") as file:
            self.lines = file.read().split("\n")
        self.steps, self.parts = [], []  # parts: of configurations, (line, text)
        self._parse()

    def _parse(self):
        kind, near = None, NEAR
        for number, line in enumerate(self.lines, 1):
            within = WITHIN.fullmatch(line)
            if line.startswith("```"):
                near = near if kind is None else NEAR
                kind = None if kind is not None else line[3:]
                if kind == "yaml":
                    self.parts.append([number, []])
            elif kind == "yaml":
                self.parts[-1][1].append(line)
            elif kind == "console":
                self._parse_console(line, number, near)
            elif within:
                near = int(within[1]) / 100

    def _parse_console(self, line, number, near):
        prompt = PROMPT.fullmatch(line)
        if prompt:
            role = "client" if prompt[1] == "client$" else "lb"
            self.steps.append(Step(role, prompt[2], number, near))
        elif self.steps and self.steps[-1].command.endswith("\\") and not self.steps[-1].output:
            self.steps[-1].command += "\n" + line
        else:
            self.steps[-1].output.append(line)

    def pictures(self):
        """Names of files beside the page that it shows."""
        return [name for line in self.lines for name in re.findall(r"!\[[^]]*\]\(([^)/]+)\)", line)]

    def rewritten(self, outputs):
        """The page's text with these outputs, a list of lines for each step."""
        lines, at = [], 0
        for step, output in zip(self.steps, outputs):
            end = step.line + step.command.count("\n")
            lines += self.lines[at:end] + output
            at = end + len(step.output)
        return "\n".join(lines + self.lines[at:])


class Platform:
    """Clients, a balancer, and backends of an API that answer over HTTP who they are."""

    def __init__(self, directory=None):
        """@directory: where commands run; made if it is not there, and kept. None: the lab's."""
        self.directory = directory and os.path.abspath(directory)
        self.lab = Lab(backends=3)

    def __enter__(self):
        self.lab.__enter__()
        self.directory = self.directory or os.path.join(self.lab.directory, "work")
        try:
            self._make_directory()
            self._make()
        except BaseException:
            self.lab.close()
            raise
        return self

    def __exit__(self, *error):
        self.lab.__exit__(*error)

    def _make_directory(self):
        os.makedirs(os.path.join(self.directory, "build", "examples"), exist_ok=True)
        for name in ("docs", "scripts"):
            path = os.path.join(self.directory, name)
            if not os.path.exists(path):
                os.symlink(os.path.join(ROOT, name), path)

    def _make(self):
        for vip in VIPS:
            self.lab.add_vip(vip)
        for family, networks in CLIENTS.items():
            for network in networks:
                self.lab.run("client", ["ip", "route", "add", "local", network, "dev", "lo"])
                for role in ["lb"] + self.lab.backends:
                    self.lab.run(role, ["ip", "route", "add", network, "via",
                                        self.lab.address("client", family)])
        # A flow from the port that `explain` assumes would be what it explains.
        self.lab.run("client", ["sysctl", "-qw", "net.ipv4.ip_local_reserved_ports=40000"])
        for role, cohort in COHORTS.items():
            self.lab.start_nginx(role, name=cohort, port=PORT)
        secret = os.path.join(self.lab.state, "secret")
        with open(os.open(secret, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(SECRET + "\n")
        self.programs = os.path.join(self.lab.directory, "bin")
        os.mkdir(self.programs)
        os.symlink(PROGRAM, os.path.join(self.programs, "xdp-canary"))

    def type(self, role, command):
        """What @command prints, on both streams. LabError where it fails."""
        argv = ["env", "-C", self.directory, "bash", "-euo", "pipefail", "-c",
                "exec 2>&1\n" + command]
        path = self.programs + ":" + self.lab.environment["PATH"]
        return self.lab.run(role, argv, timeout=TIMEOUT, environment={
            "PATH": path, "TZ": "UTC", "LC_ALL": "C.UTF-8", "NO_COLOR": "1"}).stdout

    def served_by(self, clients):
        """{client: cohort} of a real HTTP request from each of these addresses."""
        cohorts = {}
        for vip in VIPS:
            mine = [client for client in clients if (":" in client) == (":" in vip)]
            for result in self.lab.load(mine, vip, PORT) if mine else []:
                if not result.ok:
                    raise LabError(f"{result.source}: {result.error}")
                cohorts[result.source] = result.backend
        return cohorts


# ---- comparing


def words_of(line):
    """The line without what is another one in every run."""
    line = DIGEST.sub("DIGEST", TIME.sub("TIME", line))
    words = []
    for word in re.split(r"([\s,;()=]+)", line):
        if not word.strip():
            continue
        word = word.removesuffix(":")
        words.append("DURATION" if DURATION.fullmatch(word) else word)
    return words


def is_near(one, other, near):
    """Are these words equal, or numbers that are about equal?"""
    numbers = NUMBER.fullmatch(one), NUMBER.fullmatch(other)
    if one == other or not all(numbers) or numbers[0][2] != numbers[1][2]:
        return one == other
    first, second = float(numbers[0][1]), float(numbers[1][1])
    is_whole = not numbers[0][2] and first == int(first) and second == int(second)
    return abs(first - second) <= max(near * max(abs(first), abs(second)), FEW * is_whole)


def is_same(one, other, near):
    """Of lines."""
    words = words_of(one), words_of(other)
    return len(words[0]) == len(words[1]) and \
        all(is_near(*pair, near) for pair in zip(*words))


def differences(page, step, output):
    """How what the command printed differs from the page, as lines for people."""
    lines = [[line for line in lines if not OWN.fullmatch(line)] for lines in (step.output, output)]
    if len(lines[0]) == len(lines[1]) and all(is_same(*pair, step.near) for pair in zip(*lines)):
        return []
    where = "%s:%d: $ %s" % (os.path.relpath(page.path, ROOT), step.line, step.command)
    return [where] + ["  page    " + line for line in step.output] + \
        ["  printed " + line for line in output]


def parts_that_are_in_no_file(page):
    """Blocks of configuration that no *.yaml beside the page has, as lines for people."""
    directory = os.path.dirname(page.path)
    files = []
    for name in sorted(os.listdir(directory)):
        if name.endswith(".yaml"):
            with open(os.path.join(directory, name), encoding="utf-8") as file:
                files.append([line.strip() for line in file])
    lost = []
    for number, lines in page.parts:
        wanted = [line.strip() for line in lines]
        if not any(wanted == file[at:at + len(wanted)]
                   for file in files for at in range(len(file))):
            lost.append("%s:%d: no configuration has these lines"
                        % (os.path.relpath(page.path, ROOT), number))
    return lost


def walk(platform, page, say=lambda text: None):
    """Types the page's commands. Returns what each printed, a list of lines for each step."""
    outputs = []
    for step in page.steps:
        say("%s %s" % ("client$" if step.role == "client" else "$", step.command))
        output = platform.type(step.role, step.command).rstrip("\n")
        outputs.append(output.split("\n") if output else [])
        if output:
            say(output)
    return outputs
