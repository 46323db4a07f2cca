"""Steps of a comparison: what runs, is kept, is not run again, and can be interrupted.

A step is a few launch lines and a function that makes a result of what they left. Its result is in
results/NAME.json, with everything that it depends on; a step is done when that file says so and
what it depends on is still the same.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import fcntl
import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

FIELD = re.compile(r"([\w-]+)=\([\w]+\)\"?([^,;\"]*)")
KEPT = ("pirl-training,", "pirl-epoch,", "pirl-probe,", "ERROR", "WARNING", "Additional debug")
PATIENCE = 60                   # seconds between two lines of progress where nobody watches


class Failed(Exception):
    """A step ended badly; the text says why, @words are the last ones of its program."""

    def __init__(self, text, words=()):
        super().__init__(text)
        self.words = words


class Interrupted(Exception):
    """Somebody wants it to end."""


def fields(line):
    """The fields of an element message in a line of gst-launch-1.0 -m, as text."""
    return dict(FIELD.findall(line))


def span(seconds):
    """3725 -> "1 h 2 min"."""
    seconds = int(seconds + .5)
    if seconds >= 3600:
        return f"{seconds // 3600} h {seconds // 60 % 60} min"
    return f"{seconds // 60} min {seconds % 60} s" if seconds >= 60 else f"{seconds} s"


def write_json(path, value):
    """Whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value, indent=1) + "\n")
    part.replace(path)


def warnings_in(path):
    """What elements warned of in the log of a step, each once."""
    found = re.findall(r"^WARNING: from element [^:]*: (.*)$", path.read_text(), re.MULTILINE)
    return list(dict.fromkeys(found))[:10]


def checkpoint_metadata(path):
    """What the header of a safetensors file says; nothing where there is no such file."""
    try:
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            return json.loads(file.read(size)).get("__metadata__", {})
    except (OSError, ValueError):
        return {}


class Step:
    """@lines: lists of words, each a program with its arguments. @result: function of the place.
    @cost: pictures that pass through a network, about. @after: steps whose files it reads. @model:
    name of the checkpoint that a training leaves. @facts: what else the result depends on."""

    def __init__(self, name, title, lines, result, cost=0, after=(), model=None, facts=None):
        self.name, self.title, self.lines, self.result = name, title, lines, result
        self.cost, self.after, self.model, self.facts = cost, after, model, facts or {}

    def settings(self, place):
        """Everything that the result depends on."""
        words = [[str(word).replace(str(place.out), "OUT") for word in line]
                 for line in self.lines]
        return {"lines": words, "facts": self.facts,
                "after": {step.name: step.fingerprint(place) for step in self.after}}

    def fingerprint(self, place):
        text = json.dumps(self.settings(place), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class Place:
    """The folder of a comparison, and the programs that work in it."""

    def __init__(self, out, build, echo):
        self.out, self.build, self.echo = out, build, echo
        self.child, self.stop = None, False
        self.spent, self.passed = 0.0, 0.0      # seconds, and costs of what took them
        self.left = 0.0                         # costs
        self.lines = {}                         # of all steps so far, for readers
        for folder in ("results", "models", "logs"):
            (out / folder).mkdir(parents=True, exist_ok=True)
        self.lock = open(out / "lock", "w", encoding="utf-8")
        try:
            # The programs inherit it: one that was left behind keeps others out.
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Failed(f"another comparison works in {out}") from None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._interrupt)

    # ---- files ----

    def model(self, name):
        return self.out / "models" / f"{name}.safetensors"

    def log(self, name):
        return self.out / "logs" / f"{name}.log"

    def saved(self, name):
        """What results/NAME.json holds; {} when there is none that can be read."""
        try:
            return json.loads((self.out / "results" / f"{name}.json").read_text())
        except (OSError, ValueError):
            return {}

    def result_of(self, step):
        """The result of a step that is done, else None."""
        saved = self.saved(step.name)
        if saved.get("done") and saved.get("fingerprint") == step.fingerprint(self):
            return saved["result"]
        return None

    # ---- running ----

    def _interrupt(self, _number, _frame):
        self.stop = True
        if self.child:
            # It saves what it has; a second one ends it at once.
            os.kill(self.child.pid, signal.SIGINT)

    def run(self, step, position):
        """Runs @step unless it is done."""
        if self.result_of(step) is not None:
            return
        fingerprint = step.fingerprint(self)
        path = self.out / "results" / f"{step.name}.json"
        saved = self.saved(step.name)
        if saved.get("fingerprint") != fingerprint:
            # What is there is of other settings.
            self.log(step.name).unlink(missing_ok=True)
            if step.model:
                self.model(step.model).unlink(missing_ok=True)
            saved = {}
        begun = {"name": step.name, "fingerprint": fingerprint, "done": False,
                 "seconds": saved.get("seconds", 0), "settings": step.settings(self)}
        write_json(path, begun)
        self.echo.begin(step, position)
        start = time.monotonic()
        try:
            for line in step.lines:
                self._launch(step, [str(word) for word in line])
            begun["result"] = step.result(self)
            begun["done"] = True
        finally:
            begun["seconds"] += time.monotonic() - start
            write_json(path, begun)
        self.spent += time.monotonic() - start
        self.passed += step.cost
        self.echo.end(step, begun["seconds"])

    def _launch(self, step, words):
        self._check()
        self.echo.line(words)
        environment = dict(os.environ)
        plugins = [str(self.build / "elements"), environment.get("GST_PLUGIN_PATH", "")]
        environment["GST_PLUGIN_PATH"] = ":".join(filter(None, plugins))
        environment.setdefault("GST_REGISTRY", str(self.out / "registry"))
        tail = []
        with open(self.log(step.name), "a", 1, encoding="utf-8") as log, subprocess.Popen(
                words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                errors="replace", env=environment, process_group=0,
                pass_fds=[self.lock.fileno()]) as self.child:
            if self.stop:
                # It came between the check and here.
                os.kill(self.child.pid, signal.SIGINT)
            for text in self.child.stdout:
                tail = (tail + [text.rstrip()])[-12:]
                if any(word in text for word in KEPT):
                    log.write(text)
                if "pirl-training," in text:
                    self.echo.training(step, fields(text))
                elif "(probe)" in text:
                    self.echo.note(step, text.strip())
            _, status, usage = os.wait4(self.child.pid, 0)
            self.child.returncode = os.waitstatus_to_exitcode(status)
            log.write(f"# cpu {usage.ru_utime + usage.ru_stime:.2f} s\n")
        code, self.child = self.child.returncode, None
        self._check()
        if code != 0:
            reason = next((text for text in tail if text.startswith("ERROR")), "see its log")
            raise Failed(f"{words[0]} ended with {code}: {reason}", tail)

    def _check(self):
        if self.stop:
            raise Interrupted

    def time_left(self, within=0.0):
        """Seconds, as far as what has run can tell; None before that."""
        if self.passed <= 0:
            return None
        return max(0.0, self.left - within) * self.spent / self.passed


class Echo:
    """Tells a person what happens."""

    def __init__(self):
        self.place = None
        self.told = 0.0
        self.watched = sys.stdout.isatty()

    def say(self, text):
        print(("\r\033[K" if self.watched else "") + text, flush=True)

    def begin(self, step, position):
        left = self.place.time_left()
        self.say(f"[{position}] {step.title}" + (f" ({span(left)} left)" if left else ""))
        self.told = time.monotonic()

    def line(self, words):
        self.say("    " + " ".join(word if word == "!" else shlex.quote(word) for word in words))

    def end(self, step, seconds):
        self.say(f"    done in {span(seconds)}")

    def note(self, step, text):
        """A line that the next one replaces, where somebody watches."""
        if self.watched:
            print("\r\033[K    " + text[:100], end="", flush=True)
        elif time.monotonic() - self.told >= PATIENCE:
            print("    " + text, flush=True)
            self.told = time.monotonic()

    def training(self, step, said):
        done, total = int(said.get("step", 0)), int(said.get("steps", 0))
        text = f"step {done}" + (f" of {total}" if total else "")
        text += f", loss {float(said.get('loss', 'nan')):.3f}"
        rate = float(said.get("images-per-second", 0))
        if rate > 0:
            text += f", {rate:.0f} pictures/s"
        eta = float(said.get("eta", -1))
        if eta >= 0:
            text += f", {span(eta)} left"
        left = self.place.time_left(step.cost * done / total if total else 0)
        if left:
            text += f"; of everything {span(left)}"
        self.note(step, text)
