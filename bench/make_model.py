#!/usr/bin/env python3
"""Writes a model of GPT-2's shape with random weights: make_model.py DIRECTORY [--layers N]
[--width N] [--vocabulary N] [--context N]. Without options: 12 layers of width 768, 50257 tokens,
1024 positions, 124 million numbers in F16 (249 MB). Its tokenizer is polyglot-12's, so that texts
are as long as in real models; the tokens beyond that one's are names that no text has. The same
bytes every time. Needs nothing but Python."""
import argparse
import json
import random
import shutil
import struct
from pathlib import Path

TOKENIZER = Path(__file__).parent.parent / "models/polyglot-12/tokenizer.json"
POOL = 1 << 20  # random numbers; tensors repeat them from another place each


def tensor_shapes(layers, width, vocabulary, context):
    shapes = {"wte.weight": [vocabulary, width], "wpe.weight": [context, width]}
    for layer in range(layers):
        for name, shape in {
            "ln_1.weight": [width],
            "ln_1.bias": [width],
            "attn.c_attn.weight": [width, 3 * width],
            "attn.c_attn.bias": [3 * width],
            "attn.c_proj.weight": [width, width],
            "attn.c_proj.bias": [width],
            "ln_2.weight": [width],
            "ln_2.bias": [width],
            "mlp.c_fc.weight": [width, 4 * width],
            "mlp.c_fc.bias": [4 * width],
            "mlp.c_proj.weight": [4 * width, width],
            "mlp.c_proj.bias": [width],
        }.items():
            shapes[f"h.{layer}.{name}"] = shape
    return shapes | {"ln_f.weight": [width], "ln_f.bias": [width]}


def half_floats(numbers):
    return b"".join(struct.pack("<e", number) for number in numbers)


class Weights:
    def __init__(self):
        chance = random.Random(1)
        self.matrix = half_floats(chance.gauss(0, 0.02) for _ in range(POOL))
        self.norm = half_floats(1 + chance.gauss(0, 0.02) for _ in range(POOL // 64))
        self.place = 0

    def bytes_of(self, name, shape):
        is_norm = name.endswith(("ln_1.weight", "ln_2.weight", "ln_f.weight"))
        pool = self.norm if is_norm else self.matrix
        count = 2
        for size in shape:
            count *= size
        self.place = (self.place + 7919 * 2) % len(pool)
        rolled = pool[self.place:] + pool[:self.place]
        return (rolled * (count // len(rolled) + 1))[:count]


def write_weights(path, shapes):
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 2
        for length in shape:
            size *= length
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    weights = Weights()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes.items():
            file.write(weights.bytes_of(name, shape))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--vocabulary", type=int, default=50257)
    parser.add_argument("--context", type=int, default=1024)
    a = parser.parse_args()
    a.directory.mkdir(parents=True, exist_ok=True)
    config = {"model_type": "gpt2", "activation_function": "gelu_new", "n_layer": a.layers,
              "n_embd": a.width, "n_head": max(1, a.width // 64), "n_positions": a.context,
              "vocab_size": a.vocabulary, "layer_norm_epsilon": 1e-5}
    (a.directory / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    shutil.copy(TOKENIZER, a.directory / "tokenizer.json")
    write_weights(a.directory / "model.safetensors",
                  tensor_shapes(a.layers, a.width, a.vocabulary, a.context))


if __name__ == "__main__":
    main()
