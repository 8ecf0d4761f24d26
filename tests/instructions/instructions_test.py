# SPDX-License-Identifier: Apache-2.0
"""The comparison of instructions.py on figures that were tampered with: it must notice what it is there for."""
import contextlib
import io
import os
import tempfile
import unittest
from unittest import mock

import instructions

BUILD = "compiler GNU 12.2.0\nmachine x86_64\nbuild Release -O2\n"
FIGURES = {"put": 1000.0, "seek": 4000.0}


class Comparison(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.expected, self.build, self.report = (os.path.join(folder.name, n) for n in ("expected", "build", "report"))
        self.write(self.build, BUILD)
        self.assertEqual(self.run_with(FIGURES, "--accept", "the first figures")[0], 0)

    def write(self, path, text):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def read(self, path):
        with open(path, encoding="utf-8") as file:
            return file.read()

    def run_with(self, measured, *arguments, valgrind="there"):
        """The command on figures as if they had been measured: exit code and output."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out), mock.patch("shutil.which", return_value=valgrind):
            code = instructions.main(["program", self.build, self.expected, "--report", self.report, *arguments],
                                     measure=lambda program: dict(measured))
        return code, out.getvalue()

    def test_the_same_and_a_little_more_pass(self):
        self.assertEqual(self.run_with(FIGURES)[0], 0)
        self.assertEqual(self.run_with({"put": 1040.0, "seek": 4190.0})[0], 0)
        self.assertFalse(os.path.exists(self.report))

    def test_six_percent_more_fails_and_says_which(self):
        code, out = self.run_with({"put": 1000.0, "seek": 4240.0})
        self.assertEqual(code, 1)
        self.assertIn("seek: 4000.0 -> 4240.0 instructions per operation (+6.0 %)", out)
        self.assertNotIn("put: 1000.0 ->", out)
        self.assertIn("./dev instructions --accept", out)

    def test_a_doctored_file_fails(self):
        self.write(self.expected, self.read(self.expected).replace("figure put 1000.0", "figure put 943.3"))
        code, out = self.run_with(FIGURES)
        self.assertEqual((code, "put: 943.3 -> 1000.0" in out), (1, True))

    def test_less_passes_with_a_hint(self):
        code, out = self.run_with({"put": 940.0, "seek": 4000.0})
        self.assertEqual(code, 0)
        self.assertIn("fell, put: 1000.0 -> 940.0", out)
        self.assertIn("fell, put", self.read(self.report))

    def test_a_new_workload_and_one_that_is_gone_fail(self):
        self.assertEqual(self.run_with(dict(FIGURES, get=1.0))[0], 1)
        self.assertEqual(self.run_with({"put": 1000.0})[0], 1)

    def test_other_builds_are_not_compared_and_that_is_said(self):
        for old, new in (("GNU 12.2.0", "GNU 13.1.0"), ("GNU 12", "Clang 12"), ("x86_64", "aarch64"), ("-O2", "-O3"),
                         ("Release", "Debug")):
            self.write(self.build, BUILD.replace(old, new))
            code, out = self.run_with({"put": 9000.0, "seek": 9000.0})
            self.assertEqual((code, "not compared: " in out, "not compared: " in self.read(self.report)),
                             (77, True, True), new)
        self.write(self.build, BUILD.replace("12.2.0", "12.3.1"))
        self.assertEqual(self.run_with(FIGURES)[0], 0)

    def test_no_valgrind_is_not_compared(self):
        code, out = self.run_with(FIGURES, valgrind=None)
        self.assertEqual((code, "valgrind is not installed" in out), (77, True))

    def test_accepting_records_reason_and_figures(self):
        more = {"put": 1100.0, "seek": 4000.0}
        self.assertEqual(self.run_with(more, "--accept", "puts are checked twice")[0], 0)
        self.assertEqual(self.run_with(more)[0], 0)
        self.assertRegex(self.read(self.expected), r"\naccepted [\d-]+: puts are checked twice: put 1000.0 -> 1100.0\n")
        self.assertIn(": the first figures: put none -> 1000.0, seek none -> 4000.0\n", self.read(self.expected))

    def test_nothing_is_accepted_without_a_reason_or_from_another_build(self):
        before = self.read(self.expected)
        self.assertEqual(self.run_with({"put": 1.0, "seek": 1.0}, "--accept", " ")[0], 1)
        self.write(self.build, BUILD.replace("Release", "Debug"))
        self.assertEqual(self.run_with({"put": 1.0, "seek": 1.0}, "--accept", "why not")[0], 1)
        self.assertEqual(self.read(self.expected), before)

    def test_a_damaged_file_fails(self):
        self.write(self.expected, self.read(self.expected) + "figure get lots\n")
        self.assertEqual(self.run_with(FIGURES)[0], 1)


if __name__ == "__main__":
    unittest.main()
