"""Checks directories of quantized models by other programs: their logits against isogloss's.

Run from the repository root, with torch, transformers and compressed-tensors installed, on
directories that the tests keep:

    ISOGLOSS_KEEP_DIRECTORIES=/tmp/kept build/release/directory_test
    python tests/reference/check_directories.py /tmp/kept/*

A directory in compressed-tensors' layout is loaded by transformers with that library, as float32;
where it has zero points, for which transformers 5.24 makes room as if they were not packed, the
library unpacks each matrix by the scheme that it finds for the module. One in GPTQ's layout is
unpacked here, by GPTQModel's description of it: bits and groups of each module by the rules of
quantize_config.json, as GPTQModel and vLLM apply them. Each directory holds, beside the model,
isogloss_logits.json: token ids, and isogloss's logits of the last position.

Prints for each the normalised mean squared error, |a - b|^2 / |b|^2, and the worst of all. Exit
status 1 where one is above the bound, or a module is not what the rules say.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import numpy
import torch
import transformers
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationConfig
from compressed_tensors.utils.match import match_name
from safetensors import safe_open

BOUND = 1e-3
# Names of modules that GPTQ quantizes, in the families of the tests.
LINEAR = ("_proj", "fc1", "fc2", "dense", "query_key_value", "dense_h_to_4h", "dense_4h_to_h",
          "c_attn", "c_fc")
PARTS = ("qweight", "qzeros", "scales", "g_idx")


def read_tensors(directory):
    tensors = {}
    for path in sorted(directory.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            tensors |= {name: file.get_tensor(name) for name in file.keys()}
    return tensors


def load_compressed(directory, config):
    groups = config["config_groups"].values()
    if not all(group["weights"]["symmetric"] for group in groups):
        return load_unpacked(directory, config)
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    left = {kind: [key for key in info[kind] if "lm_head" not in key]
            for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    if any(left.values()):
        raise SystemExit(f"{directory}: {left}")
    return model


def load_unpacked(directory, config):
    schemes = QuantizationConfig.model_validate(config).config_groups.values()
    compressor = BaseCompressor.get_value_from_registry("pack-quantized")
    tensors = read_tensors(directory)
    for module in modules_with(tensors, "weight_packed"):
        found = [scheme for scheme in schemes
                 if any(match_name(module, target) for target in scheme.targets)]
        if len(found) != 1 or any(match_name(module, name) for name in config["ignore"]):
            raise SystemExit(f"{module}: {len(found)} groups, or ignored")
        parts = {part: tensors.pop(f"{module}.{part}") for part in compressed_parts(found[0])}
        parts["weight_scale"] = parts["weight_scale"].to(torch.float32)
        tensors[f"{module}.weight"] = compressor.decompress(parts, found[0])["weight"]
    return load_floats(directory, tensors)


def compressed_parts(scheme):
    parts = ["weight_packed", "weight_scale", "weight_shape"]
    return parts if scheme.weights.symmetric else [*parts, "weight_zero_point"]


def modules_with(tensors, part):
    return sorted({name.rsplit(".", 1)[0] for name in tensors if name.endswith("." + part)})


def name_of(name, model):
    """A tensor's name in the model: GPT-2's own files have no prefix, GPT-NeoX's another head."""
    name = name.replace("embed_out.", "lm_head.")
    prefixed = f"{model.base_model_prefix}.{name}"
    return prefixed if prefixed in model.state_dict() else name


def load_floats(directory, tensors):
    """The model of the configuration with these weights."""
    settings = transformers.AutoConfig.from_pretrained(directory)
    del settings.quantization_config
    model = transformers.AutoModelForCausalLM.from_config(
        settings, dtype=torch.float32, attn_implementation="eager")
    tensors = {name_of(name, model): tensor.to(torch.float32) for name, tensor in tensors.items()}
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    left = [name for name in missing if "lm_head" not in name and "embed_positions" not in name]
    if left or unexpected:
        raise SystemExit(f"{directory}: missing {left}, unexpected {unexpected}")
    model.tie_weights()
    return model


# --- GPTQ


def rule_of(config, module):
    """Bits and group size of a module; None: unquantized. The first rule that matches decides."""
    settings = {"bits": config["bits"], "group_size": config["group_size"]}
    for pattern, overrides in config.get("dynamic", {}).items():
        if not re.match(pattern.removeprefix("+:").removeprefix("-:"), module):
            continue
        if pattern.startswith("-:"):
            return None
        return settings | {key: overrides[key] for key in settings if key in overrides}
    return settings


def unpack(words, bits, axis):
    """Codes of a stream of 32-bit words, low bits first, along an axis."""
    lines = numpy.moveaxis(words.numpy().astype(numpy.uint32), axis, -1)
    stream = numpy.unpackbits(lines[..., None].view(numpy.uint8), axis=-1, bitorder="little")
    stream = stream.reshape(*lines.shape[:-1], -1, bits)
    codes = (stream << numpy.arange(bits, dtype=numpy.uint8)).sum(axis=-1, dtype=numpy.int64)
    return numpy.moveaxis(codes, -1, axis)


def dequantize(parts, rule):
    """A module's weight, [outputs][inputs]."""
    bits = rule["bits"]
    codes = unpack(parts["qweight"], bits, 0)  # [inputs][outputs]
    inputs = codes.shape[0]
    groups = 1 if rule["group_size"] == -1 else inputs // rule["group_size"]
    zeros = unpack(parts["qzeros"], bits, 1) + 1  # version 1 of the layout
    assert parts["scales"].shape[0] == groups and zeros.shape == tuple(parts["scales"].shape)
    index = parts["g_idx"].numpy()
    scales = parts["scales"].to(torch.float32).numpy()
    return torch.from_numpy(((codes - zeros[index]) * scales[index]).T.astype(numpy.float32).copy())


def load_gptq(directory, config):
    tensors = read_tensors(directory)
    conv1d = json.loads((directory / "config.json").read_text())["model_type"] == "gpt2"
    modules = modules_with(tensors, "qweight")
    for module in modules_with(tensors, "weight"):
        linear = module.endswith(LINEAR) and tensors[f"{module}.weight"].dim() == 2
        if linear and rule_of(config, module) is not None:
            raise SystemExit(f"{module} is not quantized, and no rule says so")
    for module in modules:
        rule = rule_of(config, module)
        if rule is None:
            raise SystemExit(f"{module} is quantized, and a rule says that it is not")
        weight = dequantize({part: tensors.pop(f"{module}.{part}") for part in PARTS}, rule)
        tensors[f"{module}.weight"] = weight.T if conv1d else weight  # Conv1D: [inputs][outputs]
    return load_floats(directory, tensors)


# --- logits


def compare(directory):
    config = json.loads((directory / "config.json").read_text())["quantization_config"]
    load = load_gptq if config["quant_method"] == "gptq" else load_compressed
    model = load(directory, config).eval()
    samples = json.loads((directory / "isogloss_logits.json").read_text(encoding="utf-8"))
    worst = 0.0
    for sample in samples:
        with torch.no_grad():
            logits = model(torch.tensor([sample["ids"]]), use_cache=False).logits[0, -1]
        expected = logits.double().numpy()
        found = numpy.array(sample["last_logits"], dtype=numpy.float64)
        worst = max(worst, ((found - expected) ** 2).sum() / (expected**2).sum())
    return worst


def main():
    parser = argparse.ArgumentParser(description="Checks directories of quantized models.")
    parser.add_argument("directories", type=Path, nargs="+")
    parser.add_argument("--bound", type=float, default=BOUND)
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    worst = 0.0
    for directory in arguments.directories:
        error = compare(directory)
        worst = max(worst, error)
        print(f"{directory.name:40} {error:.2e}", flush=True)
    print(f"{'worst':40} {worst:.2e}")
    return 0 if worst <= arguments.bound else 1


if __name__ == "__main__":
    sys.exit(main())
