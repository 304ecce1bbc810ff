"""Makes tokens_MODEL.json: what Hugging Face's tokenizers make of parallel text and of odd strings.

Run from the repository root, with transformers, tokenizers and gguf installed:

    python tests/reference/make_tokens.py

It reads data/parallel, models/polyglot-12, models/smollm2-135m.gguf and models/gemma-3-270m.gguf.

Layout of a file:
  languages  of each: `tokens`, the number of tokens of each line; `fnv1a64`, of each line the
             64-bit FNV-1a hash, in hexadecimal, of its token ids as little-endian int32; `first`,
             the ids of the first four lines in full.
  nasty      strings on which Hugging Face and llama.cpp agree: name, text, ids.
  nasty_differs
             strings on which llama.cpp gives other ids: name, text, Hugging Face's ids, the reason.
Ids include the special tokens that the tokenizer puts around every text.
"""

import random
import struct

import tokenizers
import transformers
from gguf import GGUFReader
from tokenizers import models, pre_tokenizers

from reference_json import HERE, PARALLEL, POLYGLOT, REPOSITORY, read_lines, versions, write_json

FULL_LINES = 4

# A string of 2 kB without a space; letters from a generator whose sequence Python guarantees.
LETTERS = random.Random(1)
UNBROKEN = "".join(chr(ord("a") + int(LETTERS.random() * 26)) for _ in range(2000))

NASTY = {
    "empty": "",
    "one space": " ",
    "emoji with joiners": "👩\u200d👩\u200d👧\u200d👦 👨🏽\u200d🚀 🏳\ufe0f\u200d🌈 ❤\ufe0f 🇩🇪🇮🇱 ok",
    "combining marks": "Zoe\u0308, e\u0301tude, nai\u0308ve, Vi\u00ea\u0323t, "
    "a\u0301\u0302\u0303\u0304, क्षि, กำ, שָׁלוֹם",
    "right to left with digits": "המחיר 1,234.50 ₪ עד 31/12/2024, والسعر ١٢٣٫٤٥ أو 678 (ABC) اليوم",
    "direction marks": "abc \u200fאבג\u200e def \u202bدهـ\u202c \u2067x\u2069",
    "line ends of Windows": "one\r\ntwo\r\n\r\n  three\r\nfour\r",
    "runs of newlines": "\n\na\n\n\nb \n \n c\n",
    "runs of spaces": "a  b   c    d        e                f ",
    "spaces around": "   three before, two after  ",
    "tabs": "\tone\t\ttwo \t three\t ",
    "runs of digits": "0 00 12 345 6789 1234567890 3.14159 2024-12-31 ٠١٢٣ १२३ 一二三 ½ Ⅻ ² x1y22z333",
    "contractions": "don't I'LL we've 'tis it's O’Neill l’été y'all'd've ''s",
    "punctuation": "!!!???... ---–—“”„‚«»‹› @#$%^&*()_+{}|:<>?~`[]\\;',./ ¡¿ 「」。、！？",
    "tags": "<b>bold</b> <div>x</div> a < b > c <h1> </h1>",
    "spaces of Unicode": "a\u00a0b\u2003c\u3000d\u200be\u202ff\u2028g\u00adh",
    "no spaces between scripts": "日本語のテキスト한국어中文ไทยภาษาРусскийעבריתعربيEnglish123",
    "rare planes": "𐍈𒀀𝔘𝔫𝔦 \ue000 \U000e0041 \U0010fffd 𠮷野家 🫠 🫨",
    "control characters": "a\x01b\x7fc\x1bd\ufeffe\x0bf\x0cg\x85h",
    "unbroken": UNBROKEN,
    "forty spaces": "a" + " " * 40 + "b",
    "forty newlines": "a" + "\n" * 40 + "b",
    "lower blocks": "a\u2581b \u2581\u2581c",
    "group separator": "x \x1d-1 y",
}

# By model and name: why llama.cpp gives other ids.
DIFFERS = {
    "polyglot-12": {},
    "smollm2-135m": {
        "group separator": "0x1d is no token of the vocabulary and both drop it; Hugging Face "
        "before merging, so that its neighbours merge with each other, llama.cpp after",
    },
    "gemma-3-270m": {
        "forty spaces": "no token has more than 31 spaces; llama.cpp takes the longest that fits, "
        "from the left (31 + 9), Hugging Face merges pairs (16 + 24)",
        "lower blocks": "Hugging Face writes a space as U+2581 before merging, so that a U+2581 of "
        "the text joins runs of spaces; llama.cpp stores those runs with true spaces",
    },
}


def fnv1a64(ids):
    value = 0xCBF29CE484222325
    for byte in struct.pack(f"<{len(ids)}i", *ids):
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


def polyglot():
    tokenizer = tokenizers.Tokenizer.from_file(str(POLYGLOT / "tokenizer.json"))
    return lambda text: tokenizer.encode(text).ids


def smollm2():
    """From the file's tokens and merges, with the pre-tokenizer of SmolLM2's tokenizer.json; that
    file's special tokens occur in none of the texts, so they are left out."""
    fields = GGUFReader(REPOSITORY / "models" / "smollm2-135m.gguf").fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = fields["tokenizer.ggml.merges"].contents()
    tokenizer = tokenizers.Tokenizer(
        models.BPE(
            vocab={token: index for index, token in enumerate(tokens)},
            merges=[tuple(merge.split(" ")) for merge in merges],
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    return lambda text: tokenizer.encode(text).ids


def gemma():
    """As transformers builds it from the GGUF file: BPE with byte fallback, merges derived from the
    order of the vocabulary, user-defined tokens found in the raw text."""
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(
        REPOSITORY / "models", gguf_file="gemma-3-270m.gguf"
    )
    return lambda text: tokenizer(text)["input_ids"]


def describe_language(encode, language):
    ids = [encode(line) for line in read_lines(language)]
    return {
        "tokens": [len(line) for line in ids],
        "fnv1a64": [fnv1a64(line) for line in ids],
        "first": ids[:FULL_LINES],
    }


def describe(model, encode):
    differs = DIFFERS[model]
    languages = sorted(path.stem for path in PARALLEL.glob("*.txt"))
    nasty = {key: {"name": key, "text": text, "ids": encode(text)} for key, text in NASTY.items()}
    return {
        "model": model,
        "versions": versions(),
        "languages": {language: describe_language(encode, language) for language in languages},
        "nasty": [entry for name, entry in nasty.items() if name not in differs],
        "nasty_differs": [nasty[name] | {"reason": reason} for name, reason in differs.items()],
    }


def main():
    builders = {"polyglot-12": polyglot, "smollm2-135m": smollm2, "gemma-3-270m": gemma}
    for model, build in builders.items():
        write_json(HERE / f"tokens_{model}.json", describe(model, build()))


if __name__ == "__main__":
    main()
