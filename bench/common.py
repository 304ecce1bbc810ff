"""What the benchmarks share: running programs for their time and memory, texts, results as JSON."""
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build/release"


def run(*words, env=None):
    """(output, seconds, peak resident bytes); ends the script where the program fails."""
    words = [str(word) for word in words]
    start = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               env={**os.environ, **(env or {})})
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    if process.returncode != 0:
        sys.exit(f"{' '.join(words)}\nexit {process.returncode}\n{output}")
    return output, seconds, usage.ru_maxrss * 1024


def need(*paths):
    for path in paths:
        if not Path(path).exists():
            sys.exit(f"{path} is not there; bench/README.md says how to make it")


def build(*targets):
    run("cmake", "--preset", "release", "-S", ROOT, "-DISOGLOSS_BENCH=ON", "-B", BUILD)
    run("cmake", "--build", BUILD, "--target", *targets)


def random_model(folder):
    """A 124M GPT-2 shape, made once."""
    path = Path(folder) / "gpt2-124m"
    if not (path / "model.safetensors").exists():
        run(sys.executable, ROOT / "bench/make_model.py", path)
    return path


def processor():
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    best = next((f for f in ("avx512_bf16", "avx512f", "avx2", "asimd") if f in flags), "")
    return f"{names[0] if names else 'unknown'} ({best}), {len(os.sched_getaffinity(0))} cores"


def commit():
    done = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"],
                          capture_output=True, text=True)
    return done.stdout.strip()


def write_json(path, result):
    if not path:
        return
    result = {"commit": commit(), "processor": processor()} | result
    Path(path).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def median(numbers):
    return statistics.median(numbers)
