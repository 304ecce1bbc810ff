#!/usr/bin/env python3
"""A sweep whose disk fills up says so, exits with 1 and leaves a journal that can be read; once
there is room, --resume finishes with the bytes of a run that had room all along.

Usage: check_disk_full.py --isogloss PROGRAM [--way tmpfs|limit]
The disk is a small tmpfs where this process may mount one, else a limit on the size of files. Exit
status 77 (skipped) where neither works.
"""
import argparse
import contextlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from sweep_runs import Failed, Sweep, entries_of, expect, results_of

SKIPPED = 77
MODEL = Path(__file__).resolve().parent / "data" / "families" / "llama"
SWEEP = [MODEL, "--scheme", "rtn-int4-g32", "--unit", "half", "--langs", "en,de,hi,zh",
         "--draws", "100", "--threads", "1", "--memory", "2MB"]
PAGE = resource.getpagesize()


def run(*words):
    return subprocess.run([str(word) for word in words], capture_output=True, check=False)


class Tmpfs:
    """A disk in memory, of so many bytes."""
    name = "tmpfs"
    says = "No space left on device"

    @staticmethod
    @contextlib.contextmanager
    def disk(folder, size):
        folder.mkdir()
        if run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder).returncode != 0:
            raise PermissionError("may not mount")
        try:
            yield folder / "run", None
        finally:
            run("umount", folder)

    @staticmethod
    def make_room(folder):
        done = run("mount", "-o", "remount,size=64m", folder)
        expect(done.returncode == 0, f"remount: {done.stderr}")


class Limit:
    """A limit on the size of every file that the program writes."""
    name = "limit"
    says = "File too large"

    @staticmethod
    @contextlib.contextmanager
    def disk(folder, size):
        def prepare():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

        folder.mkdir()
        yield folder / "run", prepare

    @staticmethod
    def make_room(folder):
        pass


def works(way, scratch):
    """Whether a file on a disk of one page really cannot grow beyond it."""
    program = "import sys; open(sys.argv[1], 'wb', 0).write(bytes(100000)) == 100000 or sys.exit(7)"
    try:
        with way.disk(scratch / f"try_{way.name}", PAGE) as (path, prepare):
            done = subprocess.run([sys.executable, "-c", program, str(path)], preexec_fn=prepare,
                                  restore_signals=False, capture_output=True, check=False)
            return done.returncode in (1, 7)
    except (OSError, ValueError):
        return False


class Whole:
    """The sweep with room for everything."""

    def __init__(self, sweep, directory):
        sweep.finish(directory)
        self.results = results_of(directory)
        self.entries = entries_of(directory)
        self.sizes = {path.name: path.stat().st_size for path in directory.iterdir()}


def sizes_of_disks(way, whole):
    """By what does not fit."""
    journal = whole.sizes["journal.jsonl"]
    if way is Limit:  # of a file: results are smaller than the journal
        sizes, before = {"the start": 100}, whole.sizes["run.json"]
    else:
        sizes, before = {"the start": PAGE, "the results": journal + 3 * PAGE}, 2 * PAGE
    for share in (0.1, 0.4, 0.8):
        sizes[f"all but {share:.0%} of the journal"] = int(before + share * journal)
    return sizes


def check_disk(way, sweep, whole, folder, what, size):
    with way.disk(folder, size) as (directory, prepare):
        done = sweep.run(directory, prepare=prepare)
        expect(done.status == 1, f"{what}: exit {done.status}, expected 1: {done.errors}")
        expect(way.says in done.errors, f"{what}: '{way.says}' is not in: {done.errors}")
        entries = entries_of(directory)
        expect(entries == whole.entries[:len(entries)], f"{what}: other entries than with room")
        left = sorted(path.name for path in directory.glob("*"))
        parts = [name for name in left if name not in whole.sizes]
        expect(not parts, f"{what}: parts of files were left: {parts}")
        print(f"no room for {what}: {size} bytes, {len(entries)} of {len(whole.entries)} entries; "
              f"{done.errors.removeprefix('isogloss: ').replace(str(folder) + '/', '')}")
        way.make_room(folder)
        sweep.finish(directory)
        expect(entries_of(directory) == whole.entries, f"{what}: other entries after --resume")
        expect(results_of(directory) == whole.results, f"{what}: other results after --resume")


def main():
    parser = argparse.ArgumentParser(description="Runs a sweep on disks that are too small.")
    parser.add_argument("--isogloss", type=Path, required=True, help="the program")
    parser.add_argument("--way", choices=("tmpfs", "limit"), help="default: the first that works")
    arguments = parser.parse_args()
    ways = [way for way in (Tmpfs, Limit) if arguments.way in (None, way.name)]
    with tempfile.TemporaryDirectory(prefix="isogloss_full_") as tmp:
        scratch = Path(tmp)
        way = next((way for way in ways if works(way, scratch)), None)
        if way is None:
            print("skipped: no small disk and no limit on files can be had here")
            return SKIPPED
        try:
            sweep = Sweep(arguments.isogloss.resolve(), SWEEP)
            whole = Whole(sweep, scratch / "whole")
            print(f"{way.name}; with room: {len(whole.entries)} entries, {whole.sizes} bytes")
            for number, (what, size) in enumerate(sizes_of_disks(way, whole).items()):
                check_disk(way, sweep, whole, scratch / str(number), what, size)
        except Failed as fault:
            print(fault)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
