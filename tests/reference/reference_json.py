"""What the scripts of this folder share: where the repository is, and how they write JSON."""

import importlib.metadata
import json
import math
import pathlib
import platform

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
PARALLEL = REPOSITORY / "data" / "parallel"
POLYGLOT = REPOSITORY / "models" / "polyglot-12"


def versions():
    """The versions that the numbers came from."""
    packages = ("torch", "transformers", "tokenizers", "gguf", "numpy")
    found = {name: importlib.metadata.version(name) for name in packages}
    return found | {"python": platform.python_version()}


def read_lines(language):
    """The lines of a language file, without line ends."""
    text = (PARALLEL / f"{language}.txt").read_bytes().decode("utf-8-sig")
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def is_leaf(value):
    return not isinstance(value, (dict, list))


def format_json(value, indent=""):
    """A list of plain values takes one line; any other list or object one line an item."""
    if is_leaf(value) or (isinstance(value, list) and all(map(is_leaf, value))):
        assert not (isinstance(value, float) and not math.isfinite(value))
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    deeper = indent + " "
    if isinstance(value, list):
        items = [format_json(item, deeper) for item in value]
        opening, closing = "[", "]"
    else:
        items = [f"{json.dumps(key)}: {format_json(item, deeper)}" for key, item in value.items()]
        opening, closing = "{", "}"
    return f"{opening}\n{deeper}" + f",\n{deeper}".join(items) + f"\n{indent}{closing}"


def write_json(path, value):
    path.write_text(format_json(value) + "\n", encoding="utf-8")
    print(f"{path.relative_to(REPOSITORY)}: {path.stat().st_size} bytes")
