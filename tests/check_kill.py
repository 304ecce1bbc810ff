#!/usr/bin/env python3
"""Kills sweeps again and again, at times drawn by a seed, and goes on with --resume: nothing is
measured twice, the journal never loses an entry, and the results have the bytes of a run that
nobody killed.

Usage: check_kill.py --isogloss PROGRAM [--kills N] [--seed N]
"""
import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from sweep_runs import Failed, Sweep, entries_of, expect, results_of

# Little memory cuts the text into slices, so that the journals grow in many steps.
COMMON = ["--langs", "en,de", "--draws", "200", "--threads", "2", "--memory", "8MB"]
SWEEPS = {
    "both": ["--mode", "both", "--max-units", "2", *COMMON],
    "subsets": ["--mode", "subsets", "--max-size", "1", "--search-positions", "0.5",
                "--max-units", "3", *COMMON],
}
SHARE = 0.6        # of the time that is left, within which the kill comes
KILLS_A_ROUND = 9  # then the run may finish


class Kills:
    """Rounds of one sweep, each in a directory of its own."""

    def __init__(self, name, sweep, scratch, seed):
        self.name, self.sweep, self.scratch = name, sweep, scratch
        self.random = random.Random(seed)
        self.count = self.rounds = 0
        whole = scratch / f"{name}_whole"
        self.seconds = sweep.finish(whole).seconds  # as far as the machine's load lets us know
        self.expected = results_of(whole)
        self.entries = len(entries_of(whole))
        self.start = sweep.finish(whole).seconds  # finds everything measured
        self.check_result(whole)
        print(f"{name}, uninterrupted: {self.seconds:.1f} s, {self.entries} entries; "
              f"{self.start:.1f} s when all is there")

    def check_result(self, directory):
        found = entries_of(directory)
        expect(len(found) == self.entries, f"{len(found)} entries, expected {self.entries}")
        for name, content in results_of(directory).items():
            expect(content == self.expected[name], f"{directory}/{name} has other bytes")

    def time_left(self, entries):
        measuring = max(0.0, self.seconds - self.start)
        return self.start + measuring * (1 - entries / self.entries)

    def round(self):
        directory = self.scratch / f"{self.name}_{self.rounds}"
        self.rounds += 1
        grown, entries = [], 0
        while len(grown) < KILLS_A_ROUND:
            done = self.sweep.run(directory,
                                  self.random.uniform(0, SHARE) * self.time_left(entries))
            if done.status == 0:  # sooner than expected
                self.seconds *= SHARE
                break
            expect(done.status == -9, f"exit {done.status} after kills: {done.errors}")
            self.count += 1
            found = len(entries_of(directory))
            expect(found >= entries, f"{directory}: {found} entries, there were {entries}")
            entries = found
            grown.append(found)
        self.sweep.finish(directory)
        self.check_result(directory)
        print(f"{self.name}, round {self.rounds}: {len(grown)} kills, entries after each: "
              f"{' '.join(map(str, grown))}; then the same bytes")


def main():
    parser = argparse.ArgumentParser(description="Kills sweeps again and again.")
    parser.add_argument("--isogloss", type=Path, required=True, help="the program")
    parser.add_argument("--kills", type=int, default=50, help="at least so many")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="isogloss_kill_") as tmp:
        try:
            program = arguments.isogloss.resolve()
            runs = [Kills(name, Sweep(program, words), Path(tmp), arguments.seed)
                    for name, words in SWEEPS.items()]
            while sum(kills.count for kills in runs) < arguments.kills:
                min(runs, key=lambda kills: kills.rounds).round()
        except Failed as fault:
            print(fault)
            return 1
    print(f"{sum(kills.count for kills in runs)} kills in {sum(kills.rounds for kills in runs)} "
          f"rounds, {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
