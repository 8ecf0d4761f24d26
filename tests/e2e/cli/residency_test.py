#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""nokv residency: what is in the page cache is what was read; of open, closed, damaged and vanishing databases."""
import glob
import json
import os
import pty
import random
import shutil
import signal
import subprocess

from support import NOKV, CliTest, HeldImport, main, make_tree, nokv, snapshot, write_file


class ResidencyTest(CliTest):
    """A database with tables and segments."""

    def setUp(self):
        super().setUp()
        rng = random.Random(71)
        for i in range(300):
            size = 100_000 if i % 10 == 0 else rng.choice([100, 400, 2000])
            write_file(os.path.join(self.tree, f"d{i % 7}", f"{i:04d}"), rng.randbytes(size))
        self.ok("import", self.tree, self.db, "--quiet", "--settle")
        self.ok("compact", self.db)

    def files(self, *patterns):
        return sorted(f for p in patterns for f in glob.glob(os.path.join(self.db, p)))

    def look(self, *options):
        return json.loads(self.ok("residency", self.db, "--json", *options))

    def rows(self, *options):
        """Rows by name."""
        found = self.look(*options)
        return {row["name"]: row for row in found.get("components", found.get("by_file"))}

    def can_drop(self):
        """Files that live in memory, and some file systems, cannot let go of cached pages."""
        for file in self.files("*.sst", "vlog/*.vlog"):
            fd = os.open(file, os.O_RDONLY)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)
        return all(row["resident_bytes"] == 0 for row in self.rows().values() if row["component"] in ("sst", "vlog"))

    def drop_or_skip(self):
        if not self.can_drop():
            self.skipTest("the file system keeps pages that it was asked to drop")

    def flip(self, file, off, whence=os.SEEK_SET):
        with open(file, "r+b") as f:
            at = f.seek(off, whence)
            byte = f.read(1)[0]
            f.seek(at)
            f.write(bytes([byte ^ 0x10]))


class Look(ResidencyTest):
    def test_bytes_are_those_of_the_files(self):
        """The rows add up to the files: of a table data, filter and index, and nothing is counted twice."""
        rows = self.rows()
        tables, segments = self.files("*.sst"), self.files("vlog/*.vlog")
        self.assertTrue(tables and segments)
        by_component = {}
        for row in rows.values():
            by_component[row["component"]] = by_component.get(row["component"], 0) + row["bytes"]
        self.assertEqual(sum(map(os.path.getsize, tables)), by_component["sst"])
        self.assertEqual(sum(map(os.path.getsize, segments)), by_component["vlog"])
        self.assertEqual(sum(map(os.path.getsize, self.files("*.wal"))), by_component["wal"])
        self.assertEqual(sum(map(os.path.getsize, self.files("MANIFEST-*"))), by_component["manifest"])
        self.assertEqual({"data", "filter", "index", None}, {row["part"] for row in rows.values()})
        by_file = self.rows("--files")
        everything = self.files("*.sst", "vlog/*.vlog", "*.wal", "MANIFEST-*", "WALBUF", "VLOGBUF")
        self.assertEqual(sorted(os.path.relpath(f, self.db) for f in everything),
                         sorted(name.split(" ")[0] for name in by_file))
        self.assertEqual(sum(map(os.path.getsize, everything)), self.look()["bytes"])
        for row in [*rows.values(), *by_file.values()]:
            self.assertLessEqual(row["resident_bytes"], row["bytes"])
            self.assertEqual(60, len(row["map"]))

    def test_reading_raises_it(self):
        """Dropped pages are gone from the picture; a file that is read is there as a whole, half of one as its half."""
        self.drop_or_skip()
        segment = max(self.files("vlog/*.vlog"), key=os.path.getsize)
        half = os.path.getsize(segment) // 2 // 65536 * 65536
        fd = os.open(segment, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # no read-ahead
        self.assertEqual(half, len(os.pread(fd, half, 0)))
        os.close(fd)
        with open(self.files("*.sst")[0], "rb") as f:
            f.read()
        rows = self.rows("--files")
        row = rows[os.path.relpath(segment, self.db)]
        self.assertGreaterEqual(row["resident_bytes"], half)
        self.assertLess(row["resident_bytes"], row["bytes"])
        self.assertEqual((100, 0), (row["map"][0], row["map"][-1]))
        table = next(r for r in rows.values() if r["component"] == "sst")
        self.assertEqual(table["bytes"], table["resident_bytes"])
        self.assertEqual({100}, set(table["map"]))
        for part in (r for r in self.rows().values() if r["component"] == "sst"):
            self.assertEqual(part["bytes"], part["resident_bytes"])

    def test_gets_raise_it(self):
        """Reading through the database shows: a scan brings the data blocks in."""
        self.drop_or_skip()
        self.ok("scan", self.db, "--keys-only")
        data = next(r for r in self.rows().values() if r["part"] == "data")
        self.assertGreater(data["resident_bytes"], 0)

    def test_looking_brings_nothing_in(self):
        """However often one looks, tables and segments stay as cold as they were, and not a byte is written."""
        self.drop_or_skip()
        for options in ((), ("--files",)) * 3:
            cold = [r["resident_bytes"] for r in self.rows(*options).values() if r["component"] in ("sst", "vlog")]
            self.assertEqual({0}, set(cold))
        before = snapshot(self.db)
        self.ok("residency", self.db)
        self.ok("residency", self.db, "--every", "0.01", "--count", "2", "--files")
        self.assertEqual(before, snapshot(self.db))

    def test_open_in_another_process(self):
        """A database that another process has open for writing is looked at all the same."""
        other = self.path("other.db")
        make_tree(self.path("bigger"), 72)
        held = HeldImport(self.path("bigger"), other)
        try:
            held.wait_until_held()
            self.run_code(3, "stats", other)
            found = json.loads(self.ok("residency", other, "--json"))
            self.assertLessEqual({"wal", "buffers", "manifest"}, {row["component"] for row in found["components"]})
            self.assertGreater(found["resident_bytes"], 0)
        finally:
            held.kill()
        self.ok("residency", other)

    def test_not_allowed(self):
        """Of somebody else's files the kernel may not tell, and one that cannot be opened is unknown: not nothing."""
        if os.geteuid() != 0:
            self.skipTest("only root can become somebody else")
        os.chmod(self.dir, 0o755)
        os.chmod(self.files("vlog/*.vlog")[0], 0)
        try:
            done = nokv("residency", self.db, "--json", user=65534, group=65534)
        except PermissionError:
            self.skipTest("the command is where nobody else may run it")
        self.assertEqual(0, done.returncode, done.stderr)
        found = json.loads(done.stdout)
        self.assertIsNone(found["resident_bytes"])
        rows = {row["name"]: row for row in found["components"]}
        self.assertIsNone(rows["value log"]["resident_bytes"])
        self.assertEqual(sum(map(os.path.getsize, self.files("vlog/*.vlog"))), rows["value log"]["bytes"])
        for more in ((), ("--files",), ("--every", "0.01", "--count", "2")):
            self.assertIn(b"unknown: the kernel tells only",
                          nokv("residency", self.db, *more, user=65534, group=65534).stdout)

    def test_damage(self):
        """A damaged CURRENT or MANIFEST is an error that names it; a table without its footer is only not split."""
        table = self.files("*.sst")[0]
        size = os.path.getsize(table)
        self.flip(table, -4000, os.SEEK_END)
        found = self.look()
        self.assertEqual(1, found["damaged_tables"])
        self.assertIn(size, [row["bytes"] for row in found["components"] if row["part"] == "data"])
        self.assertIn(b"the footer of 1 table cannot be read", self.ok("residency", self.db))
        os.truncate(table, 100)
        self.assertEqual(1, self.look()["damaged_tables"])
        os.unlink(table)
        self.ok("residency", self.db)
        self.flip(self.files("MANIFEST-*")[0], 100)
        self.run_code(3, "residency", self.db)
        self.assertIn("MANIFEST-", self.last_error)
        self.flip(os.path.join(self.db, "CURRENT"), 12)
        self.run_code(3, "residency", self.db)
        self.assertIn("CURRENT does not hold the name of a MANIFEST", self.last_error)
        os.unlink(os.path.join(self.db, "CURRENT"))
        self.run_code(3, "residency", self.db)
        self.assertIn("holds no database", self.last_error)

    def test_wrong_usage(self):
        """What makes no sense is refused before anything is looked at."""
        for options in (["--count", "2"], ["--every", "0"], ["--every", "x"], ["--watch", "--count", "0"], ["more"]):
            self.run_code(2, "residency", self.db, *options)
        self.run_code(2, "residency")
        self.run_code(3, "residency", self.path("nothing"))
        self.assertIn("holds no database", self.last_error)
        self.assertFalse(os.path.exists(self.path("nothing")))


class Watch(ResidencyTest):
    def watching(self, *options):
        process = subprocess.Popen([NOKV, "residency", self.db, "--json", *options], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        self.addCleanup(process.communicate)
        json.loads(process.stdout.readline())  # it looks
        return process

    def test_pictures(self):
        """--count pictures, one JSON object per line, or one block each, that says what changed."""
        lines = self.ok("residency", self.db, "--json", "--every", "0.01", "--count", "3").splitlines()
        self.assertEqual(3, len([json.loads(line) for line in lines]))
        text = self.ok("residency", self.db, "--every", "0.01", "--count", "2", "--ascii").decode()
        self.assertEqual(2, text.count("\ntotal"))
        self.assertEqual(2, text.count(f"{self.db} at "))
        self.assertNotIn("\033", text)

    def test_change(self):
        """What came in since the picture before has its bytes in the column of changes."""
        self.drop_or_skip()
        process = subprocess.Popen([NOKV, "residency", self.db, "--files", "--every", "0.01"], stdout=subprocess.PIPE)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        while not (line := process.stdout.readline()).startswith(b"total"):
            self.assertTrue(line, "the watch ended")
        with open(self.files("*.sst")[0], "rb") as f:
            f.read()
        while not (b".sst" in line and b"+" in line.split(b"|")[0]):
            line = process.stdout.readline()
            self.assertTrue(line, "the watch ended")

    def test_ends_cleanly(self):
        """SIGINT and SIGTERM end a watch at once, with success, between two pictures."""
        for number in (signal.SIGINT, signal.SIGTERM):
            process = self.watching("--every", "3600")
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
            self.assertEqual((0, b""), (process.returncode, err))
            for line in out.splitlines():
                json.loads(line)

    def test_database_goes_away(self):
        """A database that is removed under a watch ends it with a message that says so."""
        process = self.watching("--every", "0.01")
        shutil.rmtree(self.db)
        _, err = process.communicate(timeout=60)
        self.assertEqual(3, process.returncode)
        self.assertIn(b"the database is gone: ", err)

    def on_terminal(self, **environment):
        """What a terminal of 80 columns gets of two pictures."""
        master, slave = pty.openpty()
        subprocess.run(["stty", "rows", "9", "cols", "80"], stdin=slave, check=True)
        env = {**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8", **environment}
        process = subprocess.Popen([NOKV, "residency", self.db, "--every", "0.01", "--count", "2"], stdout=slave, env=env)
        os.close(slave)
        text = b""
        try:
            while got := os.read(master, 65536):
                text += got
        except OSError:  # the other end is closed
            pass
        os.close(master)
        self.assertEqual(0, process.wait())
        return text.decode()

    def test_terminal(self):
        """On a terminal it is drawn in place, within its columns and lines, in colour unless NO_COLOR asks for none."""
        text = self.on_terminal(NO_COLOR="1")
        self.assertEqual((1, 2), (text.count("\033[2J"), text.count("\033[H")))
        self.assertNotIn("\033[36m", text)
        self.assertIn("█", text)
        for picture in text.split("\033[H")[1:]:
            lines = picture.replace("\033[K", "").replace("\033[J", "").split("\r\n")
            self.assertLessEqual(len(lines), 9)
            for line in lines:
                if not line.startswith(self.db):
                    self.assertLessEqual(len(line), 80, line)
        text = self.on_terminal(NO_COLOR="")
        self.assertIn("\033[36m", text)
        self.assertNotIn("█", self.on_terminal(LC_ALL="C"))


if __name__ == "__main__":
    main()
