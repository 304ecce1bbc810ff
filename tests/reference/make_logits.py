"""Makes logits_polyglot-12.bin and .json: logits and hidden states of polyglot-12 by transformers.

Run from the repository root, with torch and transformers installed:

    python tests/reference/make_logits.py

It reads data/parallel and models/polyglot-12, whose F16 weights it computes with as float32, each
sequence alone, attention "eager", on one CPU thread.

logits_polyglot-12.bin holds little-endian float32, row-major, without padding; for each sequence,
in the order of the JSON file:
  logits  [4][512]     at the sequence's `positions`, of the tokens `vocab_ids`
  hidden  [13][width]  at the last position: the embeddings (token + position), then the output of
                       each block, the last one before the final norm
logits_polyglot-12.json holds `vocab_ids`, the versions, and of each sequence:
  name           language:line (lines count from 1), or "mixed"
  ids            its tokens, BOS first
  positions      4 indices into ids, the last one the last
  logits_offset, hidden_offset
                 where its arrays begin in the .bin file, counted in floats
  logsumexp      of all logits at each position, summed in float64
  argmax         the token with the largest logit at each position
  argmax_margin  by how much that logit exceeds the second largest
"""

import numpy
import torch
import transformers

from reference_json import HERE, POLYGLOT, REPOSITORY, read_lines, versions, write_json

LANGUAGES = ("en", "de", "ru", "he", "zh", "ko")
LINES = 3
MIXED_TOKENS = 400
POSITIONS = 4
VOCAB_IDS = 512


def make_sequences(tokenizer):
    """Lines 1-3 of each language, and the lines after them, by turns, up to 400 tokens."""
    lines = {language: read_lines(language) for language in LANGUAGES}
    sequences = {
        f"{language}:{number}": tokenizer(lines[language][number - 1])["input_ids"]
        for language in LANGUAGES
        for number in range(1, LINES + 1)
    }
    mixed = [tokenizer.bos_token_id]
    for group in list(zip(*lines.values()))[LINES:]:
        for line in group:
            mixed += tokenizer(line)["input_ids"][1:]
    sequences["mixed"] = mixed[:MIXED_TOKENS]
    return sequences


def record_hidden(model):
    """A list that each forward pass fills with the embeddings and every block's output."""
    states = []

    def keep(module, arguments, output):
        states.append(output[0] if isinstance(output, tuple) else output)

    model.transformer.drop.register_forward_hook(keep)
    for block in model.transformer.h:
        block.register_forward_hook(keep)
    return states


def run(model, states, ids):
    states.clear()
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
    positions = [len(ids) * k // POSITIONS for k in range(1, POSITIONS)] + [len(ids) - 1]
    chosen = logits[positions]
    top = chosen.topk(2)
    facts = {
        "positions": positions,
        "logsumexp": chosen.double().logsumexp(-1).tolist(),
        "argmax": top.indices[:, 0].tolist(),
        "argmax_margin": (top.values[:, 0] - top.values[:, 1]).tolist(),
    }
    hidden = torch.stack([state[0, -1] for state in states])
    return facts, chosen.numpy(), hidden.numpy()


def main():
    torch.set_num_threads(1)
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(POLYGLOT)
    model = transformers.GPT2LMHeadModel.from_pretrained(
        POLYGLOT, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    vocab_ids = range(0, model.config.vocab_size, model.config.vocab_size // VOCAB_IDS)
    states = record_hidden(model)
    arrays, entries, offset = [], [], 0
    for name, ids in make_sequences(tokenizer).items():
        facts, logits, hidden = run(model, states, ids)
        logits = logits[:, list(vocab_ids)]
        offsets = {"logits_offset": offset, "hidden_offset": offset + logits.size}
        offset += logits.size + hidden.size
        entries.append({"name": name, "ids": ids} | facts | offsets)
        arrays += [logits.ravel(), hidden.ravel()]
    binary = HERE / "logits_polyglot-12.bin"
    binary.write_bytes(numpy.concatenate(arrays).astype("<f4").tobytes())
    print(f"{binary.relative_to(REPOSITORY)}: {binary.stat().st_size} bytes")
    write_json(
        HERE / "logits_polyglot-12.json",
        {
            "model": "polyglot-12",
            "versions": versions(),
            "floats": offset,
            "logits_shape": [POSITIONS, len(vocab_ids)],
            "hidden_shape": [model.config.n_layer + 1, model.config.n_embd],
            "vocab_ids": list(vocab_ids),
            "sequences": entries,
        },
    )


if __name__ == "__main__":
    main()
