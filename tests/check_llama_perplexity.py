#!/usr/bin/env python3
"""Compares isogloss audit with llama-perplexity --kl-divergence on the same tokens.

The procedure of docs/llama-perplexity.md: Gemma 3 270M against its q8_0, English, windows of 256.
Usage: check_llama_perplexity.py BUILD_DIR SOURCE_DIR
Exit status 77 (skipped) where the model or llama.cpp's tools are not there.
"""
import json
import pathlib
import re
import subprocess
import sys
import tempfile

# Promised to users: mean KL within 5 %.
KL_TOLERANCE = 0.05
# Perplexities differ by llama.cpp's F16 key/value cache and F16 GELU table only.
PPL_TOLERANCE = 1e-3
WINDOW = 256
SKIPPED = 77


def run(*words):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))}\nexit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def number(label, text):
    return float(re.search(rf"{label}\s*:\s*([-0-9.]+)", text).group(1))


def main():
    build, source = map(pathlib.Path, sys.argv[1:3])
    model = source / "models" / "gemma-3-270m.gguf"
    quantize, perplexity = build / "bin/llama-quantize", build / "bin/llama-perplexity"
    for need in (model, quantize, perplexity):
        if not need.exists():
            print(f"skipped: {need} is not there")
            sys.exit(SKIPPED)
    text = source / "data" / "parallel" / "en.txt"
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        q8, base, candidate = (folder / f"{name}.gguf" for name in ("q8_0", "base", "q8_0-f32"))
        run(quantize, "--allow-requantize", model, q8, "Q8_0")
        run(quantize, "--allow-requantize", model, base, "F32")
        run(quantize, "--allow-requantize", q8, candidate, "F32")
        common = ["-f", text, "-c", WINDOW, "--kl-divergence-base", folder / "logits"]
        run(perplexity, "-m", base, *common)
        theirs = run(perplexity, "-m", candidate, *common, "--kl-divergence")
        ours = json.loads(run(build / "isogloss", "audit", model, "--candidate", q8, "--langs",
                              "en", "--window", WINDOW, "--quiet", "--json", "-"))
    english = ours["runs"][0]["languages"]["en"]
    rows = [("mean KL", english["kl_per_token"]["mean"], number("Mean    KLD", theirs),
             KL_TOLERANCE),
            ("PPL", english["ppl"], number(r"Mean PPL\(Q\)", theirs), PPL_TOLERANCE),
            ("PPL of the reference", english["ppl_reference"], number(r"Mean PPL\(base\)", theirs),
             PPL_TOLERANCE)]
    failed = False
    for name, found, expected, tolerance in rows:
        difference = abs(found / expected - 1)
        failed |= difference > tolerance
        print(f"{name}: isogloss {found:.6f}, llama-perplexity {expected:.6f}, "
              f"{100 * difference:.2f} % apart (at most {100 * tolerance:g} %)")
    sys.exit(1 if failed else 0)


main()
