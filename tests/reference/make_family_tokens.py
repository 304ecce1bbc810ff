"""Makes tokens_families.json: what Hugging Face's tokenizers make of text with the small
tokenizers of tests/data/families.

Run from the repository root after make_families.py, with torch, transformers, tokenizers and gguf
installed:

    python tests/reference/make_family_tokens.py

It reads data/parallel and tests/data/families.

Layout:
  texts       odd strings, each with `name` and `text`
  tokenizers  one for each distinct tokenizer.json:
    fixtures   the folders of tests/data/families that hold it
    languages  of each: `tokens`, the number of tokens of each line; `fnv1a64`, the 64-bit FNV-1a
               hash, in hexadecimal, of all lines' token ids, one after another, as little-endian
               int32
    texts      of each string of `texts`, in their order, its ids; where there are more than 400,
               an object in place of the list: `tokens` (their number), `fnv1a64` (of all of them),
               `first` (the first 64)
Ids include the special tokens that the tokenizer puts around every text. Special tokens spelled out
in a text are plain text (`encode_special_tokens`); added tokens that are not special are found.
"""

import random

from family_tokenizers import FAMILIES, FIXTURES, load_tokenizer
from make_tokens import NASTY, fnv1a64
from reference_json import HERE, PARALLEL, read_lines, versions, write_json

MOST_IDS = 400
FIRST_IDS = 64

LETTERS = random.Random(2)
LONG = "".join(chr(ord("a") + int(LETTERS.random() * 26)) for _ in range(10_000))
THAI = "ภาษาไทยไม่มีช่องว่างระหว่างคำ" * 36
CHINESE = "世界上有许多语言，每一种都值得保存。" * 56

FAMILY_TEXTS = {
    "long without spaces": LONG,
    "long Thai": THAI,
    "long Chinese": CHINESE,
    "composed": "Å ﬁ ｶﾞ ㎏ 각 é ü ộ ½ ① Ａ １ ﷺ …",
    "decomposed": "A\u030a fi カ\u3099 \u1100\u1161\u11a8 e\u0301 u\u0308 o\u0323\u0302",
    "single characters that NFC replaces": "\u212b \u2126 \u0344 \u0958 \u2adc \uf900",
    "jamo": "\u1112\u1161\u11ab\u1100\u1173\u11af \u3147\u3145\u3147 한글",
    "reordered marks": "q\u0307\u0323 q\u0323\u0307 \u05e9\u05c1\u05bc \u0958 \u0915\u093c",
    "lone combining mark": "\u0301a b",
    "lone combining marks": "\u0301\u0323 \u093f क \u05b8",
    "escape and replacement": "\\ud83d \ufffd\ufffd a\ufffdb",
    "joiners": "क्\u200dष क\u200cष \u200d \u200b\u200b می\u200cخواهم \ufeff",
    "digits of scripts": "١٢٣٤٥٦٧٨٩٠ १२३४५६७८९० ๑๒๓๔๕๖๗๘๙๐ ০১২৩৪৫৬৭৮৯ ⅫⅣ ①②③ ²³¹ 𝟘𝟙𝟚 ４５６",
    "long digits": "12345678901234567890 1234567 a1b22c333d4444e55555 1,000,000.00 0x1F",
    "digits and letters": "3rd 4ème ١st x² H₂O 10km/h 100% €5 5€ №7",
    "contractions in capitals": "DON'T I'M we'RE THEY'VE she'D he'Ll 'S s' n't ’s ’t 'ſ",
    "white space": " \t \n \r\n\r\n\t\tx \n\n y  \u00a0 \u3000 z \u2028\u2029 \x0b\x0c end ",
    "space before line end": "a \nb  \n c\t\n\nd \r e",
    "punctuation before line end": "a.\nb!!\n\nc (d)\r\n\r\n- e\n",
    "only spaces": "     ",
    "only newline": "\n",
    "only tab": "\t",
    "leading space": " hello",
    "two leading spaces": "  hello",
    "leading block": "\u2581hello \u2581 \u2581\u2581\u2581x",
    "spaces 2 to 26": "|".join(" " * n for n in range(2, 27)),
    "spaces then words": "a  the   the    the" + " " * 24 + "the" + " " * 25 + "the",
    "newlines 1 to 18": "|".join("\n" * n for n in range(1, 19)),
    "end of text": "a<|endoftext|>b <|endoftext|> <|endoftext|>",
    "sentence marks": "<s>a</s>b </s>  c <unk> d<pad>e </s>",
    "mark with spaces": "a  </s>   b</s>\n c </s>",
    "bos of Gemma": "<bos>x</s> <eos><pad><mask> <mask>y<unused0><2mass>[@BOS@] <unused1>",
    "turns": "<start_of_turn>user\nhi<end_of_turn>\n<start_of_image>",
    "tags of Gemma": "<h1> x</h1><h2>y <table><tr> z</tr>< b><b>w</b>\n<code>  q",
    "multimodal": "[multimodal]a [multimodal] [multimodal",
    "roles of Phi": "<|assistant|>  hi<|end|>\n<|user|> <|system|>x<|placeholder1|>",
    "headers of Llama": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>",
    "chat marks": "<|im_start|>user\nhi<|im_end|>\n<|fim_prefix|>x",
    "thinking": "a<think>b</think> c <think> </think>\n<tool_call>{}</tool_call><tool_call",
    "instructions": "[INST] hi [/INST]ok</s> [TOOL_CALLS][control_8]",
    "code marks": "<fim_prefix>a<fim_suffix>b<fim_middle><filename>x <repo_name> <empty_output>",
    "roles of Granite": "<|start_of_role|>user<|end_of_role|>hi<|end_of_text|>\n<|tool_call|>",
    "turns of Cohere": "<BOS_TOKEN><|START_OF_TURN_TOKEN|>hi<|END_OF_TURN_TOKEN|> <|YES_TOKEN|>",
    "padding": "<|padding|>x <madeupword0> madeupword0000 <PAD><UNK>",
    "byte tokens spelled out": "<0x41><0x0A> <0x09>",
    "unknown characters": "☃☃☃ 𐍈𐍈a𐍈 ꙮ ⵣⵣ b",
}

TEXTS = NASTY | FAMILY_TEXTS


def describe_ids(ids):
    if len(ids) <= MOST_IDS:
        return ids
    return {"tokens": len(ids), "fnv1a64": fnv1a64(ids), "first": ids[:FIRST_IDS]}


def describe_language(tokenizer, language):
    ids = [tokenizer.encode(line).ids for line in read_lines(language)]
    return {
        "tokens": [len(line) for line in ids],
        "fnv1a64": fnv1a64([token for line in ids for token in line]),
    }


def describe_tokenizer(fixtures):
    tokenizer = load_tokenizer(FAMILIES / fixtures[0])
    languages = sorted(path.stem for path in PARALLEL.glob("*.txt"))
    return {
        "fixtures": fixtures,
        "languages": {language: describe_language(tokenizer, language) for language in languages},
        "texts": [describe_ids(tokenizer.encode(text).ids) for text in TEXTS.values()],
    }


def group_fixtures():
    """Fixtures by the bytes of their tokenizer.json."""
    groups = {}
    for name in FIXTURES:
        groups.setdefault((FAMILIES / name / "tokenizer.json").read_bytes(), []).append(name)
    return list(groups.values())


def main():
    write_json(
        HERE / "tokens_families.json",
        {
            "versions": versions(),
            "texts": [{"name": name, "text": text} for name, text in TEXTS.items()],
            "tokenizers": [describe_tokenizer(fixtures) for fixtures in group_fixtures()],
        },
    )


if __name__ == "__main__":
    main()
