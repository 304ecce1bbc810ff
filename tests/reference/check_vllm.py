"""Checks directories of quantized models by vLLM, on a GPU: what it computes from them against what
torch computes in F32 from the numbers that check_directories.py decodes.

Run from the repository root, with torch, transformers, compressed-tensors and vllm installed:

    python tests/reference/check_vllm.py DIRECTORY...

Prints for each directory the normalised mean squared error of the log-probabilities of the token
after each of a few prompts, |a - b|^2 / |b - mean(b)|^2: vLLM computes in F16. Exit status 1 where
one is above the bound, or a directory is not loaded. Matrices must fit vLLM's kernels: inputs in
multiples of 128, outputs of 64.
"""

import argparse
import json
import os
import random
import sys
import traceback
from pathlib import Path

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
import torch
import vllm
from check_directories import load_compressed, load_gptq

# F16 in 4 to 12 layers was seen to err by 2e-6 to 8.2e-5.
BOUND = 1e-4
PROMPTS, LENGTH = 4, 48


def prompts(vocabulary):
    chance = random.Random(1)
    return [[chance.randrange(vocabulary) for _ in range(LENGTH)] for _ in range(PROMPTS)]


def expected(directory, config, ids):
    load = load_gptq if config["quant_method"] == "gptq" else load_compressed
    model = load(directory, config).eval().cuda()
    with torch.no_grad():
        logits = [model(torch.tensor([one]).cuda(), use_cache=False).logits[0, -1] for one in ids]
    return torch.stack(logits).double().log_softmax(-1).cpu()


def found(directory, ids, arguments):
    words = {"attention_backend": arguments.attention} if arguments.attention else {}
    llm = vllm.LLM(model=str(directory), skip_tokenizer_init=True, enforce_eager=True,
                   dtype="float16", max_model_len=4 * LENGTH, max_logprobs=-1,
                   gpu_memory_utilization=arguments.memory, **words)
    settings = vllm.SamplingParams(max_tokens=1, temperature=0, logprobs=-1, detokenize=False)
    rows = []
    for output in llm.generate([{"prompt_token_ids": one} for one in ids], settings):
        values = output.outputs[0].logprobs[0]
        rows.append([values[token].logprob for token in range(len(values))])
    return torch.tensor(rows, dtype=torch.float64)


def compare(directory, arguments):
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    ids = prompts(config["vocab_size"])
    theirs = found(directory, ids, arguments)
    ours = expected(directory, config["quantization_config"], ids)
    distance = ((theirs - ours) ** 2).sum(-1)
    spread = ((ours - ours.mean(-1, keepdim=True)) ** 2).sum(-1)
    return (distance / spread).max().item()


def main():
    parser = argparse.ArgumentParser(description="Checks directories of quantized models by vLLM.")
    parser.add_argument("directories", type=Path, nargs="+")
    parser.add_argument("--bound", type=float, default=BOUND)
    parser.add_argument("--attention", help="vLLM's attention backend, as TRITON_ATTN")
    parser.add_argument("--memory", type=float, default=0.05, help="share of the GPU's, for each")
    arguments = parser.parse_args()
    print(f"vllm {vllm.__version__}, torch {torch.__version__}, {torch.cuda.get_device_name()}")
    failed = False
    for directory in arguments.directories:
        try:
            error = compare(directory, arguments)
        except Exception:  # of any library: the others are still checked
            traceback.print_exc()
            print(f"{directory.name:40} failed", flush=True)
            failed = True
            continue
        print(f"{directory.name:40} {error:.2e}", flush=True)
        failed = failed or not error <= arguments.bound
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
