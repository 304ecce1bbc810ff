"""Writes gptq.json: codes by GPTQ in torch, in float64.

Usage: python3 make_gptq.py        (needs torch; a second)

Written from Frantar et al. 2023, "GPTQ: Accurate Post-Training Quantization for Generative
Pre-trained Transformers", algorithm 1: blocks of columns, whose errors go to the rest of the
matrix once a block is done. Scales are rounded to float16, as isogloss stores them.

Layout: `inputs` [tokens][cols] and `weights` [rows][cols], both flat; of each of `runs` its
options, `codes` (flat, 0 .. 2^bits - 1), `scales` [rows][groups] flat, `zeros` likewise (of
asymmetric runs), and `loss`, the trace of dW H dW^T with H = 2 / tokens * X^T X. Column 5 of the
inputs is 0. No number that is rounded lies within MARGIN steps of the middle between two codes, so
that another order of the same operations gives the same codes.
"""

import torch

from reference_json import HERE, versions, write_json

SEED = 20250611
TOKENS, ROWS, COLS = 80, 5, 48
BLOCK = 32
DEAD = 5
MARGIN = 1e-4
RUNS = [
    {"bits": 4, "group_size": 16, "asymmetric": False, "act_order": False, "damping": 0.01},
    {"bits": 4, "group_size": 16, "asymmetric": True, "act_order": False, "damping": 0.01},
    {"bits": 4, "group_size": 16, "asymmetric": False, "act_order": True, "damping": 0.01},
    {"bits": 4, "group_size": 16, "asymmetric": True, "act_order": True, "damping": 0.1},
    {"bits": 2, "group_size": 0, "asymmetric": True, "act_order": False, "damping": 0.01},
    {"bits": 3, "group_size": 0, "asymmetric": False, "act_order": False, "damping": 0.01},
    {"bits": 8, "group_size": 0, "asymmetric": False, "act_order": True, "damping": 0.01},
]


def make_data():
    generator = torch.Generator().manual_seed(SEED)
    mixing = torch.randn(COLS, COLS, generator=generator, dtype=torch.float64)
    sizes = torch.exp(torch.randn(COLS, generator=generator, dtype=torch.float64))
    noise = torch.randn(TOKENS, COLS, generator=generator, dtype=torch.float64)
    inputs = torch.round(noise @ mixing * sizes * 4) / 64
    inputs[:, DEAD] = 0
    weights = torch.round(torch.randn(ROWS, COLS, generator=generator, dtype=torch.float64) * 256)
    return inputs, weights / 1024


def find_grid(numbers, bits, asymmetric):
    """Scale and zero point of each row."""
    low = numbers.amin(1).clamp(max=0)
    high = numbers.amax(1).clamp(min=0)
    if not asymmetric:
        scale = torch.maximum(high, -low) / (2 ** (bits - 1) - 1)
        return scale.half().double(), torch.full_like(low, 2 ** (bits - 1))
    scale = ((high - low) / (2**bits - 1)).half().double()
    return scale, torch.round(-low / scale)


def gptq(weights, hessian, run):
    bits, group, act_order = run["bits"], run["group_size"] or COLS, run["act_order"]
    weights, hessian = weights.clone(), hessian.clone()
    dead = hessian.diagonal() == 0
    damping = run["damping"] * hessian.diagonal()[~dead].mean()
    hessian[dead, dead] = 1
    weights[:, dead] = 0
    original = weights.clone()
    order = torch.arange(COLS)
    if act_order:
        order = torch.argsort(hessian.diagonal() - dead.double(), descending=True, stable=True)
    weights, hessian = weights[:, order], hessian[order][:, order]
    hessian += damping * torch.eye(COLS, dtype=torch.float64)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    upper = torch.linalg.cholesky(inverse, upper=True)

    codes = torch.zeros(ROWS, COLS, dtype=torch.int64)
    scales = torch.zeros(ROWS, COLS // group, dtype=torch.float64)
    zeros = torch.zeros_like(scales)
    for start in range(0, COLS, BLOCK):
        end = min(start + BLOCK, COLS)
        errors = torch.zeros(ROWS, end - start, dtype=torch.float64)
        for i in range(start, end):
            column = int(order[i])
            g = column // group
            if act_order or group == COLS:
                numbers = original[:, g * group : (g + 1) * group]
                scales[:, g], zeros[:, g] = find_grid(numbers, bits, run["asymmetric"])
            elif column % group == 0:
                numbers = weights[:, i : i + group]
                scales[:, g], zeros[:, g] = find_grid(numbers, bits, run["asymmetric"])
            steps = weights[:, i] / scales[:, g]
            away = (steps - torch.floor(steps) - 0.5).abs()
            assert away.min() > MARGIN, f"a tie in column {column}; take another seed"
            code = (torch.round(steps) + zeros[:, g]).clamp(0, 2**bits - 1)
            codes[:, column] = code.long()
            error = (weights[:, i] - (code - zeros[:, g]) * scales[:, g]) / upper[i, i]
            weights[:, i:end] -= error[:, None] * upper[i, i:end]
            errors[:, i - start] = error
        weights[:, end:] -= errors @ upper[start:end, end:]
    return codes, scales, zeros


def decode(codes, scales, zeros):
    repeat = COLS // scales.shape[1]
    return (codes - zeros.repeat_interleave(repeat, 1)) * scales.repeat_interleave(repeat, 1)


def main():
    inputs, weights = make_data()
    hessian = 2 / TOKENS * inputs.T @ inputs
    runs = []
    for run in RUNS:
        codes, scales, zeros = gptq(weights, hessian, run)
        error = decode(codes, scales, zeros) - weights
        group = f"g{run['group_size']}" if run["group_size"] else "channel"
        words = [f"int{run['bits']}-{group}"]
        words += ["asym"] * run["asymmetric"] + ["act-order"] * run["act_order"]
        runs.append({"name": " ".join(words)} | run | {
            "codes": codes.flatten().tolist(),
            "scales": scales.flatten().tolist(),
            "zeros": zeros.flatten().tolist() if run["asymmetric"] else [],
            "loss": torch.trace(error @ hessian @ error.T).item(),
        })
    write_json(HERE / "gptq.json", {
        "versions": {"torch": versions()["torch"]},
        "tokens": TOKENS, "rows": ROWS, "cols": COLS,
        "inputs": inputs.flatten().tolist(), "weights": weights.flatten().tolist(), "runs": runs,
    })


if __name__ == "__main__":
    main()
