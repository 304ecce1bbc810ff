#!/usr/bin/env python3
"""Keeps the repository's own rules: check_rules.py RULE [--root DIR] [--archive A] [--isogloss P].

includes           a file includes only from its own folder or from folders above it in the map
library_is_silent  the library does not print and does not end the process
docs               what the documents spell exists, and their commands run
sizes              functions, files and lines are short; no tab, no space at an end, no to-do note
words              no registry's host in scripts, no path or name of a machine it was made on
"""
import argparse
import re
import shlex
import subprocess
import sys
import tempfile
from fnmatch import fnmatch
from pathlib import Path

FOLDERS = ("base text tokens model quantize device forward measure calibrate sweep plan write "
           "verify study report").split()

# Private headers that another folder may include, and why.
PRIVATE_HEADERS = {
    "isogloss/device/device_impl.h": ("forward", "it builds graphs of the device's own operations"),
}

PRINTS = re.compile(r"(__)?(v?[fd]?printf|f?puts|f?putc|putchar|fwrite|perror)(_unlocked|_chk)?"
                    r"|stdout|stderr|std::w?(cout|cerr|clog)|fmt::(v\d+::)?v?print(ln)?")
ENDS = re.compile(r"_?exit|_Exit|quick_exit|abort|ggml_abort|raise|kill")
# Where a fault of our own ends the process, with a line that names it.
ASSERTION = ("error.cpp.o", {"abort", "fprintf", "__fprintf_chk", "stderr", "fwrite"})

FUNCTION_LINES = 100
FILE_LINES = 800
COLUMNS = 100
CODE = ("*.h", "*.cpp", "*.py", "*.cmake", "*CMakeLists.txt")
WRITTEN = CODE + ("*.md", "*.test", "*.json", "scripts/*", "share/*", ".ci/*")
GENERATED = ("data/*", "models/*", "tests/data/*", "tests/reference/*.json", "LICENSE")

HOSTS = ("pypi.org", "pythonhosted.org", "debian.org", "ubuntu.com", "huggingface.co", "hf.co",
         "github.com", "githubusercontent.com", "anaconda.org", "conda.io", "crates.io", "npmjs")
MACHINE_WORDS = ("/wo" "rk/", "../sha" "red", "far" "m-", "help" "er-")

DOCUMENTS = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/*.md", "isogloss/README.md")
# Files that scripts/fetch-* bring.
FETCHED = "models/*.gguf*"
# Names that stand for the reader's own files, and what takes their place when commands run.
STAND_INS = {"mine.gguf": "models/gemma-3-270m.gguf", "my/texts": "data/parallel"}
COMMAND_TIMEOUT_S = 300


def tracked(root, *patterns):
    """Files that git tracks or would; without git all that are there. Patterns as fnmatch's."""
    git = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard"],
                         capture_output=True, text=True, check=False)
    if git.returncode == 0:
        names = git.stdout.splitlines()
    else:
        names = [str(path.relative_to(root)) for path in root.rglob("*")
                 if path.relative_to(root).parts[0] not in ("build", ".git")]
    names = sorted(name for name in set(names) if (root / name).is_file())
    return [name for name in names if not patterns or any(fnmatch(name, p) for p in patterns)]


def read(root, name):
    return (root / name).read_text(encoding="utf-8", errors="replace")


# --- includes


def include_fault(name, target):
    """What is wrong with `name` including `target`, or None."""
    folder = name.split("/")[1] if name.startswith("isogloss/") else "tool"
    other = target.split("/")[1]
    if target.endswith("_impl.h") and other != folder:
        allowed = PRIVATE_HEADERS.get(target, ("", ""))[0]
        return None if folder == allowed else f"{target} is private to {other}/"
    if folder == "tool":
        return None
    if other not in FOLDERS:
        return f"{target} is in no folder of the pipeline"
    if FOLDERS.index(other) > FOLDERS.index(folder):
        return f"{folder}/ is above {other}/ in the pipeline and may not include {target}"
    return None


def check_includes(arguments):
    root, faults = arguments.root, []
    names = tracked(root, "isogloss/*.h", "isogloss/*.cpp", "tool/*.h", "tool/*.cpp")
    for name in names:
        if name.startswith("isogloss/") and name.split("/")[1] not in FOLDERS:
            faults.append(f"{name}: its folder is not in the pipeline: {' '.join(FOLDERS)}")
            continue
        for number, line in enumerate(read(root, name).splitlines(), 1):
            match = re.match(r'\s*#\s*include\s*["<](isogloss/[^">]+|\.\.?/[^">]+)[">]', line)
            if not match:
                continue
            target = match[1]
            if not target.startswith("isogloss/"):
                faults.append(f"{name}:{number}: {target} is not spelled from the root")
            elif not (root / target).is_file():
                faults.append(f"{name}:{number}: there is no {target}")
            elif fault := include_fault(name, target):
                faults.append(f"{name}:{number}: {fault}")
    return faults or ([] if names else ["no file was found"])


# --- library_is_silent


def undefined_symbols(listing):
    """(object, symbol) of `nm -C -u`; symbols without parameters."""
    member = ""
    for line in listing.splitlines():
        if line.endswith(":"):
            member = line[:-1]
        elif match := re.match(r"\s+U (\S[^(]*)", line):
            yield member, match[1].strip().removesuffix("[abi:cxx11]").split("@")[0]


def check_library(arguments):
    listing = subprocess.run([arguments.nm, "-C", "-u", arguments.archive], capture_output=True,
                             text=True, check=True).stdout
    faults, objects = [], set()
    for member, symbol in undefined_symbols(listing):
        objects.add(member)
        if member == ASSERTION[0] and symbol in ASSERTION[1]:
            continue
        if PRINTS.fullmatch(symbol):
            faults.append(f"{member}: prints with {symbol}")
        if ENDS.fullmatch(symbol):
            faults.append(f"{member}: ends the process with {symbol}")
    if ASSERTION[0] not in objects:
        faults.append(f"{arguments.archive}: has no {ASSERTION[0]}; is it the library?")
    return faults


# --- docs


def missing_paths(root, name, text):
    """Paths from the root that `text` spells, and links beside it, that lead nowhere."""
    folders = "isogloss|tests|scripts|docs|data|models|tool|cmake|share"
    pattern = rf"(?<![\w/.-])(?:{folders})/[\w./*-]*"
    spelled = [path.rstrip(".-") for path in re.findall(pattern, text)]
    faults = [f"{name}: there is no {path}" for path in spelled
              if not fnmatch(path, FETCHED) and not any(root.glob(path.rstrip("/")))]
    for link in re.findall(r"\]\(([^)#\s]+)\)", text):
        if "://" not in link and not ((root / name).parent / link).exists():
            faults.append(f"{name}: the link to {link} leads nowhere")
    return faults


def check_map(root):
    spelled = re.findall(r"^- \*\*(\w+)/\*\*", read(root, "isogloss/README.md"), re.MULTILINE)
    found = sorted(path.name for path in (root / "isogloss").iterdir() if path.is_dir())
    faults = []
    if sorted(spelled) != found:
        faults.append(f"isogloss/README.md: its folders are {spelled}, those there are {found}")
    if spelled != [folder for folder in FOLDERS if folder in spelled]:
        faults.append("isogloss/README.md: the folders are not in the order of the pipeline")
    return faults


def commands_of(text):
    """Command lines of ```sh blocks that run the program; a backslash continues a line."""
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("build/release/isogloss"):
                yield line


def value_of(words, option):
    return words[words.index(option) + 1] if option in words else None


def shortened(words):
    """The same command on little text; what follows `|` or `>` is left out."""
    end = next((i for i, word in enumerate(words) if word in ("|", ">", "&&")), len(words))
    words = words[1:end]
    no_text = {"--help", "--list-schemes", "--list-languages"}
    if words[:1] not in (["audit"], ["sweep"], ["verify"]) or no_text & {*words}:
        return words
    if "--max-units" in words:
        del words[words.index("--max-units"):words.index("--max-units") + 2]
    few = "20" if "--part" in words else "2"
    words += ["--max-units", "60" if "--window" in words else few, "--quiet"]
    if "--langs" not in words:
        reference = value_of(words, "--reference-lang")
        languages = ["en", "de"] + ([reference] if reference not in (None, "en", "de") else [])
        words += ["--langs", ",".join(code for code in languages if code != "geomean")]
    return words if "--draws" in words else words + ["--draws", "100"]


def run_command(program, line, scratch):
    """What is wrong with a command of a document, or None."""
    words = shortened(shlex.split(line, comments=True))
    absent = [word for word in words for path in [STAND_INS.get(word, word)]
              if fnmatch(path, FETCHED) and not (scratch / path).exists()]
    if absent:
        print(f"skipped, {absent[0]} is not there: {line}")
        return None
    done = subprocess.run([program, *words], cwd=scratch, capture_output=True, text=True,
                          timeout=COMMAND_TIMEOUT_S, check=False)
    print(f"ran: isogloss {shlex.join(words)}")
    allowed = (0, 3) if "--fail-if" in words else (0,)
    return None if done.returncode in allowed else f"{line}\n    {done.stderr.strip()}"


def check_commands(root, program, names):
    faults, count = [], 0
    with tempfile.TemporaryDirectory(prefix="isogloss_docs_") as tmp:
        scratch = Path(tmp)
        for folder in ("data", "models", "tests"):
            (scratch / folder).symlink_to(root / folder)
        for stand_in, path in STAND_INS.items():
            (scratch / stand_in).parent.mkdir(exist_ok=True)
            (scratch / stand_in).symlink_to(root / path)
        for name in names:
            for line in commands_of(read(root, name)):
                count += 1
                if fault := run_command(program, line, scratch):
                    faults.append(f"{name}: {fault}")
    return faults or ([] if count else ["no command was found in the documents"])


def options_of(text):
    """Long options; mdoc's `.Fl \\-name` is one."""
    text = text.replace("Fl \\-", "--")
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", text)) - {"--help"}


def check_options(root, program):
    """The manual page has the options that the help has, and the completion knows no other."""
    helps = [subprocess.run([program, *command, "--help"], capture_output=True, text=True,
                            check=True).stdout
             for command in ((), ("audit",), ("convert",), ("inspect",), ("quantize",),
                             ("sweep",), ("verify",))]
    there = options_of("".join(helps))
    faults = []
    for name in tracked(root, "share/man/*", "share/completions/*"):
        spelled = options_of(read(root, name))
        faults += [f"{name}: the program has no {option}" for option in sorted(spelled - there)]
        if name.startswith("share/man/"):
            faults += [f"{name}: lacks {option}" for option in sorted(there - spelled)]
    return faults


def check_docs(arguments):
    root = arguments.root
    names = tracked(root, *DOCUMENTS)
    faults = [f"there is no {name}" for name in DOCUMENTS if "*" not in name and name not in names]
    for name in names:
        faults += missing_paths(root, name, read(root, name))
    program = arguments.isogloss.resolve()
    return (faults + check_map(root) + check_options(root, program) +
            check_commands(root, program, names))


# --- sizes


def blank(match):
    return re.sub(r"[^\n]", " ", match[0])


def without_text(code):
    """C++ without comments, literals and preprocessor lines; as many lines as before."""
    code = re.sub(r'R"(\w*)\(.*?\)\1"|//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"'
                  r"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'", blank, code, flags=re.DOTALL)
    return re.sub(r"^[ \t]*#(?:\\\n|[^\n])*", blank, code, flags=re.MULTILINE)


def is_function(header):
    """Whether a block with these words in front of it is a function's body."""
    words = re.sub(r"^\s*template\s*<.*?>\s*(?=\w)", "", header, flags=re.DOTALL)
    container = re.match(r"\s*(?:inline\s+)?(?:namespace|class|struct|union|enum|extern)\b", words)
    return ")" in words and not container and not re.search(r"=\s*[^=()]*$", words)


def functions(code):
    """(first line, count of lines) of every function; those inside of others are part of them."""
    code = without_text(code)
    stack, start = [], 0  # of open blocks: where the function's head begins, None for other blocks
    for place, char in enumerate(code):
        inside = any(head is not None for head in stack)
        if char == "{":
            initializer = place and (code[place - 1].isalnum() or code[place - 1] in "_>")
            header = code[start:place]
            head = start + len(header) - len(header.lstrip())
            opens = not inside and not initializer and is_function(header)
            stack.append(head if opens else None)
            if not initializer:
                start = place + 1
        elif char == "}" and stack:
            head = stack.pop()
            if head is not None:
                yield code.count("\n", 0, head) + 1, code.count("\n", head, place) + 1
            start = place + 1
        elif char == ";" and not inside:
            start = place + 1


def line_faults(name, lines):
    code = any(fnmatch(name, pattern) for pattern in CODE)
    table = False  # laid out by hand
    for number, line in enumerate(lines, 1):
        if re.fullmatch(r"\s*// clang-format (on|off)", line):
            table = line.endswith("off")
        if code and not table and len(line) > COLUMNS:
            yield f"{name}:{number}: {len(line)} columns, at most {COLUMNS}"
        if "\t" in line:
            yield f"{name}:{number}: a tab"
        if line != line.rstrip():
            yield f"{name}:{number}: spaces at the end"
        if re.search(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b", line):
            yield f"{name}:{number}: a note of what is to be done; do it or open an issue"


def check_sizes(arguments):
    root, faults, count = arguments.root, [], 0
    for name in tracked(root, *WRITTEN):
        if any(fnmatch(name, pattern) for pattern in GENERATED):
            continue
        text = read(root, name)
        lines = text.splitlines()
        faults += line_faults(name, lines)
        if any(fnmatch(name, pattern) for pattern in CODE) and len(lines) > FILE_LINES:
            faults.append(f"{name}: {len(lines)} lines, at most {FILE_LINES}")
        if re.match(r"(isogloss|tool)/.*\.(h|cpp)$", name):
            for line, length in functions(text):
                count += 1
                if length > FUNCTION_LINES:
                    faults.append(f"{name}:{line}: a function of {length} lines, "
                                  f"at most {FUNCTION_LINES}")
    return faults or ([] if count else ["no function was found"])


# --- words


def check_words(arguments):
    root, faults = arguments.root, []
    names = tracked(root)
    for name in names:
        data = (root / name).read_bytes()
        for word in MACHINE_WORDS:
            if word.encode() in data:
                faults.append(f"{name}: names the machine it was made on: {word}")
        builds = fnmatch(name, "*.cmake") or Path(name).name in ("CMakeLists.txt",
                                                                 "CMakePresets.json")
        if builds or name.startswith(("scripts/", ".ci/")):
            for host in HOSTS:
                if host.encode() in data:
                    faults.append(f"{name}: names {host}; pip and apt know where to fetch from")
    return faults or ([] if names else ["no file was found"])


RULES = {"includes": check_includes, "library_is_silent": check_library, "docs": check_docs,
         "sizes": check_sizes, "words": check_words}


def main():
    parser = argparse.ArgumentParser(description="Keeps the repository's own rules.")
    parser.add_argument("rule", choices=RULES)
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[2])
    parser.add_argument("--archive", type=Path, help="libisogloss.a, for library_is_silent")
    parser.add_argument("--isogloss", type=Path, help="the program, for docs")
    parser.add_argument("--nm", default="nm")
    arguments = parser.parse_args()
    needed = {"library_is_silent": "archive", "docs": "isogloss"}.get(arguments.rule)
    if needed and getattr(arguments, needed) is None:
        parser.error(f"{arguments.rule} needs --{needed}")
    faults = RULES[arguments.rule](arguments)
    print("\n".join(faults), end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
