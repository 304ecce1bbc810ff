#!/usr/bin/env python3
"""The llama-quantize call that isogloss prints makes the same file, to the bytes of every tensor:
check_llama_quantize.py --isogloss PROGRAM --llama-quantize PROGRAM. Skipped (77) where
llama-quantize was not built."""
import argparse
import json
import re
import shlex
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent
SKIPPED = 77

CASES = [
    ["--scheme", "q4_0"],
    ["--scheme", "q4_k", "--protect", "L0+L11.mlp=q8_0"],
    ["--scheme", "q5_1", "--protect", "L1+position_embd", "--include", "embeddings"],
    ["--scheme", "iq4_xs", "--imatrix", "auto", "--langs", "en,hi", "--save-imatrix", "im.gguf"],
]


def run(*words, cwd):
    done = subprocess.run([str(word) for word in words], cwd=cwd, capture_output=True, text=True,
                          check=False)
    if done.returncode != 0:
        command = shlex.join(map(str, words))
        sys.exit(f"{command}\nexit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class Gguf:
    """The tensors of a GGUF file (ggml's docs/gguf.md): {name: bytes}."""

    SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
    STRING, ARRAY = 8, 9

    def __init__(self, path):
        self.bytes, self.place = path.read_bytes(), 8
        count, pairs = self.number("Q"), self.number("Q")
        for _ in range(pairs):
            self.string()
            self.skip(self.number("I"))
        places = {}
        for _ in range(count):
            name = self.string()
            for _ in range(self.number("I")):
                self.number("Q")
            self.number("I")
            places[name] = self.number("Q")
        start = (self.place + 31) // 32 * 32
        ends = sorted(places.values())[1:] + [len(self.bytes) - start]
        end_of = dict(zip(sorted(places.values()), ends))
        self.tensors = {name: self.bytes[start + place:start + end_of[place]]
                        for name, place in places.items()}

    def number(self, form):
        value = struct.unpack_from("<" + form, self.bytes, self.place)[0]
        self.place += struct.calcsize(form)
        return value

    def string(self):
        size = self.number("Q")
        self.place += size
        return self.bytes[self.place - size:self.place].decode()

    def skip(self, kind):
        if kind == self.STRING:
            self.string()
        elif kind == self.ARRAY:
            element, count = self.number("I"), self.number("Q")
            for _ in range(count):
                self.skip(element)
        else:
            self.place += self.SIZES[kind]


def types_of(isogloss, path, folder):
    report = json.loads(run(isogloss, "inspect", path, "--tensors", "--json", "-", cwd=folder))
    return {tensor["name"]: (tensor["type"], tensor["size_bytes"]) for tensor in report["tensors"]}


def faults_between(isogloss, folder):
    ours, theirs = (types_of(isogloss, name, folder) for name in ("ours.gguf", "theirs.gguf"))
    if ours != theirs:
        names = sorted(name for name in ours.keys() | theirs.keys()
                       if ours.get(name) != theirs.get(name))
        return [f"{name}: {ours.get(name)} here, {theirs.get(name)} there" for name in names]
    data = [Gguf(folder / name).tensors for name in ("ours.gguf", "theirs.gguf")]
    different = {name: sum(a != b for a, b in zip(data[0][name], data[1][name])) for name in ours}
    return [f"{name}: {count} of {ours[name][1]} bytes differ"
            for name, count in different.items() if count]


def check(isogloss, llama_quantize, options, folder):
    printed = run(isogloss, "quantize", "source.gguf", *options, "--quiet", "--force", "-o",
                  "ours.gguf", "--llama-quantize", "types.txt", cwd=folder)
    command = re.search(r"the same types by llama.cpp: llama-quantize (.*)", printed)[1]
    words = ["theirs.gguf" if word == "ours.gguf" else word for word in shlex.split(command)]
    run(llama_quantize, *words, cwd=folder)
    return [f"{' '.join(options)}: {fault}" for fault in faults_between(isogloss, folder)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--isogloss", type=Path, required=True)
    parser.add_argument("--llama-quantize", type=Path, required=True)
    a = parser.parse_args()
    if not a.llama_quantize.exists():
        print(f"{a.llama_quantize} is not there (-DISOGLOSS_LLAMA_TOOLS=ON builds it)")
        sys.exit(SKIPPED)
    faults = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(a.isogloss.resolve(), "convert", SOURCE / "models/polyglot-12", "-o", "source.gguf",
            cwd=folder)
        for options in CASES:
            faults += check(a.isogloss.resolve(), a.llama_quantize.resolve(), options, folder)
    print("\n".join(faults) or f"{len(CASES)} files are the same")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
