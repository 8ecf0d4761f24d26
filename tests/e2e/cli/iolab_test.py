#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""nokv iolab at its smallest scale: what it measures there means nothing, that it measures all of it does."""
import json
import os
import re
import signal
import subprocess

from support import NOKV, CliTest, main, nokv

# Of part 5 and rows that need a memory limit the number depends on the machine.
ROWS_MIN = {1: 8, 2: 6, 3: 10, 4: 1, 5: 8}

# A sanitizer's own memory does not fit into the limits: what is killed for it there says nothing of the program.
with open(NOKV, "rb") as binary:
    SANITIZED = re.search(b"__asan_init|__tsan_init", binary.read()) is not None


def was_killed(row):
    return row["memory_limited"] and all("killed" in c.get("failed", "") for c in row["contenders"])


class IoLab(CliTest):
    def setUp(self):
        super().setUp()
        self.work = self.path("work")
        os.mkdir(self.work)

    def run_small(self, *args):
        return nokv("iolab", "--quick", "--size", "8M", "--seed", "7", "--dir", self.work, *args)

    def check_rows(self, rows):
        for row in rows:
            name = f"{row['part']}, {row['group']}, {row['label']}"
            self.assertEqual(0, row["wrong"], name)
            if row["skipped"] or (SANITIZED and was_killed(row)):
                continue
            self.assertIn("winner", row, name)
            self.assertIn(row["winner"], [c["name"] for c in row["contenders"]], name)
            for c in row["contenders"]:
                self.assertTrue("median" in c or c.get("failed"), f"{name}: {c['name']}")
                self.assertTrue("median" not in c or c["least"] <= c["median"] <= c["most"], name)
        for part, least in ROWS_MIN.items():
            self.assertGreaterEqual(len([r for r in rows if r["part"] == part]), least, f"part {part}")
        for part in (1, 2, 3):
            self.assertTrue(all(r["verified_bytes"] > 0 for r in rows if r["part"] == part and "winner" in r))

    def check_page(self, page, rows):
        self.assertNotRegex(page, r"https?:|<script|<link|<img|url\(|@import")
        self.assertIn("default-src 'none'", page)
        self.assertEqual(len([r for r in rows if not r["skipped"]]), page.count('role="img"'))
        for part in range(1, 6):
            self.assertIn(f'id="part{part}"', page)
        for tag in ("section", "svg", "table", "div", "details", "g", "p", "ul"):
            self.assertEqual(len(re.findall(rf"<{tag}[ >]", page)), page.count(f"</{tag}>"), tag)

    def test_whole(self):
        """All five parts are measured, every row has a winner and no wrong byte; summary, JSON and page say the same."""
        done = self.run_small("--json", self.path("j"), "--html", self.path("h"))
        self.assertEqual(0, done.returncode, done.stderr)
        with open(self.path("j"), encoding="utf-8") as file:
            result = json.load(file)
        self.assertEqual((7, 8 << 20, False), (result["seed"], result["size_bytes"], result["interrupted"]))
        self.check_rows(result["rows"])
        options = {v["option"] for v in result["verdicts"]}
        wanted = {"wal_write", "sst_read", "vlog_read", "vlog_write"}
        # A compaction in little memory speaks for background_io: not possible everywhere, nor with a sanitizer's memory.
        measured = [r for r in result["rows"] if r["part"] == 4 and "compaction" in r["group"] and "winner" in r]
        if measured and not SANITIZED:
            wanted.add("background_io")
        self.assertLessEqual(wanted, options)
        with open(self.path("h"), encoding="utf-8") as file:
            self.check_page(file.read(), result["rows"])
        text = done.stdout.decode()
        for line in text.splitlines()[1:]:
            self.assertLessEqual(len(line), 120, line)
        for row in result["rows"]:
            self.assertIn(row["group"], text)
        self.assertEqual([], os.listdir(self.work))

    def test_interrupted(self):
        """Ctrl-C ends it in the middle: what there is is reported, exit code 1, and its files are gone."""
        process = subprocess.Popen([NOKV, "iolab", "--quick", "--size", "8M", "--dir", self.work, "--json", "-"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        line = b""
        while b"Small random reads" not in line:
            line = process.stderr.readline()
            self.assertNotEqual(b"", line, "it ended by itself")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        self.assertEqual(1, process.returncode, err)
        self.assertIn(b"interrupted", err)
        result = json.loads(out)
        self.assertTrue(result["interrupted"])
        self.assertTrue(all(row["part"] <= 2 for row in result["rows"]))
        self.assertEqual([], os.listdir(self.work))

    def test_bad_arguments(self):
        """A directory that is missing, a file in its place, a full disk, outputs that cannot be written: named, at once."""
        missing = self.path("missing")
        for args, code, said in (
                (("--dir", missing), 3, missing),
                (("--dir", NOKV), 3, "not a directory"),
                (("--dir", self.work, "--size", "4T"), 3, "are needed"),
                (("--dir", self.work, "--json", self.path("no/j")), 3, "no/j"),
                (("--dir", self.work, "--html", self.path("no/h")), 3, "no/h"),
                (("--dir", self.work, "--size", "8M", "--memory", "9M"), 3, "memory"),
                (("--size", "7M"), 2, "--size"),
                (("--size", "64X"), 2, "64X"),
                (("--memory", "1K"), 2, "--memory"),
                (("--html", "-"), 2, "--html"),
                (("extra",), 2, "extra")):
            done = nokv("iolab", "--quick", *args)
            self.assertEqual(code, done.returncode, (args, done.stderr))
            self.assertIn(said.encode(), done.stderr, args)
            self.assertEqual(b"", done.stdout, args)
            self.assertNotIn(b"==", done.stderr, args)  # nothing was measured
        self.assertEqual([], os.listdir(self.work))

    def test_help(self):
        """--help explains every option and part, in lines of a terminal."""
        text = nokv("iolab", "--help").stdout.decode()
        for word in ("--dir", "--size", "--memory", "--quick", "--seed", "--json", "--html", "io_uring", "pollution"):
            self.assertIn(word, text)
        for line in text.splitlines()[2:]:
            self.assertLessEqual(len(line), 100, line)


if __name__ == "__main__":
    main()
