"""Makes seed_polyglot-12.json, the study's arithmetic, and a test model, tests/data/tiny-gpt2.

Run from the repository root, with torch and transformers installed:

    python tests/reference/make_seed.py

The study rounds each parameter p (Hugging Face names; the tied head is the embedding) with one
scale a tensor: s = max|p| / m, p <- clamp(round_half_even(p / s), -m-1, m) * s, with m = 1, 3, 7,
127 at 2, 3, 4, 8 bits. Family A rounds every parameter whose name contains "weight"; B as A without
"ln_f"; C every parameter. A protected parameter, by a piece of its name, is left as it is.

Torch in float32; cross entropies from its logits in float64. Layout of the JSON file:
  tokens       of each language, line 1 of its text, BOS first
  unquantized  ppl of each language: exp of the mean cross entropy of all tokens but the first
  runs         of each: family, bits, protected, and by language ppl, degradation_percent =
               100 (ppl - unquantized) / unquantized, and disparity = degradation / English's
               (null where English does not get worse)
  tiny         of tests/data/tiny-gpt2: the token sequences, and the sum of their cross entropies
               (nll) unquantized and at 4 bits by family
tests/data/tiny-gpt2 is a GPT-2 of 2 layers, width 16, 2 heads, 64 byte tokens and context 32, with
seeded random weights, large enough that rounding shows.
"""

import json

import torch
import transformers

from reference_json import HERE, POLYGLOT, REPOSITORY, read_lines, versions, write_json

TINY = REPOSITORY / "tests" / "data" / "tiny-gpt2"
LANGUAGES = ("en", "he", "zh", "de")
LARGEST_CODE = {2: 1, 3: 3, 4: 7, 8: 127}
PROTECTED = ("h.0.", "h.9.", "h.11.")
RUNS = (
    ("A", 4, ()),
    ("B", 4, ()),
    ("C", 4, ()),
    ("B", 2, ()),
    ("B", 3, ()),
    ("B", 8, ()),
    ("B", 4, PROTECTED),
)
END_OF_TEXT = "<|endoftext|>"
# In the spelling of byte-level BPE: space, newline, and 61 printable characters.
TINY_BYTES = "ĠĊ0123456789abcdefghijklmnopqrstuvwxyz!\"#$%&'()*+,-./:;<=>?@[]_"


def is_rounded(name, family):
    if family == "C":
        return True
    return "weight" in name and not (family == "B" and "ln_f" in name)


def round_parameters(model, family, bits, protected):
    largest = LARGEST_CODE[bits]
    for name, parameter in model.named_parameters():
        if not is_rounded(name, family) or any(piece in name for piece in protected):
            continue
        scale = parameter.abs().max() / largest
        if scale > 0:
            codes = torch.round(parameter / scale).clamp(-largest - 1, largest)
            parameter.copy_(codes * scale)


def load(directory):
    return transformers.GPT2LMHeadModel.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def cross_entropies(model, ids):
    """Of each token but the first, in float64."""
    logits = model(torch.tensor([ids])).logits[0, :-1].double()
    return torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="none")


def perplexities(model, tokens):
    return {key: cross_entropies(model, ids).mean().exp().item() for key, ids in tokens.items()}


def describe_run(run, tokens, unquantized):
    family, bits, protected = run
    model = load(POLYGLOT)
    round_parameters(model, family, bits, protected)
    ppl = perplexities(model, tokens)
    worse = {key: 100 * (ppl[key] - unquantized[key]) / unquantized[key] for key in tokens}
    english = worse["en"]
    disparity = {key: worse[key] / english if english > 0 else None for key in tokens}
    names = {"family": family, "bits": bits, "protected": list(protected)}
    return names | {"ppl": ppl, "degradation_percent": worse, "disparity": disparity}


def describe_polyglot():
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(POLYGLOT)
    tokens = {key: tokenizer(read_lines(key)[0])["input_ids"] for key in LANGUAGES}
    unquantized = perplexities(load(POLYGLOT), tokens)
    return {
        "tokens": tokens,
        "unquantized": unquantized,
        "runs": [describe_run(run, tokens, unquantized) for run in RUNS],
    }


def write_tiny_model():
    config = transformers.GPT2Config(
        vocab_size=64,
        n_positions=32,
        n_embd=16,
        n_layer=2,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    torch.manual_seed(3)
    model = transformers.GPT2LMHeadModel(config)
    for name, parameter in model.named_parameters():
        mean = 1.0 if "ln_" in name and name.endswith("weight") else 0.0
        parameter.normal_(mean, 0.3)
    model.save_pretrained(TINY)
    (TINY / "generation_config.json").unlink(missing_ok=True)


def write_tiny_tokenizer():
    """As polyglot-12's, with bytes for tokens and no merges."""
    tokenizer = json.loads((POLYGLOT / "tokenizer.json").read_text(encoding="utf-8"))
    vocab = {END_OF_TEXT: 0} | {byte: index for index, byte in enumerate(TINY_BYTES, start=1)}
    tokenizer["model"] |= {"vocab": vocab, "merges": []}
    text = json.dumps(tokenizer, ensure_ascii=False, indent=1)
    (TINY / "tokenizer.json").write_text(text + "\n", encoding="utf-8")


def describe_tiny():
    ids = torch.randint(1, 64, (32,), generator=torch.Generator().manual_seed(2)).tolist()
    sequences = [[0] + ids[:11], [0] + ids[12:31]]

    def sums(model):
        return [cross_entropies(model, sequence).sum().item() for sequence in sequences]

    result = {"sequences": sequences, "unquantized_nll": sums(load(TINY)), "int4_nll": {}}
    for family in "ABC":
        model = load(TINY)
        round_parameters(model, family, 4, ())
        result["int4_nll"][family] = sums(model)
    return result


def main():
    torch.set_num_threads(1)
    write_tiny_model()
    write_tiny_tokenizer()
    result = {"model": "polyglot-12", "versions": versions()}
    result |= describe_polyglot() | {"tiny": describe_tiny()}
    write_json(HERE / "seed_polyglot-12.json", result)


if __name__ == "__main__":
    with torch.no_grad():
        main()
