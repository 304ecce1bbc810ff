"""Makes tokenizer_steps.json: what each step of Hugging Face's tokenizers makes of odd strings.

Run from the repository root, with torch, transformers, tokenizers, sentencepiece and gguf
installed:

    python tests/reference/make_tokenizer_steps.py

Layout:
  texts           the strings
  normalizers     of each: `step` as in a tokenizer.json; `results`, of each string, in their order,
                  what becomes of it
  pre_tokenizers  likewise, with the words as `results`
  tokenizers      whole small tokenizer.json: `name`, `tokenizer`, and of `texts` of its own the
                  `ids`; special tokens spelled out are plain text (`encode_special_tokens`)
"""

import base64
import json
import struct

from tokenizers import Tokenizer

from make_tokens import NASTY
from reference_json import HERE, versions, write_json

TEXTS = [text for text in NASTY.values() if len(text) < 100] + [
    "Å ﬁ ｶﾞ ㎏ 각 é ü ộ ½ ① ﷺ A\u030a カ\u3099 \u1100\u1161\u11a8",
    "\u212b \u2126 \u0344 \u0958 \u2adc \uf900 \ufb1d",
    "q\u0307\u0323 q\u0323\u0307 \u05e9\u05c1\u05bc \u0301a \u0f71\u0f72\u0f74 \u1100\u1161\u11a7",
    "İstanbul ǅ ẞ Σς ΑΣ ﬃ Ⅷ Ⓐ",
    "a\u200db 👩\u200d👩 🇩🇪🇮 क्\u200dष कि\u0301 \r\n e\u0301\u0323 \u0e33ำ",
    "क\u17d2क\u0301 aक\u094dক\u0301 a\U00011b66 \U000113d1a",
    "ab-cd--ef -g- ab  ab",
    "1234567 a12b ٣٤ ½ Ⅻ 10,000",
    # Characters of Unicode 10 to 17: digits, letters, marks, ideographs, symbols.
    "\U00010d43a \U00016130 \ua7cbx\u1c89 \u0897\u0c3c\u07fd",
    "\U00031350\U000323af\U0002ebf0 \U0001fae8!",
    "\U00010d50\U00010d70 \U0001e030 \U00011938\U00011935\U00011930 \U000113d1a \U00011de1 \u2e52",
    "  \u2028 x \u0085y\u00a0",
    "▁a ▁▁ b▁",
    "x.*y.* [ab] \\d",
]

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]


def charsmap(replacements):
    """SentencePiece's precompiled_charsmap: a darts-clone trie, and strings that end with NUL."""
    strings, values, trie = b"", {}, {}
    for key in sorted(replacements):
        values[key] = len(strings)
        strings += replacements[key].encode() + b"\0"
        node = trie
        for byte in key.encode():
            node = node.setdefault(byte, {})
        node[None] = values[key]
    units = {0: 0}
    bases = set()

    def place(node, position):
        labels = [label for label in node if label is not None]
        base = 1
        while True:
            taken = [base ^ label for label in labels] + [base] * (None in node)
            if base not in bases and not units.keys() & set(taken):
                break
            base += 1
        bases.add(base)
        units[position] |= (position ^ base) << 10
        if None in node:
            units[position] |= 1 << 8
            units[base] = node[None] | 1 << 31
        for label in labels:
            units[base ^ label] = label
        for label in labels:
            place(node[label], base ^ label)

    place(trie, 0)
    array = [units.get(index, 1 << 31) for index in range((max(units) // 256 + 1) * 256)]
    packed = struct.pack(f"<{len(array) + 1}I", 4 * len(array), *array)
    return base64.b64encode(packed + strings).decode()


CHARSMAP = charsmap(
    {"a": "b", "\u0301": "", "क": "k", "👩": "woman", "\r": " ", "ﬁ": "fi", "e\u0301": "é", "🇩": "D"}
    | {"\u3000": " ", "½": "1/2", "\U000113d1": "X", "x\u0323": "y", "\t": "", "\u200b": ""}
)

NORMALIZERS = [
    *({"type": form} for form in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase")),
    *({"type": "Strip", "strip_left": left, "strip_right": not left} for left in (True, False)),
    {"type": "Strip", "strip_left": True, "strip_right": True},
    {"type": "Prepend", "prepend": "▁"},
    {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    {"type": "Replace", "pattern": {"String": ".*"}, "content": ""},
    {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"},
    {"type": "Replace", "pattern": {"Regex": r"\X"}, "content": "x"},
    {"type": "Replace", "pattern": {"Regex": "[[:punct:]]"}, "content": "!"},
    {"type": "Replace", "pattern": {"Regex": "[^[:punct:]a]"}, "content": ""},
    {"type": "Replace", "pattern": {"Regex": "[[:^punct:]]"}, "content": "."},
    {"type": "Precompiled", "precompiled_charsmap": CHARSMAP},
    {
        "type": "Sequence",
        "normalizers": [
            {"type": "NFKD"},
            {"type": "Sequence", "normalizers": [{"type": "Lowercase"}]},
            {"type": "Replace", "pattern": {"Regex": r"\p{M}+"}, "content": ""},
        ],
    },
]


def split(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


def byte_level(prefix, regex):
    flags = {"add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}
    return {"type": "ByteLevel"} | flags


def metaspace(scheme, splits):
    flags = {"replacement": "▁", "prepend_scheme": scheme, "split": splits}
    return {"type": "Metaspace"} | flags


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


PRE_TOKENIZERS = [
    *(byte_level(prefix, regex) for prefix in (False, True) for regex in (False, True)),
    *(split({"String": "-"}, behavior) for behavior in BEHAVIORS),
    *(split({"String": "-"}, behavior, True) for behavior in BEHAVIORS),
    *(split({"Regex": r"\s+"}, behavior) for behavior in BEHAVIORS),
    split({"Regex": LLAMA3}),
    split({"Regex": TEKKEN}),
    split({"Regex": r" ?[^(\s|[.,!?…。，、।۔،])]+"}),
    split({"Regex": r"\d{1,3}(?=(?:\d{3})*\b)"}),
    split({"Regex": r"(?=(\d{3})+(?!\d))"}),
    split({"Regex": "x*"}, "MergedWithNext"),
    split({"Regex": r"\p{Han}+"}, "Removed", True),
    split({"Regex": r"\w+"}, "Removed", True),
    split({"String": ".*"}),
    *({"type": "Digits", "individual_digits": individual} for individual in (False, True)),
    *(metaspace(scheme, splits) for scheme in ("always", "never") for splits in (False, True)),
    {"type": "Whitespace"},
    {"type": "WhitespaceSplit"},
    *({"type": "Punctuation", "behavior": behavior} for behavior in BEHAVIORS),
    sequence(
        {"type": "Digits", "individual_digits": True},
        split({"Regex": r"[\r\n]"}),
        byte_level(False, True),
    ),
]


def whole(model, added=(), normalizer=None, pre_tokenizer=None, post_processor=None):
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": list(added),
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": post_processor,
        "decoder": None,
        "model": model,
    }


def added(number, content, **flags):
    names = ("single_word", "lstrip", "rstrip", "normalized", "special")
    return {"id": number, "content": content} | {name: flags.get(name, False) for name in names}


def bpe(tokens, merges=(), **options):
    settings = {
        "type": "BPE",
        "dropout": None,
        "unk_token": "<unk>",
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
    }
    vocabulary = {token: number for number, token in enumerate(["<unk>", *tokens])}
    return settings | options | {"vocab": vocabulary, "merges": [list(merge) for merge in merges]}


def unigram(pieces, **options):
    settings = {"type": "Unigram", "unk_id": 0, "byte_fallback": False}
    return settings | options | {"vocab": [["<unk>", 0.0], *([*piece] for piece in pieces)]}


LETTERS = [*"abcdefghijklmnopqrstuvwxyz", " ", "▁", "A"]
BYTES = [f"<0x{byte:02X}>" for byte in (0xC3, 0xA9, 0xE2, 0x82, 0xAC, 0x0A)]
PAIRS = ["ab", "bc", "abc", "aa", "aaaa", "aaa"]
MERGES = [("b", "c"), ("a", "b"), ("a", "bc"), ("a", "a"), ("aa", "aa"), ("a", "aa"), ("ab", "c")]
WORDS = ["abc abcabc", "aaaaaaa aaa", "aé€\nb", "☃☃a☃ ☃", "", "zabc", "ÀÉa", "babcaab"]
FLAGS = [
    "a<x>b <x> <x>",
    "day a day today days day",
    "  <y>  b<y>\n c",
    "b <z> <z>  c<z>",
    "A a",
    "ab AB Ab",
    "<s>a</s>b",
    "<s> <s><x></s>x>",
    "日day日 day.day _day",
    "<w>  <w> a",
    "<x",
    "▁ab ab",
]
ADDED = [
    added(30, "<x>"),
    added(31, "day", single_word=True),
    added(32, "<y>", lstrip=True, rstrip=True),
    added(33, "<z>", rstrip=True),
    added(29, "A", normalized=True),
    added(34, "</s>", special=True),
    added(35, "<s>", special=True),
    added(36, "</s>b"),
    added(37, "<w>", normalized=True, lstrip=True),
]
REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
PRECOMPILED = {"type": "Precompiled", "precompiled_charsmap": CHARSMAP}
STRIP = {"type": "Strip", "strip_left": True, "strip_right": False}
SCORES = [
    ("aa", -2.0340999126434326), ("aaa", -3.0912460088729858), ("a", -1.2345678901234567),
    ("b", -2.3), ("ab", -3.1), ("▁", -2.0), ("▁a", -2.5), ("abab", -20.0), ("é", -4.0),
    ("x☃", -50.0), ("▁▁", -1.99999),
]
UNIGRAM_TEXTS = [
    *("a" * count for count in range(1, 40)),
    *("b" + "a" * 7, "ababab", "☃☃a☃", "x☃", "☃<unk>☃", "a b", " a  b", "", "éa", "€"),
]
TEMPLATE = {
    "type": "TemplateProcessing",
    "single": [
        {"SpecialToken": {"id": "[B]", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "[E]", "type_id": 0}},
    ],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {
        "[B]": {"id": "[B]", "ids": [1], "tokens": ["a"]},
        "[E]": {"id": "[E]", "ids": [2], "tokens": ["b"]},
    },
}
ROBERTA = {"type": "RobertaProcessing", "sep": ["b", 2], "cls": ["a", 1]}
ROBERTA |= {"trim_offsets": True, "add_prefix_space": False}

TOKENIZERS = {
    "merges": (whole(bpe([*LETTERS, *PAIRS], MERGES)), WORDS),
    "fused unknown": (whole(bpe([*LETTERS, *PAIRS], MERGES, fuse_unk=True)), WORDS),
    "no unknown": (whole(bpe([*LETTERS, *PAIRS], MERGES, unk_token=None)), WORDS),
    "byte fallback": (whole(bpe([*LETTERS, *BYTES], byte_fallback=True)), WORDS),
    "byte fallback, fused": (
        whole(bpe([*LETTERS, *BYTES], byte_fallback=True, fuse_unk=True)),
        [*WORDS, "☃é☃a", "é☃é"],
    ),
    "whole words": (
        whole(
            bpe([*LETTERS, *PAIRS, "zabc", "☃☃"], MERGES, ignore_merges=True),
            pre_tokenizer={"type": "WhitespaceSplit"},
        ),
        [*WORDS, "☃☃ zabc abc"],
    ),
    "added tokens": (whole(bpe(LETTERS), ADDED, REPLACE), FLAGS),
    "added tokens, lower case": (whole(bpe(LETTERS), ADDED[:4], {"type": "Lowercase"}), FLAGS),
    "first": (
        whole(bpe([*LETTERS, *PAIRS], MERGES), ADDED[:0], None, metaspace("first", False)),
        ["abc abc", " abc", "", "▁abc", "  a"],
    ),
    "first after added tokens": (
        whole(bpe(LETTERS), ADDED[:3], None, metaspace("first", True)),
        ["a<x>b", "<x>b a", " <y> b", "<y>b", "a day b"],
    ),
    "first after a strip": (
        whole(bpe(LETTERS), (), STRIP, metaspace("first", True)),
        ["a b", " a b", "  ", ""],
    ),
    "first after a charsmap": (
        whole(bpe(LETTERS), (), PRECOMPILED, metaspace("first", False)),
        ["a b", "\ta b", "½", "\u200b\tc"],
    ),
    "first after a split": (
        whole(
            bpe([*LETTERS, "1", "2", "⁄"]),
            (),
            {"type": "NFKD"},
            sequence(split({"String": "⁄"}), metaspace("first", False)),
        ),
        ["½ a", "a½", "ab"],
    ),
    "unigram": (whole(unigram(SCORES)), UNIGRAM_TEXTS),
    "unigram of bytes": (
        whole(
            unigram([*SCORES, *((byte, -9.0) for byte in BYTES)], byte_fallback=True),
            pre_tokenizer=metaspace("always", True),
        ),
        UNIGRAM_TEXTS,
    ),
    "template": (
        whole(bpe(LETTERS), post_processor={"type": "Sequence", "processors": [TEMPLATE]}),
        WORDS,
    ),
    "Roberta": (whole(bpe(LETTERS), post_processor=ROBERTA), WORDS),
}


def describe_normalizer(step):
    tokenizer = Tokenizer.from_str(json.dumps(whole(bpe([]), (), step)))
    results = [tokenizer.normalizer.normalize_str(text) for text in TEXTS]
    return {"step": step, "results": results}


def describe_pre_tokenizer(step):
    tokenizer = Tokenizer.from_str(json.dumps(whole(bpe([]), (), None, step)))
    results = [
        [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)] for text in TEXTS
    ]
    return {"step": step, "results": results}


def describe_tokenizer(name, described, texts):
    tokenizer = Tokenizer.from_str(json.dumps(described))
    tokenizer.encode_special_tokens = True
    ids = [tokenizer.encode(text).ids for text in texts]
    return {"name": name, "tokenizer": described, "texts": texts, "ids": ids}


def main():
    write_json(
        HERE / "tokenizer_steps.json",
        {
            "versions": versions(),
            "texts": TEXTS,
            "normalizers": [describe_normalizer(step) for step in NORMALIZERS],
            "pre_tokenizers": [describe_pre_tokenizer(step) for step in PRE_TOKENIZERS],
            "tokenizers": [describe_tokenizer(name, *parts) for name, parts in TOKENIZERS.items()],
        },
    )


if __name__ == "__main__":
    main()
