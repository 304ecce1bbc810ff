#!/usr/bin/env python3
"""Runs `isogloss sweep` in several processes, by mpirun on this machine: a team has the result of
one process; a fault of one process ends all and is told once; after a killed one --resume goes on.

Usage: check_team.py --isogloss PROGRAM [--mpirun MPIRUN --team-test PROGRAM]
Exit status 77 (skipped) where isogloss was built without MPI, or mpirun is not Open MPI's.
"""
import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1]
SKIPPED = 77
TIMEOUT_S = 100  # a command
END_S = 20  # from a fault to the end of every process
SWEEP = ["sweep", "--mode", "both", "--langs", "en,de,fr", "--max-units", "2",
         "--draws", "100", "--threads", "1", "--quiet"]
RESULTS = ("result.json", "matrix.csv")

# Over the loopback only, on however few cores, also as root. The second name is for Open MPI 5.
SETTINGS = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_ALLOW_RUN_AS_ROOT": "1", "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_btl_tcp_if_include": "lo", "OMPI_MCA_oob_tcp_if_include": "lo",
    "OMPI_MCA_plm": "isolated", "OMPI_MCA_hwloc_base_binding_policy": "none",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_hwloc_default_binding_policy": "none",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}


class Failed(Exception):
    pass


def expect(condition, what, done=None):
    if condition:
        return
    shown = f"\nexit {done.returncode}\n{done.stdout}{done.stderr}" if done else ""
    raise Failed(what + shown)


class Machine:
    """Programs and how they are started."""

    def __init__(self, isogloss, mpirun, team_test):
        self.isogloss, self.mpirun, self.team_test = isogloss, mpirun, team_test
        # Its sessions lie here, and a socket's path may have 107 bytes.
        self.environment = {**os.environ, **SETTINGS, "TMPDIR": "/tmp"}

    def run(self, words, extra=None, folder=None):
        began = time.monotonic()
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True,
                              env={**self.environment, **(extra or {})}, timeout=TIMEOUT_S,
                              cwd=folder, check=False)
        done.seconds = time.monotonic() - began
        return done

    def team(self, ranks, *words):
        return [self.mpirun, "-n", ranks, *words]

    def sweep(self, ranks, out, *options):
        words = [self.isogloss, *SWEEP, "--out", out, *options]
        return self.run(self.team(ranks, *words) if ranks > 1 else words)

    def members(self, parent):
        """Processes of a team by their rank."""
        found = {}
        for task in Path(f"/proc/{parent}/task").iterdir():
            for pid in (task / "children").read_text().split():
                variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                rank = dict(v.split(b"=", 1) for v in variables if b"=" in v).get(
                    b"OMPI_COMM_WORLD_RANK")
                if rank is not None:
                    found[int(rank)] = int(pid)
        return found


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_until(condition, what, seconds):
    end = time.monotonic() + seconds
    while not condition():
        expect(time.monotonic() < end, f"{what}: not within {seconds} s")
        time.sleep(0.05)


def same_results(one, other):
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in RESULTS)


def check_messages(machine, _):
    done = machine.run(machine.team(3, machine.team_test))
    expect(done.returncode == 0, "messages of any length", done)


def check_size_is_not_seen(machine, tmp):
    alone = machine.sweep(1, tmp / "alone")
    expect(alone.returncode == 0, "one process", alone)
    for ranks in (2, 3):
        out = tmp / f"team-of-{ranks}"
        done = machine.sweep(ranks, out)
        expect(done.returncode == 0, f"{ranks} processes", done)
        expect(done.stdout == alone.stdout, f"{ranks} processes print something else", done)
        expect(done.stderr == "", f"{ranks} processes say something", done)
        expect(same_results(out, tmp / "alone"), f"{ranks} processes have another result")


def check_a_killed_rank(machine, tmp):
    for rank in (0, 2):
        check_killed(machine, tmp, rank)


def check_killed(machine, tmp, rank):
    out = tmp / f"killed-rank-{rank}"
    words = machine.team(3, machine.isogloss, *SWEEP, "--out", out)
    started = subprocess.Popen([str(word) for word in words], env=machine.environment, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    journal = out / "journal.jsonl"
    try:
        wait_until(lambda: journal.exists() and journal.read_bytes().count(b"\n") > 5,
                   "entries in the journal", TIMEOUT_S)
        ranks = machine.members(started.pid)
        expect(sorted(ranks) == [0, 1, 2], f"ranks of the team: {ranks}")
        os.kill(ranks[rank], 9)
        _, said = started.communicate(timeout=END_S)
    except BaseException:
        started.terminate()
        raise
    expect(started.returncode != 0, "a killed process is a success")
    expect(str(out) in said, f"nothing about the directory: {said}")
    expect(said.count("with --resume") == 1, f"not once about --resume: {said}")
    expect(f"rank {rank}" in said, f"nothing about who died: {said}")
    wait_until(lambda: not any(map(is_running, ranks.values())), "end of every process", END_S)
    expect(not (out / "result.json").exists(), "a result of a killed team")
    entries = journal.read_bytes()
    copy = out.with_name(out.name + "-copy")
    shutil.copytree(out, copy)
    for resumed, size in ((out, 1), (copy, 2)):
        done = machine.sweep(size, resumed, "--resume")
        expect(done.returncode == 0, f"--resume by {size}", done)
        expect(same_results(resumed, tmp / "alone"), f"--resume by {size}: another result")
        expect((resumed / "journal.jsonl").read_bytes().startswith(entries),
               f"--resume by {size} measured again what was there")


def check_faults(machine, tmp):
    """Each ends every process soon, with one message of our own."""
    begin = [machine.isogloss, *SWEEP]

    def one_of_two(*options):
        return machine.team(1, *begin, ":", "-n", 1, *begin, *options)

    absent = tmp / "absent.gguf"
    faults = [
        ("a file that one lacks", one_of_two(absent), ["rank 1 of 2 on ", str(absent)]),
        ("a file that all lack", machine.team(3, *begin, absent),
         ["rank 0 of 3 on ", str(absent)]),
        ("another seed", one_of_two("--seed", "2"), ["rank 1 of 2 on ", "settings/seed is 2 here"]),
        ("another text", one_of_two("--not-parallel"),
         ["rank 1 of 2 on ", "inputs/corpus/parallel is false here"]),
        ("rank 0's directory", machine.team(3, *begin, "--out", tmp / "alone"),
         ["rank 0 of 3 on ", "holds a run already"]),
        ("what cannot be swept", machine.team(2, *begin, "--scheme", "none"),
         ["rank 0 of 2 on ", "nothing to restore"]),
    ]
    for what, words, parts in faults:
        done = machine.run(words)
        expect(done.returncode == 1, f"{what}: exit", done)
        expect(done.seconds < END_S, f"{what}: {done.seconds:.0f} s", done)
        expect(all(part in done.stderr for part in parts), f"{what}: {parts} not said", done)
        expect(done.stderr.count("isogloss: ") == 1, f"{what}: not said once", done)
    done = machine.run(machine.team(3, *begin, "--explain"))
    expect(done.returncode == 0 and done.stdout.count("configurations") == 1, "--explain", done)


def documented_commands():
    """Of docs/many-machines.md, those that need no second machine."""
    text = (SOURCE / "docs" / "many-machines.md").read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
             for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith("mpirun") and "--hostfile" not in line]


def check_documents(machine, tmp):
    """On little text, one after the other in one folder."""
    lines = documented_commands()
    expect(lines, "no command in the document")
    for line in lines:
        words = [machine.mpirun, *shlex.split(line)[1:]]
        words[words.index("build/release/isogloss")] = machine.isogloss
        words += ["--langs", "en,de", "--max-units", "1", "--draws", "100", "--quiet"]
        done = machine.run(words, folder=tmp)
        expect(done.returncode == 0, line, done)


def check_stray_environment(machine, with_mpi):
    done = machine.run([machine.isogloss, *SWEEP], {"OMPI_COMM_WORLD_SIZE": "3"})
    expect(done.returncode == 1 and "one of 3 processes" in done.stderr, "no team is there", done)
    expect(with_mpi or "openmpi-bin" in done.stderr, "nothing about what to install", done)
    done = machine.run([machine.isogloss, *SWEEP, "--explain"], {"OMPI_COMM_WORLD_SIZE": "1"})
    expect(done.returncode == 0 and not done.stderr, "a team of one", done)


def find_mpirun(arguments):
    """Why there is none to test with, or None."""
    if not arguments.mpirun or not shutil.which(arguments.mpirun):
        return "isogloss was built without MPI, or there is no mpirun"
    version = subprocess.run([arguments.mpirun, "--version"], capture_output=True, text=True,
                             check=False).stdout
    ours = any(name in version for name in ("Open MPI", "OpenRTE", "PRRTE"))
    return None if ours else "mpirun is not Open MPI's"


def main():
    parser = argparse.ArgumentParser(description="Runs isogloss sweep in several processes.")
    parser.add_argument("--isogloss", type=Path, required=True, help="the program")
    parser.add_argument("--mpirun", default="", help="empty where it was built without MPI")
    parser.add_argument("--team-test", type=Path, help="the program mpi_team_test")
    arguments = parser.parse_args()
    machine = Machine(arguments.isogloss.resolve(), arguments.mpirun,
                      arguments.team_test and arguments.team_test.resolve())
    absent = find_mpirun(arguments)
    try:
        check_stray_environment(machine, with_mpi=bool(arguments.mpirun))
        if absent:
            print(f"skipped: {absent}")
            return SKIPPED
        with tempfile.TemporaryDirectory(prefix="isogloss_team_") as tmp:
            for check in (check_messages, check_size_is_not_seen, check_a_killed_rank,
                          check_faults, check_documents):
                began = time.monotonic()
                check(machine, Path(tmp))
                print(f"{check.__name__}: {time.monotonic() - began:.1f} s")
    except (Failed, subprocess.TimeoutExpired) as error:
        print(f"failed: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
