"""Sweeps that are started, stopped and started again, and what their directories hold."""
import hashlib
import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_S = 300  # a run
RESULTS = ("result.json", "matrix.csv")
CHECK_DIGITS = 16
CHECK = ',"check":"'


class Failed(Exception):
    """What is not as it should be."""


def expect(condition, what):
    if not condition:
        raise Failed(what)


def check_of(previous, body):
    return hashlib.sha256((previous + body).encode()).hexdigest()[:CHECK_DIGITS]


def read_journal(path):
    """The entries of a journal without its head, each checked. An end without newline is none."""
    text = path.read_bytes().decode() if path.exists() else ""
    entries, previous = [], ""
    for number, line in enumerate(text.split("\n")[:-1], 1):
        place = len(line) - len(CHECK) - CHECK_DIGITS - 2
        expect(line[place:].startswith(CHECK), f"{path}: line {number} has no check")
        body, found = line[:place] + "}", json.loads(line)["check"]
        expect(found == check_of(previous, body), f"{path}: line {number} does not follow")
        previous = found
        entries.append(json.loads(body))
    return entries[1:]


def check_entries(entries):
    """Nothing was measured twice."""
    measured = [(entry["phase"], entry["slice"], entry["configuration"]) for entry in entries
                if "configuration" in entry]
    twice = {key for key in measured if measured.count(key) > 1}
    expect(not twice, f"measured twice: {sorted(twice)}")
    begun = [entry["phase"] for entry in entries if "slices" in entry]
    expect(len(begun) == len(set(begun)), f"phases that began twice: {begun}")


def results_of(directory):
    return {name: (directory / name).read_bytes() for name in RESULTS}


@dataclass
class Done:
    status: int  # below 0: killed
    errors: str
    seconds: float


class Sweep:
    """One sweep, to be run in one directory after the other."""

    def __init__(self, program, words):
        self.words = [str(program), "sweep", *(str(word) for word in words), "--quiet"]

    def run(self, directory, kill_after=None, prepare=None):
        """Begins or goes on; SIGKILL comes after `kill_after` seconds."""
        began = time.monotonic()
        process = subprocess.Popen([*self.words, "--out", str(directory), "--resume"],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                   stdin=subprocess.DEVNULL, text=True, preexec_fn=prepare,
                                   restore_signals=False)
        with process:
            try:
                _, errors = process.communicate(timeout=kill_after or TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                _, errors = process.communicate()
                expect(kill_after is not None, f"{self.words} takes more than {TIMEOUT_S} s")
        return Done(process.returncode, errors.strip(), time.monotonic() - began)

    def finish(self, directory):
        done = self.run(directory)
        expect(done.status == 0, f"exit {done.status}, expected 0: {done.errors}")
        return done


def entries_of(directory):
    entries = read_journal(Path(directory) / "journal.jsonl")
    check_entries(entries)
    return entries
