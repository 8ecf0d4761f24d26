#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""put, get, delete, help and the parsing of command lines."""
import os
import re
import subprocess

from support import CliTest, HeldImport, main, make_tree, nokv, write_file


class PutGetDelete(CliTest):
    def test_argument(self):
        """A value given as an argument comes back byte for byte, without a newline; a new value replaces it."""
        self.ok("put", self.db, "ada", "first programmer")
        self.assertEqual(b"first programmer", self.ok("get", self.db, "ada"))
        self.ok("put", self.db, "ada", "", "--sync")
        self.assertEqual(b"", self.ok("get", self.db, "ada"))

    def test_standard_input_and_file(self):
        """Bytes of any content go in through a pipe or a file and come out through a pipe or a file."""
        content = bytes(range(256)) * 5000
        self.ok("put", self.db, "piped", "-", stdin=content)
        self.assertEqual(content, self.ok("get", self.db, "piped"))
        write_file(self.path("in"), content[::-1])
        self.ok("put", self.db, "filed", "--file", self.path("in"))
        self.ok("get", self.db, "filed", "--file", self.path("out"))
        with open(self.path("out"), "rb") as f:
            self.assertEqual(content[::-1], f.read())

    def test_key_from_standard_input(self):
        """'-' as KEY takes the key from standard input, NUL bytes and newlines included."""
        self.ok("put", self.db, "-", "value", stdin=b"a\0b\n")
        self.assertEqual(b"value", self.ok("get", self.db, "-", stdin=b"a\0b\n"))
        self.assertEqual(b"76616c7565\n", self.ok("get", self.db, "--hex", "6100620a"))

    def test_hex(self):
        """--hex takes and prints binary keys and values as digits of either case."""
        self.ok("put", self.db, "--hex", "00FF", "cafe00")
        self.assertEqual(b"cafe00\n", self.ok("get", self.db, "-x", "00ff"))
        self.run_code(2, "get", self.db, "--hex", "0")
        self.run_code(2, "put", self.db, "--hex", "zz", "00")
        self.run_code(2, "put", self.db, "--hex", "00", "0g")

    def test_not_found(self):
        """A missing key is exit code 1 with a message and nothing on standard output."""
        self.ok("put", self.db, "a", "b")
        self.assertEqual(b"", self.run_code(1, "get", self.db, "nobody"))
        self.assertIn("nobody", self.last_error)

    def test_delete(self):
        """delete removes each key, is content with one that is absent, and changes nothing when one is not valid."""
        for key in "abc":
            self.ok("put", self.db, key, key)
        self.run_code(2, "delete", self.db, "a", "")
        self.assertEqual(b"a", self.ok("get", self.db, "a"))
        self.ok("delete", self.db, "a", "b", "nobody")
        self.run_code(1, "get", self.db, "a")
        self.run_code(1, "get", self.db, "b")
        self.assertEqual(b"c", self.ok("get", self.db, "c"))
        self.ok("delete", self.db, "--hex", "63", "--sync")
        self.run_code(1, "get", self.db, "c")

    def test_dashes(self):
        """After '--' an argument may begin with a dash."""
        self.ok("put", self.db, "--", "-key", "--value")
        self.assertEqual(b"--value", self.ok("get", self.db, "--", "-key"))

    def test_limits(self):
        """Empty and too large keys are refused as usage errors; the largest key works."""
        self.run_code(2, "put", self.db, "", "x")
        self.run_code(2, "put", self.db, "-", "x", stdin=b"k" * 65536)
        self.ok("put", self.db, "-", "x", stdin=b"k" * 65535)
        self.assertEqual(b"x", self.ok("get", self.db, "-", stdin=b"k" * 65535))

    def test_missing_database(self):
        """Only put and import create a database; the others say that there is none and leave no trace."""
        for command in (["get", self.db, "a"], ["delete", self.db, "a"], ["scan", self.db], ["verify", self.db],
                        ["stats", self.db], ["compact", self.db], ["probe", self.db], ["vlog", self.db], ["vlog", "gc", self.db],
                        ["export", self.db, self.path("out")]):
            self.run_code(3, *command)
            self.assertFalse(os.path.exists(self.db), command)
        self.assertFalse(os.path.exists(self.path("out")))

    def test_files_that_are_not_there(self):
        """I/O errors of the command's own files are exit code 3 and name the file."""
        self.run_code(3, "put", self.db, "a", "--file", self.path("nothing"))
        self.assertIn("nothing", self.last_error)
        self.ok("put", self.db, "a", "b")
        self.run_code(3, "get", self.db, "a", "--file", self.path("no", "such", "directory"))
        self.run_code(3, "get", self.db, "a", "--file", "/dev/full")

    def test_full_output(self):
        """Output that does not reach its place is an error, not a success."""
        self.ok("put", self.db, "a", "b")
        with open("/dev/full", "wb") as full:
            for command in (["get", self.db, "a"], ["scan", self.db], ["help"], ["stats", self.db]):
                done = subprocess.run([os.environ["NOKV"], *command], stdout=full, stderr=subprocess.PIPE)
                self.assertEqual(3, done.returncode, command)

    def test_busy(self):
        """While a process has the database open another one is told so, with the owner's pid, and exits with 3."""
        make_tree(self.tree, 1)
        held = HeldImport(self.tree, self.db)
        held.wait_until_held()
        self.run_code(3, "put", self.db, "a", "b")
        self.assertIn(str(held.process.pid), self.last_error)
        self.assertEqual(0, held.finish()[0])
        self.ok("put", self.db, "a", "b")

    def test_example(self):
        """The program that the demo shows does what it shows."""
        example = os.environ.get("NOKV_EXAMPLE")
        if not example:
            self.skipTest("NOKV_EXAMPLE is not set")
        done = subprocess.run([example, self.db], stdout=subprocess.PIPE, check=True)
        self.assertEqual(b"first programmer\n", done.stdout)


class Usage(CliTest):
    commands = ["put", "get", "delete", "scan", "import", "export", "verify", "stats", "dump", "compact", "probe",
                "vlog", "salvage", "iolab"]

    def test_help(self):
        """--help, -h and help COMMAND agree, fit 80 columns and teach with examples."""
        overview = self.ok("--help")
        self.assertEqual(overview, self.ok("help"))
        for command in self.commands:
            self.assertIn(f"\n  {command} ".encode(), overview)
            text = self.ok(command, "--help")
            self.assertEqual(text, self.ok("help", command))
            self.assertEqual(text, self.ok(command, "-h"))
            self.assertIn(f"nokv {command} ".encode(), text.split(b"Examples:")[1])
        for line in b"\n".join([overview] + [self.ok("help", c) for c in self.commands]).decode().split("\n"):
            self.assertLessEqual(len(line), 80, line)

    def test_document(self):
        """docs/cli.md names every command and every option but the short forms and --help."""
        here = os.path.dirname(os.path.abspath(__file__))
        with open(os.path.join(here, "../../../docs/cli.md")) as f:
            document = f.read()
        for command in self.commands:
            self.assertIn(f"`{command} ", document)
            for option in re.findall(r"^ {2}(?:-.,|   ) (--[a-z-]+)", self.ok("help", command).decode(), re.MULTILINE):
                if option != "--help":
                    self.assertIn(option, document, command)

    def test_version(self):
        """--version prints the library's version."""
        self.assertRegex(self.ok("--version").decode(), r"^nokv \d+\.\d+\.\d+")

    def test_wrong_usage(self):
        """What cannot be understood is exit code 2, says why, and does nothing."""
        for args in ([], ["nonsense"], ["help", "nonsense"], ["get"], ["get", self.db], ["get", self.db, "a", "b"],
                     ["get", self.db, "a", "--bogus"], ["get", self.db, "a", "-z"], ["put", self.db, "a"],
                     ["put", self.db, "a", "b", "--file", "c"], ["put", self.db, "-", "-"],
                     ["scan", self.db, "--limit"], ["scan", self.db, "--limit", "-1"],
                     ["scan", self.db, "--limit", "1x"], ["scan", self.db, "--limit", ""],
                     ["scan", self.db, "--limit", "99999999999999999999"], ["scan", self.db, "--hex", "--from", "1"],
                     ["verify", self.db, "--acked", "log"], ["stats", self.db, "--json", "--lines"],
                     ["dump", "nonsense", "file"], ["dump", "sst"], ["compact", self.db, "--hex", "--to", "x"],
                     ["import", self.tree], ["import", self.tree, self.db, "--ack-fd", "0"],
                     ["import", self.tree, self.tree], ["vlog"], ["vlog", "gc"], ["salvage"],
                     ["scan", self.db, "-k", "--sizes"], ["probe", self.db, "--gets", "0"]):
            done = nokv(*args)
            self.assertEqual(2, done.returncode, args)
            self.assertNotEqual(b"", done.stderr, args)
            self.assertEqual(b"", done.stdout, args)
            self.assertFalse(os.path.exists(self.db), args)


if __name__ == "__main__":
    main()
