#!/usr/bin/env python3
"""GPTQ written plainly with transformers and torch, for the seconds that it takes on this
processor: bench/gptq.py [MODEL] [--sequences 128] [--length 512] [--layers N] [--threads N]
[--json FILE].

The usual program for one GPU, on the processor and in F32: for each block the sequences run through
it with hooks that sum up a Hessian for every matrix; the matrices are quantized; the sequences run
again for what the next block reads. Codes of 4 bits, symmetric, in groups of 128, columns in their
order. Tokens are random: the time does not depend on them. --layers N runs the first N blocks only,
and counts the time of the rest by theirs. Needs torch and transformers
(tests/reference/requirements.txt), which scripts/setup does not install. Written from Frantar et
al. 2023, "GPTQ", algorithm 1."""
import argparse
import math
import tempfile
import time
from collections import defaultdict

import torch
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

import common

BITS, GROUP, BLOCK, DAMPING = 4, 128, 128, 0.01
LEVELS = 2 ** (BITS - 1) - 1


def weight_of(module):
    """[outputs][inputs]."""
    return module.weight.T if isinstance(module, Conv1D) else module.weight


class Seconds(defaultdict):
    """Seconds by what they went to."""

    def __init__(self):
        super().__init__(float)

    def of(self, name, action):
        start = time.perf_counter()
        result = action()
        self[name] += time.perf_counter() - start
        return result


class Hessian:
    """2 / n sum x x^T as a running mean."""

    def __init__(self, cols):
        self.sum = torch.zeros(cols, cols)
        self.count = 0

    def add(self, inputs):
        inputs = inputs.reshape(-1, inputs.shape[-1])
        self.sum *= self.count / (self.count + 1)
        self.count += 1
        scaled = inputs.T * math.sqrt(2 / self.count / len(inputs))
        self.sum += scaled @ scaled.T


def factor(hessian):
    dead = hessian.diagonal() == 0
    hessian[dead, dead] = 1
    hessian.diagonal().add_(DAMPING * hessian.diagonal().mean())
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    return torch.linalg.cholesky(inverse, upper=True)


def walk(weight, upper):
    """Quantizes and decodes."""
    weight = weight.clone()
    result = torch.zeros_like(weight)
    for start in range(0, weight.shape[1], BLOCK):
        end = min(start + BLOCK, weight.shape[1])
        block = weight[:, start:end].clone()
        errors = torch.zeros_like(block)
        for i in range(end - start):
            if (start + i) % GROUP == 0:
                numbers = block[:, i:i + GROUP]
                scale = (numbers.abs().amax(1) / LEVELS).half().float().clamp(min=1e-8)
            column = block[:, i]
            code = torch.clamp(torch.round(column / scale), -LEVELS - 1, LEVELS)
            result[:, start + i] = code * scale
            errors[:, i] = (column - code * scale) / upper[start + i, start + i]
            block[:, i:] -= errors[:, i:i + 1] * upper[start + i, start + i:end]
        weight[:, end:] -= errors @ upper[start:end, end:]
    return result


def quantize_block(block, states, seconds):
    modules = {name: module for name, module in block.named_modules()
               if isinstance(module, (Conv1D, torch.nn.Linear))}
    hessians = {name: Hessian(weight_of(module).shape[1]) for name, module in modules.items()}

    def observe(name):
        return lambda _, inputs, __: seconds.of("hessian", lambda: hessians[name].add(inputs[0]))

    hooks = [module.register_forward_hook(observe(name)) for name, module in modules.items()]
    run_block(block, states, seconds)
    for hook in hooks:
        hook.remove()
    for name, module in modules.items():
        upper = seconds.of("factor", lambda: factor(hessians.pop(name).sum))
        weight = weight_of(module)
        weight.copy_(seconds.of("columns", lambda: walk(weight, upper)))
    return run_block(block, states, seconds)


def run_block(block, states, seconds):
    start, hessians = time.perf_counter(), seconds["hessian"]
    results = []
    for state in states:
        result = block(state)
        results.append(result[0] if isinstance(result, tuple) else result)
    seconds["forward"] += time.perf_counter() - start - (seconds["hessian"] - hessians)
    return results


@torch.no_grad()
def quantize(path, sequences, length, layers=None):
    """Seconds by what they went to, for the whole model; of a GPT-2."""
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(model.config.vocab_size, (sequences, length), generator=generator)
    transformer = model.transformer
    positions = transformer.wpe(torch.arange(length))
    states = [transformer.wte(row)[None] + positions for row in ids]
    seconds = Seconds()
    blocks = transformer.h[:layers]
    for block in blocks:
        states = quantize_block(block, states, seconds)
    return {name: value * len(transformer.h) / len(blocks) for name, value in seconds.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", help="a GPT-2; the 124M shape where none is given")
    parser.add_argument("--sequences", type=int, default=128)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--layers", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    with tempfile.TemporaryDirectory() as folder:
        path = a.model or common.random_model(folder)
        seconds = quantize(path, a.sequences, a.length, a.layers)
    total = sum(seconds.values())
    print(f"{common.processor()}, {a.threads} threads, torch {torch.__version__}, "
          f"{a.sequences} x {a.length} tokens")
    for name, value in seconds.items():
        print(f"  {name:8} {value:8.1f} s")
    print(f"  {'total':8} {total:8.1f} s" + (f", by {a.layers} blocks" if a.layers else ""))
    common.write_json(a.json, {"sequences": a.sequences, "length": a.length, "layers": a.layers,
                               "threads": a.threads, "seconds": seconds, "total": total})


if __name__ == "__main__":
    main()
