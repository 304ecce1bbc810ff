#!/usr/bin/env python3
"""The rules refuse what they are there to refuse, each in a small tree with that one fault."""
import contextlib
import io
import os
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import check_rules

MAP = "- **base/** Errors.\n- **text/** Languages.\n- **device/** Kernels.\n"
TREE = {
    "README.md": "See docs/notes.md.\n```sh\nbuild/release/isogloss audit --langs en # all\n```\n",
    "CONTRIBUTING.md": "- isogloss/README.md is the map.\n",
    "SECURITY.md": "Files are not trusted.\n",
    "docs/notes.md": "A [link](../README.md), and models/fetched.gguf.\n",
    "isogloss/README.md": MAP,
    "isogloss/base/error.h": "#pragma once\n",
    "isogloss/base/error.cpp": '#include "isogloss/base/error.h"\nint zero() { return 0; }\n',
    "isogloss/text/text.h": '#include "isogloss/base/error.h"\n',
    "isogloss/device/device_impl.h": "#pragma once\n",
    "tool/main.cpp": '#include "isogloss/text/text.h"\nint main() { return 0; }\n',
    "share/man/isogloss.1": ".It Fl \\-langs\n.It Fl \\-quiet\n",
    "scripts/setup": "pip download something\n",
    "CMakeLists.txt": "project(some)\n",
}
# Stands for the program: knows two options, and fails on a third.
PROGRAM = """#!/bin/sh
case "$*" in
  *--help*) echo "--langs --quiet" ;;
  *--wrong*) echo "not expected: --wrong" >&2; exit 2 ;;
esac
"""
LISTING = """
error.cpp.o:
                 U abort
                 U fprintf
                 U stderr

audit.cpp.o:
                 U fmt::v9::vformat[abi:cxx11](fmt::v9::basic_string_view<char>)
                 U snprintf
                 U std::terminate()
                 U __cxa_guard_abort
"""


def run(rule, changes=None, listing=LISTING):
    """Exit status and output of a rule on the tree with changes; None takes a file away."""
    with tempfile.TemporaryDirectory() as tmp:
        root = Path(tmp) / "root"
        for name, text in {**TREE, **(changes or {})}.items():
            if text is not None:
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text, encoding="utf-8")
        for name, text in (("program", PROGRAM), ("nm", f"#!/bin/sh\ncat <<'END'{listing}END\n")):
            (Path(tmp) / name).write_text(text, encoding="utf-8")
            os.chmod(Path(tmp) / name, 0o755)
        words = ["check_rules.py", rule, "--root", str(root), "--archive", "libisogloss.a",
                 "--isogloss", f"{tmp}/program", "--nm", f"{tmp}/nm"]
        output = io.StringIO()
        with mock.patch.object(sys, "argv", words), contextlib.redirect_stdout(output):
            return check_rules.main(), output.getvalue()


class Rules(unittest.TestCase):
    def refuses(self, rule, changes, message):
        status, output = run(rule, changes)
        self.assertIn(message, output)
        self.assertEqual(status, 1)

    def test_pass_a_tree_that_keeps_them(self):
        for rule in check_rules.RULES:
            status, output = run(rule)
            self.assertEqual(status, 0, f"{rule}: {output}")


class Includes(Rules):
    def test_refuse_a_folder_further_down(self):
        self.refuses("includes", {"isogloss/base/error.h": '#include "isogloss/text/text.h"\n'},
                     "isogloss/base/error.h:1: base/ is above text/")

    def test_refuse_private_headers_of_other_folders(self):
        private = '#include "isogloss/device/device_impl.h"\n'
        self.refuses("includes", {"tool/main.cpp": private}, "is private to device/")
        self.refuses("includes", {"isogloss/measure/audit.cpp": private}, "is private to device/")
        self.assertEqual(run("includes", {"isogloss/forward/engine.cpp": private})[0], 0)
        self.assertEqual(run("includes", {"isogloss/device/device.cpp": private})[0], 0)

    def test_refuse_what_is_not_there_or_not_spelled_from_the_root(self):
        self.refuses("includes", {"tool/main.cpp": '#include "isogloss/text/txt.h"\n'},
                     "there is no isogloss/text/txt.h")
        self.refuses("includes", {"tool/main.cpp": '#include "../isogloss/text/text.h"\n'},
                     "not spelled from the root")

    def test_refuse_an_unknown_folder(self):
        self.refuses("includes", {"isogloss/common/all.h": "#pragma once\n"},
                     "its folder is not in the pipeline")


class LibraryIsSilent(Rules):
    def test_refuse_printing_and_ending(self):
        for symbol in ("printf", "puts", "stderr", "fwrite", "__printf_chk", "std::cout",
                       "std::cerr", "fmt::v9::vprint(_IO_FILE*, fmt::v9::basic_string_view<char>)",
                       "exit", "_exit", "quick_exit", "abort", "fprintf", "ggml_abort"):
            listing = LISTING + f"                 U {symbol}\n"
            status, output = run("library_is_silent", listing=listing)
            self.assertEqual(status, 1, symbol)
            self.assertIn("audit.cpp.o: ", output)
            self.assertIn(symbol.split("(")[0], output)

    def test_refuse_an_archive_without_the_library(self):
        self.assertEqual(run("library_is_silent", listing="\nother.cpp.o:\n")[0], 1)


class Docs(Rules):
    def test_refuse_paths_and_links_to_nowhere(self):
        self.refuses("docs", {"SECURITY.md": "See `docs/gone.md`.\n"}, "there is no docs/gone.md")
        self.refuses("docs", {"docs/notes.md": "[a](other.md)\n"}, "the link to other.md")
        self.refuses("docs", {"docs/notes.md": None, "docs/other.md": "x\n"},
                     "README.md: there is no docs/notes.md")

    def test_refuse_a_map_that_is_not_the_folders(self):
        self.refuses("docs", {"isogloss/README.md": MAP + "- **plan/** Plans.\n"}, "its folders")
        self.refuses("docs", {"isogloss/sweep/sweep.h": "#pragma once\n"}, "its folders")
        swapped = MAP.replace("base", "?").replace("text", "base").replace("?", "text")
        self.refuses("docs", {"isogloss/README.md": swapped}, "order")

    def test_refuse_commands_that_fail(self):
        block = "```sh\nbuild/release/isogloss audit \\\n  --wrong\n```\n"
        self.refuses("docs", {"docs/notes.md": block}, "not expected: --wrong")
        self.refuses("docs", {"README.md": "No command.\n"}, "no command was found")

    def test_skip_commands_over_models_that_are_not_fetched(self):
        block = "```sh\nbuild/release/isogloss audit models/absent.gguf --wrong\n```\n"
        status, output = run("docs", {"docs/notes.md": block})
        self.assertEqual(status, 0)
        self.assertIn("skipped, models/absent.gguf is not there", output)

    def test_refuse_options_that_differ(self):
        self.refuses("docs", {"share/man/isogloss.1": ".It Fl \\-langs\n"}, "lacks --quiet")
        self.refuses("docs", {"share/completions/some": "--seed)\n"}, "has no --seed")

    def test_shorten_commands(self):
        words = "isogloss audit --max-units 100 --reference-lang he --json - | cat".split()
        self.assertEqual(" ".join(check_rules.shortened(words)),
                         "audit --reference-lang he --json - --max-units 2 --quiet "
                         "--langs en,de,he --draws 100")
        words = "isogloss sweep --mode damage --langs hi --draws 300".split()
        self.assertEqual(" ".join(check_rules.shortened(words)),
                         "sweep --mode damage --langs hi --draws 300 --max-units 2 --quiet")
        words = "isogloss audit --list-schemes".split()
        self.assertEqual(check_rules.shortened(words), ["audit", "--list-schemes"])


class Sizes(Rules):
    def test_refuse_long_functions_only(self):
        for lines, status in ((98, 0), (99, 1)):
            body = "  f({\"}\", '}'});  // }\n" * lines
            code = f"namespace a {{\nint g() {{ return 0; }}\n\nvoid h() {{\n{body}}}\n}}\n"
            found, output = run("sizes", {"isogloss/text/text.cpp": code})
            self.assertEqual(found, status, output)
        self.assertIn("isogloss/text/text.cpp:4: a function of 101 lines", output)

    def test_find_functions_in_classes_and_pass_over_tables(self):
        table = "const int kTable[] = {\n" + "  1,\n" * 150 + "};\n"
        self.assertEqual(run("sizes", {"isogloss/text/table.cpp": table})[0], 0)
        method = "class A {\n void f() const {\n" + "  g();\n" * 120 + " }\n};\n"
        self.refuses("sizes", {"isogloss/text/a.h": method}, "a function of 122 lines")

    def test_refuse_long_files_and_lines(self):
        self.refuses("sizes", {"isogloss/text/a.h": "int a;\n" * 801}, "801 lines")
        self.refuses("sizes", {"isogloss/text/a.h": "//" + "x" * 99 + "\n"}, "101 columns")
        by_hand = "// clang-format off\n//" + "x" * 99 + "\n// clang-format on\n"
        self.assertEqual(run("sizes", {"isogloss/text/a.h": by_hand})[0], 0)
        self.refuses("sizes", {"isogloss/text/a.h": by_hand + "//" + "x" * 99}, "a.h:4: 101")

    def test_refuse_tabs_spaces_and_notes(self):
        self.refuses("sizes", {"docs/notes.md": "a\tb\n"}, "docs/notes.md:1: a tab")
        self.refuses("sizes", {"scripts/setup": "a\nb \n"}, "scripts/setup:2: spaces")
        self.refuses("sizes", {"isogloss/text/a.h": "// TO" "DO: more\n"}, "a.h:1: a note")


class Words(Rules):
    def test_refuse_hosts_of_registries_in_scripts(self):
        for name in ("scripts/setup", "CMakeLists.txt", "cmake/some.cmake"):
            self.refuses("words", {name: "https://pypi.org/simple\n"}, f"{name}: names pypi.org")
        self.assertEqual(run("words", {"README.md": "https://github.com/a/b\n"})[0], 0)

    def test_refuse_names_of_machines(self):
        for word in check_rules.MACHINE_WORDS:
            self.refuses("words", {"docs/notes.md": f"as on {word}1\n"}, "docs/notes.md: names")


if __name__ == "__main__":
    unittest.main()
