"""Small tokenizers, trained on data/parallel, with the pipelines of published ones.

make_families.py saves them; they need tokenizers, transformers and sentencepiece. Each has the
normalizer, pre-tokenizer, model options, post-processor and names of added tokens of the
tokenizer.json that its family publishes; only the vocabulary is small. FIXTURES says which
fixture has which.
"""

import collections
import io
import json

import sentencepiece
import transformers
from sentencepiece import sentencepiece_model_pb2
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from reference_json import PARALLEL, REPOSITORY, read_lines

FAMILIES = REPOSITORY / "tests" / "data" / "families"
PIECES = 432
# SentencePiece keeps at least 98 % of the characters that it sees; so that there is room for
# merges, it sees only the most common ones.
BPE_CHARACTERS = 100
UNIGRAM_CHARACTERS = 300
UNIGRAM_PIECES = 600
# Of newlines and spaces among Gemma's tokens; the published ones go up to 31.
RUN = 12
LOWER_BLOCK = "\u2581"
WORDS_WITHOUT_MERGES = 16
LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN_PATTERN = LLAMA3_PATTERN.replace(r"\p{N}{1,3}", r"\p{N}")
BLOOM_PATTERN = r" ?[^(\s|[.,!?…。，、।۔،])]+"
# Bytes that SmolLM2's vocabulary has no token for, in the spelling of byte-level BPE.
SMOLLM_MISSING = "ĝĞ"


def corpus():
    return [line for path in sorted(PARALLEL.glob("*.txt")) for line in read_lines(path.stem)]


def special(*tokens, **options):
    return [AddedToken(token, special=True, normalized=False, **options) for token in tokens]


def plain(*tokens, **options):
    options = {"normalized": False} | options
    return [AddedToken(token, special=False, **options) for token in tokens]


def template(*before):
    """A post-processor that puts tokens, given with their ids, before every text."""
    names = " ".join(token for token, _ in before)
    return processors.TemplateProcessing(
        single=f"{names} $A", pair=f"{names} $A {names}:1 $B:1", special_tokens=list(before)
    )


# Byte-level BPE.


def split_then_bytes(pattern):
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def digits_then_bytes():
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )


def train_bytes(pre_tokenizer, normalizer=None, first=(), missing="", pieces=PIECES, **options):
    """A tokenizer with the tokens `first` at the front of its vocabulary, then the bytes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer:
        tokenizer.normalizer = normalizer
    alphabet = sorted(set(pre_tokenizers.ByteLevel.alphabet()) - set(missing))
    trainer = trainers.BpeTrainer(
        vocab_size=pieces, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = list(first) + sorted(model["vocab"], key=model["vocab"].get)
    return with_bytes_model(tokenizer, tokens, model["merges"], **options)


def with_bytes_model(tokenizer, tokens, merges, **options):
    tokenizer.model = models.BPE(
        vocab={token: index for index, token in enumerate(tokens)},
        merges=[tuple(merge) for merge in merges],
        continuing_subword_prefix="",
        end_of_word_suffix="",
        **options,
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def add_words_without_merges(tokenizer):
    """Words that only `ignore_merges` finds: their tokens come from no merge."""
    vocab = tokenizer.get_vocab()
    words = collections.Counter(
        word for line in corpus() for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(line)
    )
    rare = [word for word in words if len(word) > 4 and word not in vocab]
    chosen = sorted(rare, key=lambda word: (-words[word], word))[:WORDS_WITHOUT_MERGES]
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(vocab, key=vocab.get) + chosen
    return with_bytes_model(tokenizer, tokens, model["merges"], ignore_merges=True)


def gpt2():
    tokenizer = train_bytes(pre_tokenizers.ByteLevel(add_prefix_space=False))
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", special=True, normalized=True)])
    return tokenizer, {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}


def opt():
    """GPT-2's; the ids do not follow the order of merges, as fairseq numbers by frequency."""
    trained = train_bytes(pre_tokenizers.ByteLevel(add_prefix_space=False))
    model = json.loads(trained.to_str())["model"]
    order = sorted(model["vocab"], key=lambda token: (len(token), token[::-1]), reverse=True)
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *order, "madeupword0000", "madeupword0001"]
    tokenizer = with_bytes_model(trained, tokens, model["merges"])
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=True) for token in ("<pad>", "</s>")]
    )
    tokenizer.post_processor = template(("</s>", 2))
    names = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"}
    return tokenizer, names


def bloom():
    tokens = ("<unk>", "<s>", "</s>", "<pad>")
    tokenizer = train_bytes(split_then_bytes(BLOOM_PATTERN), first=tokens)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.add_special_tokens(special(*tokens))
    names = ("unk_token", "bos_token", "eos_token", "pad_token")
    return tokenizer, dict(zip(names, tokens, strict=True))


def gpt_neox():
    tokens = ("<|endoftext|>", "<|padding|>")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = train_bytes(byte_level, normalizers.NFC(), first=tokens)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    tokenizer.add_special_tokens(special(*tokens))
    tokenizer.add_tokens(plain(*(" " * n for n in range(24, 1, -1)), normalized=True))
    return tokenizer, {"bos_token": tokens[0], "eos_token": tokens[0], "unk_token": tokens[0]}


def llama3_pieces():
    return add_words_without_merges(train_bytes(split_then_bytes(LLAMA3_PATTERN)))


def llama3():
    tokenizer = llama3_pieces()
    tokenizer.add_special_tokens(
        special(
            "<|begin_of_text|>",
            "<|end_of_text|>",
            "<|reserved_special_token_0|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|eot_id|>",
        )
    )
    bos = "<|begin_of_text|>"
    tokenizer.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=False), template((bos, tokenizer.token_to_id(bos)))]
    )
    return tokenizer, {"bos_token": bos, "eos_token": "<|end_of_text|>"}


def smollm3():
    tokenizer = llama3_pieces()
    tokenizer.add_special_tokens(special("<|begin_of_text|>", "<|end_of_text|>"))
    tokenizer.add_tokens(plain("<think>", "</think>"))
    tokenizer.add_special_tokens(special("<|im_start|>", "<|im_end|>"))
    tokenizer.add_tokens(plain("<tool_call>", "</tool_call>"))
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer, {"eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}


def qwen2():
    tokenizer = train_bytes(split_then_bytes(QWEN_PATTERN), normalizers.NFC())
    tokenizer.post_processor = processors.ByteLevel(
        add_prefix_space=False, trim_offsets=False, use_regex=False
    )
    tokenizer.add_special_tokens(special("<|endoftext|>", "<|im_start|>", "<|im_end|>"))
    return tokenizer, {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}


def qwen3():
    tokenizer, names = qwen2()
    tokenizer.add_tokens(plain("<tool_call>", "</tool_call>", "<|fim_prefix|>"))
    tokenizer.add_tokens(plain("<think>", "</think>"))
    return tokenizer, names | {"eos_token": "<|im_end|>"}


def smollm2():
    tokens = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<empty_output>")
    tokenizer = train_bytes(digits_then_bytes(), first=tokens, missing=SMOLLM_MISSING)
    tokenizer.add_special_tokens(special(*tokens))
    return tokenizer, {"bos_token": tokens[0], "eos_token": tokens[0], "unk_token": tokens[0]}


def granite():
    tokens = ("<|end_of_text|>", "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<filename>")
    tokenizer = train_bytes(digits_then_bytes(), first=tokens)
    tokenizer.add_special_tokens(special(*tokens))
    tokenizer.add_special_tokens(special("<|start_of_role|>", "<|end_of_role|>", "<|tool_call|>"))
    return tokenizer, {"bos_token": tokens[0], "eos_token": tokens[0], "unk_token": tokens[0]}


def cohere():
    tokens = ("<PAD>", "<UNK>", "<CLS>", "<SEP>", "<MASK_TOKEN>", "<BOS_TOKEN>", "<EOS_TOKEN>")
    tokenizer = train_bytes(digits_then_bytes(), normalizers.NFC(), first=tokens)
    tokenizer.post_processor = template(("<BOS_TOKEN>", tokens.index("<BOS_TOKEN>")))
    tokenizer.add_special_tokens(special(*tokens))
    tokenizer.add_tokens(plain("<|START_OF_TURN_TOKEN|>"))
    tokenizer.add_special_tokens(special("<|END_OF_TURN_TOKEN|>"))
    tokenizer.add_tokens(plain("<|YES_TOKEN|>", "<|NO_TOKEN|>"))
    names = {"bos_token": "<BOS_TOKEN>", "eos_token": "<|END_OF_TURN_TOKEN|>"}
    return tokenizer, names | {"unk_token": "<UNK>", "pad_token": "<PAD>"}


# SentencePiece.


def corpus_of_common(characters):
    counts = collections.Counter(character for line in corpus() for character in line)
    common = sorted(counts, key=lambda character: (-counts[character], character))[:characters]
    return ["".join(c if c in common else " " for c in line) for line in corpus()]


def train_pieces(size, characters, **options):
    """The pieces of a SentencePiece model, and its map of characters."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus_of_common(characters)),
        model_writer=written,
        vocab_size=size,
        character_coverage=1.0,
        split_digits=True,
        num_threads=1,
        minloglevel=2,
        **options,
    )
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(written.getvalue())
    return proto.pieces, proto.normalizer_spec.precompiled_charsmap


def train_pieces_with_bytes(size, **options):
    """As the BPE models of Llama and Gemma are trained."""
    pieces, _ = train_pieces(
        size,
        BPE_CHARACTERS,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        **options,
    )
    return [piece.piece for piece in pieces]


def derive_merges(vocab):
    """Each token split everywhere, in the order in which transformers' converter wrote the
    published files: by the whole, then by the left, then by the right part's id."""
    merges = []
    for token in vocab:
        splits = [(token[:cut], token[cut:]) for cut in range(1, len(token))]
        known = [pair for pair in splits if pair[0] in vocab and pair[1] in vocab]
        merges += sorted(known, key=lambda pair: (vocab[pair[0]], vocab[pair[1]]))
    return merges


def pieces_tokenizer(tokens, *end_of_decoder):
    vocab = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocab,
            merges=derive_merges(vocab),
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(LOWER_BLOCK, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            *end_of_decoder,
        ]
    )
    return tokenizer


def llama2_pieces():
    tokenizer = pieces_tokenizer(train_pieces_with_bytes(PIECES), decoders.Strip(" ", 1, 0))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend(LOWER_BLOCK), normalizers.Replace(" ", LOWER_BLOCK)]
    )
    tokenizer.post_processor = template(("<s>", 1))
    return tokenizer


def llama2():
    tokenizer = llama2_pieces()
    tokenizer.add_special_tokens(special("<unk>", "<s>", "</s>"))
    return tokenizer, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def phi3():
    """Llama 2's; </s> is no special token here, and swallows white space as the added ones do."""
    tokenizer = llama2_pieces()
    tokenizer.add_special_tokens(special("<unk>", "<s>"))
    tokenizer.add_tokens(plain("</s>", rstrip=True))
    tokenizer.add_special_tokens(special("<|endoftext|>"))
    tokenizer.add_special_tokens(
        special("<|assistant|>", "<|placeholder1|>", "<|system|>", "<|end|>", rstrip=True)
    )
    tokenizer.add_special_tokens(special("<|user|>", rstrip=True))
    names = {"bos_token": "<s>", "eos_token": "<|endoftext|>", "unk_token": "<unk>"}
    return tokenizer, names | {"pad_token": "<|endoftext|>"}


def mistral():
    control = ["[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[control_8]"]
    tokens = train_pieces_with_bytes(PIECES, control_symbols=control)
    tokenizer = pieces_tokenizer(tokens, decoders.Strip(" ", 1, 0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
        replacement=LOWER_BLOCK, prepend_scheme="first", split=False
    )
    tokenizer.post_processor = template(("<s>", 1))
    tokenizer.add_special_tokens(special("<unk>", "<s>", "</s>", *control))
    return tokenizer, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def gemma_pieces(*named):
    """Added tokens: named ones, runs of newlines and of spaces, tags. The runs of spaces are
    spelled with lower blocks, so that only a text with lower blocks has them as added tokens; a
    tab has a token in place of its byte's."""
    turns = ("<start_of_turn>", "<end_of_turn>")
    newlines = ["\n" * n for n in range(1, RUN + 1)]
    blocks = [LOWER_BLOCK * n for n in range(2, RUN + 1)]
    tags = ["<table>", "<tr>", "</tr>", "<h1>", "<h2>", "</h1>", "<b>", "</b>", "<code>"]
    symbols = [*named, *turns, *newlines, *blocks, *tags]
    tokens = train_pieces_with_bytes(
        PIECES + len(symbols),
        user_defined_symbols=symbols,
        add_dummy_prefix=False,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        eos_piece="<eos>",
        bos_piece="<bos>",
    )
    tokens[tokens.index("<0x09>")] = "\t"
    tokenizer = pieces_tokenizer(tokens)
    tokenizer.normalizer = normalizers.Replace(" ", LOWER_BLOCK)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    tokenizer.post_processor = template(("<bos>", 2))
    tokenizer.add_special_tokens(special("<pad>", "<eos>", "<bos>", "<unk>"))
    tokenizer.add_tokens(plain(*named))
    tokenizer.add_special_tokens(special(*turns))
    tokenizer.add_tokens(plain(*newlines, *blocks, *tags))
    names = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>"}
    return tokenizer, names | {"pad_token": "<pad>"}


def gemma():
    return gemma_pieces("<mask>", "<2mass>", "[@BOS@]", "<unused0>", "<unused1>")


def gemma3():
    tokenizer, names = gemma_pieces("<mask>", "[multimodal]", "<unused0>", "<unused1>")
    tokenizer.add_special_tokens(special("<start_of_image>", "<end_of_image>"))
    return tokenizer, names


def xglm():
    """Unigram, converted as transformers converts XGLM's SentencePiece model."""
    pieces, characters = train_pieces(
        UNIGRAM_PIECES,
        UNIGRAM_CHARACTERS,
        model_type="unigram",
        normalization_rule_name="nmt_nfkc",
    )
    vocab = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    vocab += [(piece.piece, round(piece.score, 6)) for piece in pieces[3:]]
    vocab += [(f"<madeupword{number}>", 0.0) for number in range(7)]
    built = transformers.XGLMTokenizer(vocab=vocab, _spm_precompiled_charsmap=characters)
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    return built.backend_tokenizer, names


FIXTURES = {
    "gpt2": gpt2,
    "opt": opt,
    "opt-post-norm": opt,
    "bloom": bloom,
    "gpt-neox": gpt_neox,
    "gpt-neox-sequential": gpt_neox,
    "llama": llama3,
    "llama-linear": llama2,
    "llama-yarn": llama2,
    "llama-dynamic": llama3,
    "mistral": mistral,
    "qwen2": qwen2,
    "qwen3": qwen3,
    "gemma": gemma,
    "gemma2": gemma,
    "gemma3": gemma3,
    "smollm2": smollm2,
    "smollm3": smollm3,
    "phi3": phi3,
    "granite": granite,
    "xglm": xglm,
    "cohere": cohere,
    "cohere-qk-norm": cohere,
    "cohere2": cohere,
}


def save_tokenizer(name, directory):
    """Writes tokenizer.json and tokenizer_config.json."""
    tokenizer, names = FIXTURES[name]()
    published = tokenizer.to_str(pretty=True)
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(
        directory
    )
    path = directory / "tokenizer.json"
    saved = json.loads(path.read_text(encoding="utf-8"))
    if json.loads(published)["post_processor"] is None:
        saved["post_processor"] = None  # transformers writes one that adds nothing
    assert saved == json.loads(published), f"{name}: transformers changed the tokenizer"
    path.write_text(published + "\n", encoding="utf-8")


def load_tokenizer(directory):
    """The saved tokenizer. Special tokens spelled out in a text are plain text to it."""
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    return tokenizer
