"""Makes tests/data/families: a tiny model of each family of decoders, with its logits.

Run from the repository root, with torch, transformers, tokenizers, sentencepiece and gguf
installed:

    python tests/reference/make_families.py

It reads data/parallel. Each folder holds what transformers' save_pretrained writes of a seeded
random model and of a small tokenizer (family_tokenizers.py), and reference.bin and .json: logits
and hidden states by transformers, from the weights as stored, computed with as float32, each
sequence alone, attention "eager", on one CPU thread. Matrices, norms and biases are so large that a
feature of a family that is left out shows in the logits.

reference.bin holds little-endian float32, row-major, without padding; for each sequence, in the
order of the JSON file:
  logits  [3][vocabulary]      at the sequence's `positions`
  hidden  [3][blocks + 1][width]
                       at the same positions: what goes into the first block, then the output of
                       each block, the last one before the final norm
reference.json holds the versions, `dtype` (the type of the stored weights), `floats` (the length of
the .bin file), `logits_shape`, `hidden_shape`, and of each sequence:
  name           language:line (lines count from 1; en is cut after 40 tokens, zh after 64), or
                 "mixed"
  ids            its tokens, those included that the tokenizer puts around every text
  positions      3 indices into ids: an early one, the middle, the last
  logits_offset, hidden_offset
                 where its arrays begin in the .bin file, counted in floats
"""

import json
import math
import shutil

import numpy
import torch
import transformers

from family_tokenizers import FAMILIES, FIXTURES, load_tokenizer, save_tokenizer
from reference_json import read_lines, versions, write_json

LINES = {"en": 13, "de": 2, "he": 5, "hi": 9, "zh": 7}
ORIGINAL_CONTEXT = 64
# Two lines are cut, so that sequences lie under, on and over the context that LongRoPE asks for.
CUT = {"en": 40, "zh": ORIGINAL_CONTEXT}
MIXED_LINE = 1
MIXED_TOKENS = 208
LEAST_MIXED_TOKENS = 150
EARLY = 3
WINDOW = 24
SHARD_BYTES = 40_000
# Of these the published models have more rows than tokens.
PADDED_VOCABULARY = 32
PADDED = ("opt", "opt-post-norm", "bloom", "gpt-neox", "gpt-neox-sequential", "qwen2", "phi3")
# Of these a norm's weight is stored less 1.
NORMS_AROUND_ZERO = ("gemma", "gemma2", "gemma3_text")

LLAMA_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
LLAMA = LLAMA_SIZES | {"head_dim": 16}
NEOX = LLAMA_SIZES | {"num_attention_heads": 2}
OPT = {
    "hidden_size": 32,
    "ffn_dim": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 256,
}
GEMMA = LLAMA | {"num_hidden_layers": 2, "query_pre_attn_scalar": 24, "sliding_window": WINDOW}


def rope(kind, **parameters):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0} | parameters}


# Of each fixture: transformers' model type, the type of the stored weights, the hyper-parameters.
MODELS = {
    "gpt2": (
        "gpt2",
        "float16",
        {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_inner": 96, "n_positions": 256},
    ),
    "opt": ("opt", "bfloat16", OPT),
    "opt-post-norm": (
        "opt",
        "float16",
        OPT
        | {"hidden_size": 64, "word_embed_proj_dim": 32, "num_attention_heads": 4, "ffn_dim": 64}
        | {"do_layer_norm_before": False},
    ),
    "bloom": ("bloom", "bfloat16", {"hidden_size": 96, "n_layer": 2, "n_head": 6}),
    "gpt-neox": (
        "gpt_neox",
        "float16",
        NEOX | {"use_parallel_residual": True} | rope("default", partial_rotary_factor=0.25),
    ),
    "gpt-neox-sequential": (
        "gpt_neox",
        "bfloat16",
        NEOX | {"use_parallel_residual": False} | rope("default", partial_rotary_factor=0.5),
    ),
    "llama": (
        "llama",
        "bfloat16",
        LLAMA
        | {"attention_bias": True, "mlp_bias": True}
        | rope(
            "llama3",
            rope_theta=500000.0,
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=ORIGINAL_CONTEXT,
        ),
    ),
    "llama-linear": ("llama", "bfloat16", LLAMA | rope("linear", factor=4.0)),
    "llama-yarn": (
        "llama",
        "bfloat16",
        LLAMA
        | {"max_position_embeddings": 4 * ORIGINAL_CONTEXT, "tie_word_embeddings": True}
        | rope("yarn", factor=4.0, original_max_position_embeddings=ORIGINAL_CONTEXT),
    ),
    "llama-dynamic": (
        "llama",
        "float16",
        LLAMA_SIZES | {"tie_word_embeddings": True} | rope("dynamic", factor=2.0),
    ),
    "mistral": ("mistral", "float16", LLAMA | {"sliding_window": WINDOW}),
    "qwen2": (
        "qwen2",
        "bfloat16",
        LLAMA_SIZES
        | {"num_hidden_layers": 3, "tie_word_embeddings": True, "use_sliding_window": True}
        | {"sliding_window": WINDOW, "max_window_layers": 1}
        | rope("default", rope_theta=1000000.0),
    ),
    "qwen3": (
        "qwen3",
        "float32",
        LLAMA | {"tie_word_embeddings": True} | rope("default", rope_theta=1000000.0),
    ),
    "gemma": ("gemma", "float32", LLAMA | {"num_key_value_heads": 1}),
    "gemma2": (
        "gemma2",
        "float16",
        GEMMA | {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 2.5},
    ),
    "gemma3": (
        "gemma3_text",
        "bfloat16",
        GEMMA
        | {"num_hidden_layers": 3}
        | {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
        | {
            "rope_parameters": {
                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
                "full_attention": {"rope_type": "linear", "rope_theta": 500000.0, "factor": 8.0},
            }
        },
    ),
    "smollm2": (
        "llama",
        "float32",
        LLAMA_SIZES | {"tie_word_embeddings": True} | rope("default", rope_theta=100000.0),
    ),
    "smollm3": (
        "smollm3",
        "float16",
        LLAMA_SIZES
        | {"num_hidden_layers": 4, "no_rope_layers": [1, 0, 1, 1]}
        | rope("default", rope_theta=5000000.0),
    ),
    "phi3": (
        "phi3",
        "bfloat16",
        LLAMA_SIZES
        | {"num_attention_heads": 2, "num_key_value_heads": 1, "sliding_window": WINDOW}
        | {"max_position_embeddings": 256, "original_max_position_embeddings": ORIGINAL_CONTEXT}
        | rope(
            "longrope",
            partial_rotary_factor=0.75,
            short_factor=[1.0, 1.05, 1.1, 1.2, 1.4, 1.7],
            long_factor=[1.1, 1.5, 2.3, 4.0, 6.5, 9.0],
            original_max_position_embeddings=ORIGINAL_CONTEXT,
        ),
    ),
    "granite": (
        "granite",
        "float32",
        LLAMA_SIZES
        | {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}
        | {"embedding_multiplier": 3.0, "logits_scaling": 0.7}
        | {"residual_multiplier": 0.6, "attention_multiplier": 0.2},
    ),
    "xglm": (
        "xglm",
        "float16",
        {"d_model": 32, "ffn_dim": 96, "num_layers": 2, "attention_heads": 2}
        | {"max_position_embeddings": 256, "scale_embedding": True},
    ),
    "cohere": (
        "cohere",
        "bfloat16",
        LLAMA_SIZES | {"logit_scale": 0.6, "use_qk_norm": False},
    ),
    "cohere-qk-norm": (
        "cohere",
        "float32",
        LLAMA_SIZES | {"logit_scale": 1.4, "use_qk_norm": True},
    ),
    "cohere2": (
        "cohere2",
        "bfloat16",
        LLAMA_SIZES
        | {"num_hidden_layers": 3, "logit_scale": 1.4, "sliding_window": WINDOW}
        | {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    ),
}


def token_ids(directory, tokenizer):
    """The configuration's special tokens and size of vocabulary."""
    names = json.loads((directory / "tokenizer_config.json").read_text(encoding="utf-8"))
    kinds = ("bos_token", "eos_token", "pad_token")
    ids = {f"{kind}_id": None for kind in kinds}
    ids |= {f"{kind}_id": tokenizer.token_to_id(names[kind]) for kind in kinds if kind in names}
    size = tokenizer.get_vocab_size()
    if directory.name in PADDED:
        size = math.ceil(size / PADDED_VOCABULARY) * PADDED_VOCABULARY
    return ids | {"vocab_size": size}


def randomize(model):
    """Matrices so large that attention is far from uniform, norms and biases that show. Matrices
    are smaller the more layers there are, since roundings grow from layer to layer."""
    size = 1.5 * 2 / model.config.num_hidden_layers
    norm_mean = 0.0 if model.config.model_type in NORMS_AROUND_ZERO else 1.0
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.normal_(0.0, 0.3)
        elif "norm" in name or ".ln_" in name:
            parameter.normal_(norm_mean, 0.3)
        else:
            assert parameter.dim() == 2, name
            transposed = model.config.model_type == "gpt2" and ".h." in name
            inputs = parameter.shape[0 if transposed else 1]
            parameter.normal_(0.0, size / math.sqrt(inputs))


def save_model(name, directory, tokenizer):
    model_type, dtype, settings = MODELS[name]
    settings = settings | token_ids(directory, tokenizer)
    config = transformers.AutoConfig.for_model(model_type, **settings)
    torch.manual_seed(1 + list(MODELS).index(name))
    model = transformers.AutoModelForCausalLM.from_config(config)
    randomize(model)
    size = {"max_shard_size": SHARD_BYTES} if name == "llama-linear" else {}
    model.to(getattr(torch, dtype)).save_pretrained(directory, **size)
    (directory / "generation_config.json").unlink(missing_ok=True)


def load_model(directory):
    return transformers.AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def make_sequences(tokenizer):
    """A line of each of five languages, two of them cut, and a line of each joined, up to 208
    tokens."""
    sequences = {}
    for language, number in LINES.items():
        ids = tokenizer.encode(read_lines(language)[number - 1]).ids
        sequences[f"{language}:{number}"] = ids[: CUT.get(language)]
    joined = " ".join(read_lines(language)[MIXED_LINE - 1] for language in LINES)
    sequences["mixed"] = tokenizer.encode(joined).ids[:MIXED_TOKENS]
    assert len(sequences["mixed"]) >= LEAST_MIXED_TOKENS
    return sequences


def record_hidden(model):
    """A list that each forward pass fills with the first block's input and every block's output."""
    states = []

    def keep_input(module, arguments, named):
        states.append(arguments[0] if arguments else named["hidden_states"])

    def keep_output(module, arguments, output):
        states.append(output[0] if isinstance(output, tuple) else output)

    blocks = next(part for part in model.modules() if isinstance(part, torch.nn.ModuleList))
    assert len(blocks) == model.config.num_hidden_layers
    blocks[0].register_forward_pre_hook(keep_input, with_kwargs=True)
    for block in blocks:
        block.register_forward_hook(keep_output)
    return states


def run(model, states, ids):
    states.clear()
    logits = model(torch.tensor([ids]), use_cache=False).logits[0]
    positions = [EARLY, len(ids) // 2, len(ids) - 1]
    hidden = torch.stack([state[0, positions] for state in states], dim=1)
    assert logits.isfinite().all() and hidden.isfinite().all()
    return positions, logits[positions].numpy(), hidden.numpy()


def write_reference(name, directory, tokenizer):
    model = load_model(directory)
    states = record_hidden(model)
    arrays, entries, offset = [], [], 0
    for sequence, ids in make_sequences(tokenizer).items():
        positions, logits, hidden = run(model, states, ids)
        offsets = {"logits_offset": offset, "hidden_offset": offset + logits.size}
        offset += logits.size + hidden.size
        entries.append({"name": sequence, "ids": ids, "positions": positions} | offsets)
        arrays += [logits.ravel(), hidden.ravel()]
    content = numpy.concatenate(arrays).astype("<f4").tobytes()
    (directory / "reference.bin").write_bytes(content)
    write_json(
        directory / "reference.json",
        {
            "model": name,
            "versions": versions(),
            "dtype": MODELS[name][1],
            "floats": offset,
            "logits_shape": list(logits.shape),
            "hidden_shape": list(hidden.shape),
            "sequences": entries,
        },
    )


def main():
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    for name in FIXTURES:
        directory = FAMILIES / name
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        save_tokenizer(name, directory)
        tokenizer = load_tokenizer(directory)
        save_model(name, directory, tokenizer)
        write_reference(name, directory, tokenizer)


if __name__ == "__main__":
    with torch.no_grad():
        main()
