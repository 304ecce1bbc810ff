"""Makes weight_statistics.json: statistics of weights by NumPy and SciPy, and by the lines of the
published study with PyTorch.

Run from the repository root, with numpy, scipy, torch and safetensors installed:

    python tests/reference/make_weight_statistics.py

It reads models/polyglot-12 and three of tests/data/families. Weights are as stored, in double;
Gemma's norms, which are stored less 1, get it back.

Layout, a model an object of `models`:
  path     from the repository root
  layers   of each kind and layer ("matrix 0", "norm 0", "bias 0"), of all matrices of the layers
           ("matrix all"), and of tensors outside of the layers by name: the statistics
  tensors  by name: the statistics; of polyglot-12 those of the first and the last layer
  seed     of each layer, in turn: the statistics of the published study
Statistics are lists in the order of `columns`; outlier_ratio is the share of |w| > 3 sd. sd and
what is relative to it are as scipy.stats has them for a population, null where sd is 0. The
published study's: sd of a sample, sparsity of |w| < 0.01.
"""

import importlib.metadata
import platform
import re

import numpy as np
import torch
from safetensors.torch import load_file
from scipy import stats

from reference_json import HERE, REPOSITORY, write_json

MODELS = ("models/polyglot-12", "tests/data/families/gemma", "tests/data/families/gpt-neox",
          "tests/data/families/opt")
LAYER = re.compile(r"(?:^|\.)(?:h|layers)\.(\d+)\.")
COLUMNS = ("count", "mean", "sd", "max_abs", "sparsity", "skewness", "excess_kurtosis",
           "outlier_ratio")
EMBEDDINGS = ("wte.", "wpe.", "embed_tokens.", "embed_positions.", "embed_in.")


def kind_of(name):
    if name.endswith(".bias"):
        return "bias"
    if any(part in name for part in EMBEDDINGS):
        return "embedding"
    return "norm" if re.search(r"norm|ln_", name) else "matrix"


def layer_of(name):
    found = LAYER.search(name)
    return int(found[1]) if found else None


def read_tensors(path):
    tensors = {}
    for name, tensor in sorted(load_file(REPOSITORY / path / "model.safetensors").items()):
        tensor = tensor.to(torch.float64)
        if path.endswith("gemma") and kind_of(name) == "norm":
            tensor = (tensor.to(torch.float32) + 1).to(torch.float64)
        tensors[name] = tensor.flatten()
    return tensors


def row(values):
    assert len(values) == len(COLUMNS)
    return [values[0], *(None if value is None else float(value) for value in values[1:])]


def statistics(tensors):
    w = np.concatenate([tensor.numpy() for tensor in tensors])
    sd = w.std()
    shape = [None] * 3
    if sd > 0:
        shape = [stats.skew(w), stats.kurtosis(w), (np.abs(w) > 3 * sd).mean()]
    return row([len(w), w.mean(), sd, np.abs(w).max(), (w == 0).mean(), *shape])


def seed_statistics(tensors, layer):
    """As the published study spells it, but in double."""
    weights = [tensor for name, tensor in tensors.items()
               if layer_of(name) == layer and "weight" in name]
    all_w = torch.cat(weights)
    mean = all_w.mean().item()
    std = all_w.std().item()
    skewness = ((all_w - mean) / std).pow(3).mean().item()
    kurtosis = ((all_w - mean) / std).pow(4).mean().item() - 3
    outlier_ratio = (all_w.abs() > 3 * std).double().mean().item()
    sparsity = (all_w.abs() < 0.01).double().mean().item()
    return row([len(all_w), mean, std, all_w.abs().max().item(), sparsity, skewness, kurtosis,
                outlier_ratio])


def reference(path):
    tensors = read_tensors(path)
    groups = {}
    for name, tensor in tensors.items():
        layer = layer_of(name)
        if layer is None:
            groups[name] = [tensor]
            continue
        groups.setdefault(f"{kind_of(name)} {layer}", []).append(tensor)
        if kind_of(name) == "matrix":
            groups.setdefault("matrix all", []).append(tensor)
    layers = 1 + max(layer for layer in map(layer_of, tensors) if layer is not None)
    shown = {name: tensor for name, tensor in tensors.items()
             if layer_of(name) in (None, 0, layers - 1)}
    return {
        "path": path,
        "layers": {name: statistics(group) for name, group in groups.items()},
        "tensors": {name: statistics([tensor]) for name, tensor in shown.items()},
        "seed": [seed_statistics(tensors, layer) for layer in range(layers)],
    }


def main():
    packages = ("numpy", "scipy", "torch", "safetensors")
    versions = {name: importlib.metadata.version(name) for name in packages}
    write_json(HERE / "weight_statistics.json", {
        "made_by": "tests/reference/make_weight_statistics.py",
        "versions": versions | {"python": platform.python_version()},
        "columns": list(COLUMNS),
        "models": [reference(path) for path in MODELS],
    })


if __name__ == "__main__":
    main()
