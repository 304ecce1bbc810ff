#!/usr/bin/env python3
"""Runs one whole-tool text case, tests/cases/*.test, and says where the program differs from it.

    # What the case shows.
    setup: printf 'GG' > {tmp}/short.gguf
    $ {isogloss} audit {tmp}/short.gguf
    exit 1
    stderr:
    ~ .*perhaps the file is truncated

Setup lines go to a shell. A command is split into words and run without one, in an empty directory.
Below it stand its exit status and what it prints: literal lines, `~` and a regular expression that
matches a whole line, or `...` for any lines. A stream that is not spelled must be empty. A case may
have several commands.

Placeholders: {isogloss} the program, {tmp} a directory of the case's own, {models} and {corpus}
what ships with the program, {fixtures} tests/data.
"""
import argparse
import difflib
import os
import re
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

TIMEOUT_S = 300  # a command
STREAMS = ("stdout", "stderr")


class CaseError(Exception):
    """The case's text is wrong."""


@dataclass
class Step:
    command: str
    status: int | None = None
    expected: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class Case:
    setup: list[str]
    steps: list[Step]


def parse_case(text):
    case = Case([], [])
    block = None
    if not text.startswith("# "):
        raise CaseError("line 1: a case begins with '# ' and what it shows")
    for number, line in enumerate(text.splitlines(), 1):
        step = case.steps[-1] if case.steps else None
        if line.startswith("$ "):
            case.steps.append(Step(line[2:]))
            block = None
        elif step and line[:-1] in STREAMS and line.endswith(":"):
            block = step.expected.setdefault(line[:-1], [])
        elif block is not None:
            block.append(line)
        elif step and re.fullmatch(r"exit \d+", line):
            step.status = int(line[5:])
        elif not step and line.startswith("setup: "):
            case.setup.append(line[7:])
        elif line and not line.startswith("#"):
            raise CaseError(f"line {number}: '{line}' is not understood here")
    if not case.steps:
        raise CaseError("there is no command: a line that begins with '$ '")
    for step in case.steps:
        if step.status is None:
            raise CaseError(f"'$ {step.command}' has no 'exit N'")
    return case


def fill(text, places, change=str):
    return re.sub(r"\{(\w+)\}", lambda m: change(places.get(m[1], m[0])), text)


def pattern_of(lines, places):
    """One regular expression for a whole stream."""
    parts = []
    for line in lines:
        if line == "...":
            parts.append(r"(?:.*\n)*?")
        elif line.startswith("~ "):
            parts.append(f"(?:{fill(line[2:], places, re.escape)})\\n")
        else:
            parts.append(re.escape(fill(line, places)) + r"\n")
    return "".join(parts)


def without_blank_end(lines):
    end = len(lines)
    while end and not lines[end - 1].strip():
        end -= 1
    return lines[:end]


def compare_stream(name, lines, found, places):
    expected = without_blank_end(lines)
    found_lines = without_blank_end(found.splitlines())
    if re.fullmatch(pattern_of(expected, places), "".join(line + "\n" for line in found_lines)):
        return []
    filled = [fill(line, places) for line in expected]
    return list(difflib.unified_diff(filled, found_lines, f"{name} expected", f"{name} found",
                                     lineterm=""))


def environment():
    names = set(os.environ) - {"NO_COLOR", "ISOGLOSS_DATA"}
    return {name: os.environ[name] for name in names}


def run_step(step, places):
    words = [fill(word, places) for word in shlex.split(step.command)]
    done = subprocess.run(words, cwd=places["tmp"], env=environment(), stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=TIMEOUT_S, check=False)
    faults = []
    if done.returncode != step.status:
        faults.append(f"exit {done.returncode}, expected {step.status}")
    for name in STREAMS:
        found = getattr(done, name).decode("utf-8", "backslashreplace")
        faults += compare_stream(name, step.expected.get(name, []), found, places)
    return faults


def run_case(path, program, source):
    case = parse_case(path.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="isogloss_case_") as tmp:
        places = {"isogloss": str(program), "tmp": tmp, "models": str(source / "models"),
                  "corpus": str(source / "data" / "parallel"),
                  "fixtures": str(source / "tests" / "data")}
        for line in case.setup:
            subprocess.run(fill(line, places), shell=True, cwd=tmp, check=True)
        for step in case.steps:
            faults = run_step(step, places)
            if faults:
                return [f"{path}: $ {step.command}", *faults]
    return []


def main():
    parser = argparse.ArgumentParser(description="Runs one whole-tool text case.")
    parser.add_argument("--isogloss", type=Path, required=True, help="the program")
    parser.add_argument("--source", type=Path, required=True, help="root of the repository")
    parser.add_argument("case", type=Path)
    arguments = parser.parse_args()
    try:
        faults = run_case(arguments.case, arguments.isogloss.resolve(), arguments.source.resolve())
    except (CaseError, re.error, subprocess.SubprocessError, OSError) as error:
        faults = [f"{arguments.case}: {error}"]
    print("\n".join(faults), end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
