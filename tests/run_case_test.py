#!/usr/bin/env python3
"""The runner of text cases fails where a program differs from its case."""
import contextlib
import io
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import run_case


def status_of(text):
    """Exit status of the runner; {isogloss} is a shell."""
    with tempfile.TemporaryDirectory() as tmp:
        path = Path(tmp) / "some.test"
        path.write_text(text, encoding="utf-8")
        words = ["run_case.py", "--isogloss", "/bin/sh", "--source", tmp, str(path)]
        with mock.patch.object(sys, "argv", words), contextlib.redirect_stdout(io.StringIO()):
            return run_case.main()


COMMAND = "# A case.\n$ {isogloss} -c 'echo a.b; echo c; echo d >&2; exit 4'\n"


def case(status="exit 4\n", stdout="a.b\nc\n", stderr="d\n"):
    """COMMAND with what it does, or with something else; None leaves a part out."""
    parts = [COMMAND, status]
    for name, lines in (("stdout", stdout), ("stderr", stderr)):
        if lines is not None:
            parts.append(f"{name}:\n{lines}")
    return "".join(parts)


class RunCase(unittest.TestCase):
    def test_passes_what_is_as_written(self):
        self.assertEqual(status_of(case()), 0)

    def test_fails_on_another_exit_status(self):
        self.assertEqual(status_of(case(status="exit 0\n")), 1)

    def test_fails_on_another_line(self):
        self.assertEqual(status_of(case(stdout="a.b\ne\n")), 1)

    def test_fails_on_a_line_too_few_or_too_many(self):
        self.assertEqual(status_of(case(stdout="a.b\n")), 1)
        self.assertEqual(status_of(case(stdout="a.b\nc\nc\n")), 1)

    def test_fails_on_output_that_is_not_spelled(self):
        self.assertEqual(status_of(case(stdout=None)), 1)
        self.assertEqual(status_of(case(stderr=None)), 1)

    def test_takes_a_literal_line_letter_by_letter(self):
        self.assertEqual(status_of(case(stdout="a.b\n.\n")), 1)
        self.assertEqual(status_of(case(stdout="a.b\n~ .\n")), 0)

    def test_matches_a_regular_expression_with_a_whole_line(self):
        self.assertEqual(status_of(case(stdout="~ a\nc\n")), 1)
        self.assertEqual(status_of(case(stdout="~ a.*\nc\n")), 0)
        self.assertEqual(status_of(case(stdout="~ x|a.b\nc\n")), 0)
        self.assertEqual(status_of(case(stdout="~ a.*c\n")), 1)

    def test_takes_any_lines_only_for_dots(self):
        self.assertEqual(status_of(case(stdout="...\n")), 0)
        self.assertEqual(status_of(case(stdout="...\nc\n")), 0)
        self.assertEqual(status_of(case(stdout="...\na.b\n")), 1)

    def test_runs_every_command(self):
        self.assertEqual(status_of(case() + "\n$ {isogloss} -c 'exit 1'\nexit 0\n"), 1)
        self.assertEqual(status_of(case() + "\n$ {isogloss} -c 'exit 1'\nexit 1\n"), 0)

    def test_runs_commands_after_setup_in_a_directory_of_their_own(self):
        text = "# A case.\nsetup: echo x > {tmp}/f\n$ cat f\nexit 0\nstdout:\n"
        self.assertEqual(status_of(text + "x\n"), 0)
        self.assertEqual(status_of(text + "y\n"), 1)
        self.assertEqual(status_of("# A case.\nsetup: false\n$ true\nexit 0\n"), 1)

    def test_fills_placeholders_in_what_is_expected(self):
        text = "# A case.\n$ {isogloss} -c 'pwd'\nexit 0\nstdout:\n"
        self.assertEqual(status_of(text + "{tmp}\n"), 0)
        self.assertEqual(status_of(text + "~ {tmp}\n"), 0)
        self.assertEqual(status_of(text + "{models}\n"), 1)

    def test_refuses_a_case_that_is_not_whole(self):
        self.assertEqual(status_of(case().removeprefix("# A case.\n")), 1)
        self.assertEqual(status_of("# A case.\n"), 1)
        self.assertEqual(status_of(case(status="")), 1)
        self.assertEqual(status_of("# A case.\nset up: true\n$ true\nexit 0\n"), 1)
        self.assertEqual(status_of(case(stdout="~ a(\nc\n")), 1)


if __name__ == "__main__":
    unittest.main()
