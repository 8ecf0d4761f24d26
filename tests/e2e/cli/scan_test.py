#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""scan: bounds, directions, limits and the three outputs; stats, dump, compact, probe."""
import glob
import json
import os

from support import CliTest, main


class Scan(CliTest):
    def setUp(self):
        super().setUp()
        self.entries = {b"a": b"1", b"a/x": b"2", b"a/y": b"3", b"b": b"", b"\xff\x00": b"\t\n\r\\\x07",
                        "ü".encode(): "§ 5".encode(), b"z\xc2\x9b": b"\xe2\x80"}
        for key, value in self.entries.items():
            self.ok("put", self.db, "--hex", key.hex(), value.hex())

    def keys(self, *options):
        lines = self.ok("scan", self.db, "--hex", "--keys-only", *options).split()
        return [bytes.fromhex(line.decode()) for line in lines]

    def test_order(self):
        """Keys come in the order of their bytes, and backwards with --reverse."""
        self.assertEqual(sorted(self.entries), self.keys())
        self.assertEqual(sorted(self.entries, reverse=True), self.keys("--reverse"))

    def test_bounds(self):
        """--from is inclusive, --to exclusive, --prefix and --limit combine with them in both directions."""
        self.assertEqual([b"a/x", b"a/y"], self.keys("--from", b"a/x".hex(), "--to", b"b".hex()))
        self.assertEqual([b"a", b"a/x", b"a/y"], self.keys("--prefix", b"a".hex()))
        self.assertEqual([b"a/y"], self.keys("--prefix", b"a/".hex(), "--from", b"a/y".hex()))
        self.assertEqual([b"a/y"], self.keys("--prefix", b"a/".hex(), "--reverse", "--limit", "1"))
        self.assertEqual([b"\xff\x00"], self.keys("--prefix", "ff"))
        self.assertEqual([], self.keys("--limit", "0"))
        self.assertEqual([], self.keys("--from", b"b".hex(), "--to", b"a".hex()))
        self.assertEqual(b"a/x\n", self.ok("scan", self.db, "-f", "a/x", "-n", "1", "-k"))

    def test_escaped(self):
        """The plain output has one line per entry whatever the bytes; control characters cannot reach a terminal."""
        lines = self.ok("scan", self.db).split(b"\n")
        self.assertEqual(b"", lines.pop())
        self.assertEqual(len(self.entries), len(lines))
        self.assertIn(b"a\t1", lines)
        self.assertIn(b"b\t", lines)
        self.assertIn("ü\t§ 5".encode(), lines)
        self.assertIn(b"\\xff\\x00\t\\t\\n\\r\\\\\\x07", lines)
        self.assertIn(b"z\\xc2\\x9b\t\\xe2\\x80", lines)

    def test_hex(self):
        """--hex is exact for any bytes."""
        lines = self.ok("scan", self.db, "--hex").decode().split("\n")[:-1]
        pairs = [line.split("\t") for line in lines]
        self.assertEqual(self.entries, {bytes.fromhex(k): bytes.fromhex(v) for k, v in pairs})

    def test_json(self):
        """--json gives an object per line; what JSON cannot hold comes as hexadecimal."""
        found = {}
        for line in self.ok("scan", self.db, "--json").decode().splitlines():
            entry = json.loads(line)
            key = entry["key"].encode() if "key" in entry else bytes.fromhex(entry["key_hex"])
            found[key] = entry["value"].encode() if "value" in entry else bytes.fromhex(entry["value_hex"])
        self.assertEqual(self.entries, found)
        first = json.loads(self.ok("scan", self.db, "--json", "--hex", "--limit", "1"))
        self.assertEqual({"key_hex": "61", "value_hex": "31"}, first)
        self.assertEqual({"key": "a"}, json.loads(self.ok("scan", self.db, "--json", "-k", "-n", "1")))

    def test_sizes(self):
        """--sizes shows the sizes of the values instead of the values, in each output."""
        lines = self.ok("scan", self.db, "--hex", "--sizes").decode().splitlines()
        self.assertEqual({key: len(value) for key, value in self.entries.items()},
                         {bytes.fromhex(key): int(size) for key, size in (line.split("\t") for line in lines)})
        self.assertEqual({"key": "a", "size": 1}, json.loads(self.ok("scan", self.db, "--json", "-s", "-n", "1")))

    def test_nul_in_json(self):
        """A NUL byte within valid UTF-8 survives the way through JSON."""
        self.ok("put", self.db, "--hex", "6e0075", "00")
        entry = json.loads(self.ok("scan", self.db, "--json", "--prefix", "n"))
        self.assertEqual({"key": "n\0u", "value": "\0"}, entry)


class Inspect(CliTest):
    def setUp(self):
        super().setUp()
        for i in range(50):
            os.mkdir(os.path.join(self.tree, str(i)))
            with open(os.path.join(self.tree, str(i), "file"), "wb") as f:
                f.write(bytes([i]) * 3000)
        self.ok("import", self.tree, self.db, "--quiet")
        self.ok("compact", self.db)

    def test_compact(self):
        """compact leaves the content as it is, over everything and over a range, and drops what was deleted."""
        before = self.ok("scan", self.db, "--hex")
        self.ok("compact", self.db, "--from", "1", "--to", "3")
        self.ok("compact", self.db, "--hex", "--from", "31")
        self.assertEqual(before, self.ok("scan", self.db, "--hex"))
        self.ok("delete", self.db, "7/file")
        self.ok("compact", self.db)
        self.assertEqual(49, len(self.ok("scan", self.db, "-k").splitlines()))
        levels = json.loads(self.ok("stats", self.db, "--json"))["levels"]
        self.assertEqual(0, sum(level["tombstones"] for level in levels))

    def test_stats(self):
        """stats has a text for people, one JSON object, and lines for the shell that say the same."""
        self.assertGreater(len(self.ok("stats", self.db).splitlines()), 5)
        stats = json.loads(self.ok("stats", self.db, "--json"))
        self.assertEqual("NOKV_OK", stats["background_error"])
        self.assertEqual("mmap", stats["components"]["sst"]["model"])
        self.assertGreater(stats["components"]["sst"]["files"], 0)
        self.assertGreater(stats["components"]["vlog"]["bytes"], 50 * 3000)
        self.assertEqual("auto", stats["components"]["vlog"]["model"])
        self.assertEqual(50, sum(level["entries"] for level in stats["levels"]))
        lines = dict(line.split(" ", 1) for line in self.ok("stats", self.db, "--lines").decode().splitlines())
        self.assertEqual(str(stats["components"]["sst"]["bytes"]), lines["component.sst.bytes"])

    def test_dump(self):
        """dump prints each kind of file without opening the database, and damage is exit code 3."""
        for kind, pattern in (("manifest", "MANIFEST-*"), ("sst", "*.sst"), ("wal", "*.wal")):
            files = glob.glob(os.path.join(self.db, pattern))
            self.assertTrue(files, pattern)
            for file in files:
                self.ok("dump", kind, file)
        table = glob.glob(os.path.join(self.db, "*.sst"))[0]
        self.assertIn(b"9/file", self.ok("dump", "sst", table))
        self.run_code(3, "dump", "sst", self.path("nothing"))
        with open(self.path("noise"), "wb") as f:
            f.write(b"no table" * 1000)
        self.run_code(3, "dump", "sst", self.path("noise"))

    def test_probe(self):
        """probe reads keys that are there and leaves its counters in a file; hot reads make no system call."""
        out = self.ok("probe", self.db, "--gets", "20000", "--stats", self.path("lines"))
        self.assertIn(b"hot", out)
        with open(self.path("lines")) as f:
            lines = dict(line.rstrip("\n").split(" ", 1) for line in f)
        self.assertEqual("50", lines["probe.first.gets"])
        self.assertEqual("20000", lines["probe.hot.gets"])
        self.assertEqual(str(20000 * 3000), lines["probe.hot.value_bytes"])
        self.assertEqual("0", lines["probe.hot.calls"])
        self.assertEqual("0", lines["probe.hot.vlog_calls"])

    def test_probe_empty(self):
        """A database without keys has nothing to read: exit code 1."""
        empty = self.path("empty.db")
        self.ok("put", empty, "a", "b")
        self.ok("delete", empty, "a")
        self.run_code(1, "probe", empty)


if __name__ == "__main__":
    main()
