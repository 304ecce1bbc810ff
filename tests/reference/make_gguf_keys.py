"""Makes gguf_families.json: the metadata and the tensors that llama.cpp's converter writes for the
models of tests/data/families.

Run from the repository root after scripts/setup and make_families.py, with torch, transformers,
tokenizers, sentencepiece, protobuf, gguf and numpy installed:

    python tests/reference/make_gguf_keys.py

It reads tests/data/families and build/deps/llama.cpp, whose own gguf-py it uses. Of each fixture
whose family llama.cpp has, a copy in a temporary folder of the fixture's name (the converter names
the model after its folder) is converted in this process, as by `convert_hf_to_gguf.py --outtype
f32`. Two functions of the converter are replaced, and two things added to the copy:

get_vocab_base_pre
    It knows a tokenizer by a hash of its tokens, which no small vocabulary can have. In its place
    the name comes from PRE: one whose expressions and merging in llama-vocab.cpp are those of the
    fixture's tokenizer.json. Many names share these; the choice is the family's.
load_hparams
    The keys of KEYS_OF_TRANSFORMERS_4 are added to what it returns: the converter asks for them,
    published configurations have them, transformers 5 does not write them, and drops rotary_pct
    of GPT-NeoX when it reads it, so that adding them to the copy would not do.
tokenizer.model
    The converter reads the tokenizers of SENTENCEPIECE from this file, not from tokenizer.json. It
    has the pieces of tokenizer.json's model, in the order of their ids, with the types of the
    published files, and scores that make llama.cpp merge in the order of tokenizer.json's list:
    minus the rank of the first merge that makes the piece, 0 where none does. The tab, which has
    the place of its byte's token in Gemma's tokenizer.json, is <0x09> there.
added_tokens_decoder
    tokenizer_config.json of the same fixtures has this key in addition, as transformers 4 wrote
    it: the added tokens of tokenizer.json. Without it, the converter takes user-defined tokens for
    ordinary pieces, and does not see those that the SentencePiece model lacks.

Layout of the JSON file:
  versions  of packages; `llama_cpp` is the SHA-256 of the archive that scripts/setup unpacks
  fixtures  by name:
    keys     in the order of the file, of each key: `type` and `value`. A float32 is given as the
             double of the same value. Of an array, `type` is "array", `element` the type of its
             elements, `length` their number, and `value` a list of them, or, where there are more
             than 16, `fnv1a64`: the 64-bit FNV-1a hash, in hexadecimal, of all elements one after
             another: strings as UTF-8, each followed by a byte 0; numbers little-endian in the
             size of their type; a bool as one byte, 0 or 1.
    tensors  in the order of the file, of each tensor: `shape`, outermost first; `type`; `fnv1a64`,
             the same hash of its data
"""

import contextlib
import json
import logging
import os
import pathlib
import shutil
import sys
import tempfile
from unittest import mock

import numpy
from sentencepiece import sentencepiece_model_pb2

from reference_json import HERE, REPOSITORY, versions, write_json

DEPS = REPOSITORY / "build" / "deps"
LLAMA_CPP = DEPS / "llama.cpp"
# Before any other gguf that is installed, and without a bar for each file.
sys.path[:0] = [str(LLAMA_CPP), str(LLAMA_CPP / "gguf-py")]
os.environ["TQDM_DISABLE"] = "1"

import gguf
import torch
import transformers
from conversion import (
    ModelBase,
    ModelType,
    TextModel,
    get_model_architecture,
    get_model_class,
)

from family_tokenizers import FAMILIES

# Of each fixture with byte-level BPE, what tokenizer.ggml.pre says.
PRE = {
    "gpt2": "gpt-2",
    "bloom": "bloom",
    "gpt-neox": "olmo",
    "gpt-neox-sequential": "olmo",
    "llama": "llama-bpe",
    "llama-dynamic": "llama-bpe",
    "qwen2": "qwen2",
    "qwen3": "qwen2",
    "smollm2": "smollm",
    "smollm3": "llama-bpe",
    "granite": "refact",
    "cohere": "command-r",
    "cohere-qk-norm": "command-r",
    "cohere2": "command-r",
}
SENTENCEPIECE = ("llama-linear", "llama-yarn", "mistral", "phi3", "gemma", "gemma2", "gemma3")
NOT_IN_LLAMA_CPP = ("opt", "opt-post-norm", "xglm")
# Of each fixture, from its configuration, what transformers 4 and the published files call these.
KEYS_OF_TRANSFORMERS_4 = {
    "gpt2": lambda config: {"n_ctx": config["n_positions"]},
    "gpt-neox": lambda config: {"rotary_pct": config["rope_parameters"]["partial_rotary_factor"]},
    "cohere2": lambda config: {"rotary_pct": 1.0},
}
KEYS_OF_TRANSFORMERS_4["gpt-neox-sequential"] = KEYS_OF_TRANSFORMERS_4["gpt-neox"]
# Gemma's pieces other than these are user-defined in tokenizer.model, special or not.
GEMMA_CONTROL = ("<pad>", "<eos>", "<bos>")
TAB, TAB_BYTE = "\t", "<0x09>"
MOST_VALUES = 16


def fnv1a64(content):
    value = 0xCBF29CE484222325
    for byte in content:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


# tokenizer.model


def first_ranks(merges):
    """Of each piece that a merge makes, the rank of the first one."""
    ranks = {}
    for rank, merge in enumerate(merges):
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        ranks.setdefault(left + right, rank)
    return ranks


def piece_type(piece, name, added):
    types = sentencepiece_model_pb2.ModelProto.SentencePiece
    if piece == "<unk>":
        return types.UNKNOWN
    if piece.startswith("<0x") and piece.endswith(">"):
        return types.BYTE
    if piece not in added:
        return types.NORMAL
    if name.startswith("gemma") and piece not in GEMMA_CONTROL:
        return types.USER_DEFINED
    return types.CONTROL


def build_sentencepiece(name, tokenizer):
    model = tokenizer["model"]
    added = {token["content"] for token in tokenizer["added_tokens"]}
    ranks = first_ranks(model["merges"])
    pieces = sorted(model["vocab"], key=model["vocab"].get)
    assert [model["vocab"][piece] for piece in pieces] == list(range(len(pieces)))
    proto = sentencepiece_model_pb2.ModelProto()
    proto.trainer_spec.model_type = sentencepiece_model_pb2.TrainerSpec.BPE
    proto.trainer_spec.byte_fallback = True
    proto.trainer_spec.unk_id = model["vocab"]["<unk>"]
    proto.normalizer_spec.add_dummy_prefix = not name.startswith("gemma")
    proto.normalizer_spec.remove_extra_whitespaces = False
    for piece in pieces:
        text = TAB_BYTE if piece == TAB else piece
        kind = piece_type(text, name, added)
        proto.pieces.add(piece=text, score=-ranks.get(piece, 0), type=kind)
    return proto.SerializeToString()


def add_sentencepiece(name, directory):
    tokenizer = read_json(directory / "tokenizer.json")
    (directory / "tokenizer.model").write_bytes(build_sentencepiece(name, tokenizer))
    path = directory / "tokenizer_config.json"
    decoder = {token["id"]: token for token in tokenizer["added_tokens"]}
    config = read_json(path) | {"added_tokens_decoder": decoder}
    path.write_text(json.dumps(config), encoding="utf-8")


# Conversion


def patched(name):
    """llama.cpp's converter with what the docstring of this file says of its two functions."""
    load_hparams = ModelBase.load_hparams
    older_keys = KEYS_OF_TRANSFORMERS_4.get(name, lambda config: {})

    def load_with_older_keys(directory, is_mistral_format):
        config = load_hparams(directory, is_mistral_format)
        return config | older_keys(config)

    patches = contextlib.ExitStack()
    patches.enter_context(mock.patch.object(ModelBase, "load_hparams", load_with_older_keys))
    patches.enter_context(
        mock.patch.object(TextModel, "get_vocab_base_pre", lambda model, tokenizer: PRE[name])
    )
    return patches


def convert(name, directory, path):
    with patched(name), torch.inference_mode():
        hparams = ModelBase.load_hparams(directory, False)
        architecture = get_model_architecture(hparams, ModelType.TEXT)
        model_class = get_model_class(architecture)
        model_class(directory, gguf.LlamaFileType.ALL_F32, path).write()


# The dump


def element_bytes(kind, values):
    if kind == gguf.GGUFValueType.STRING:
        return b"".join(value.encode("utf-8") + b"\0" for value in values)
    sizes = {"FLOAT32": "<f4", "INT32": "<i4", "UINT32": "<u4", "BOOL": "u1"}
    return numpy.asarray(values).astype(sizes[kind.name]).tobytes()


def describe_key(field):
    kind, value = field.types[0], field.contents()
    if kind != gguf.GGUFValueType.ARRAY:
        return {"type": kind.name.lower(), "value": value}
    element = field.types[-1]
    assert field.types == [kind, element], field.name
    described = {"type": "array", "element": element.name.lower(), "length": len(value)}
    if len(value) <= MOST_VALUES:
        return described | {"value": value}
    return described | {"fnv1a64": fnv1a64(element_bytes(element, value))}


def describe_tensor(tensor):
    shape = [int(size) for size in reversed(tensor.shape)]
    content = numpy.ascontiguousarray(tensor.data).tobytes()
    kind = tensor.tensor_type.name
    return {"shape": shape, "type": kind, "fnv1a64": fnv1a64(content)}


def describe_file(path):
    reader = gguf.GGUFReader(path)
    assert reader.endianess == gguf.GGUFEndian.LITTLE
    fields = {name: field for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    return {
        "keys": {name: describe_key(field) for name, field in fields.items()},
        "tensors": {tensor.name: describe_tensor(tensor) for tensor in reader.tensors},
    }


def describe_fixture(name):
    with tempfile.TemporaryDirectory() as folder:
        directory = pathlib.Path(folder) / name
        shutil.copytree(FAMILIES / name, directory)
        if name in SENTENCEPIECE:
            add_sentencepiece(name, directory)
        path = pathlib.Path(folder) / "converted.gguf"
        convert(name, directory, path)
        return describe_file(path)


def main():
    logging.disable(logging.WARNING)
    transformers.logging.set_verbosity_error()
    names = sorted(path.name for path in FAMILIES.iterdir())
    assert set(names) == {*PRE, *SENTENCEPIECE, *NOT_IN_LLAMA_CPP}
    archive = (DEPS / "llama.sha256").read_text(encoding="utf-8").strip()
    found = {key: version for key, version in versions().items() if key != "gguf"}
    write_json(
        HERE / "gguf_families.json",
        {
            "versions": found | {"llama_cpp": archive},
            "fixtures": {
                name: describe_fixture(name) for name in names if name not in NOT_IN_LLAMA_CPP
            },
        },
    )


if __name__ == "__main__":
    main()
