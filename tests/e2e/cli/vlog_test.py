#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The value log: its table and its collection, dump, salvage, and what is left of a database when a segment is damaged."""
import glob
import json
import os
import random

from support import CliTest, HeldImport, main, make_tree, nokv, read_tree, snapshot, write_file


class VlogTest(CliTest):
    """A database with values of all three homes: in tables, separated at flush, direct."""

    def setUp(self):
        super().setUp()
        rng = random.Random(61)
        self.contents = {f"small/{i:03d}": rng.randbytes(100) for i in range(20)}
        self.contents.update({f"medium/{i:03d}": rng.randbytes(2000) for i in range(20)})
        self.contents.update({f"large/{i:03d}": rng.randbytes(rng.randrange(100_000, 300_000)) for i in range(20)})
        self.import_contents()

    def import_contents(self):
        for name, content in self.contents.items():
            write_file(os.path.join(self.tree, name), content)
        self.ok("import", self.tree, self.db, "--quiet", "--settle")

    def segments(self, database=None):
        return sorted(glob.glob(os.path.join(database or self.db, "vlog", "*.vlog")))

    def table(self):
        return json.loads(self.ok("vlog", self.db, "--json"))

    def records(self, segment, code=0):
        """Records and report of `nokv salvage`."""
        lines = [json.loads(line) for line in self.run_code(code, "salvage", segment, "--json").splitlines()]
        return lines[:-1], lines[-1]

    def find(self, key, database=None):
        """The segment that holds the key's only record, and where its value begins."""
        for segment in self.segments(database):
            for record in self.records(segment)[0]:
                if record["key"] == key:
                    return segment, record["offset"] + 32 + len(key)
        raise AssertionError(f"{key} is in no segment")

    def flip(self, file, off):
        with open(file, "r+b") as f:
            f.seek(off)
            byte = f.read(1)[0]
            f.seek(off)
            f.write(bytes([byte ^ 0x10]))

    def assert_content(self, contents):
        self.ok("export", self.db, self.path("out"), "--quiet")
        self.assertEqual(contents, read_tree(self.path("out")))


class Table(VlogTest):
    def test_table(self):
        """The table has a row per segment and a total: sizes are those of the files, every separate value is live."""
        table = self.table()
        self.assertEqual(self.segments(), [os.path.join(self.db, "vlog", f"{s['number']:06d}.vlog")
                                           for s in table["segments"]])
        for segment, file in zip(table["segments"], self.segments()):
            self.assertEqual(os.path.getsize(file), segment["file_bytes"])
            self.assertEqual(segment["file_bytes"], segment["live_bytes"] + segment["garbage_bytes"])
            self.assertIn(segment["origin"], ("direct", "flush"))
            self.assertEqual(("sealed", False), (segment["state"], segment["pending"]))
        for member in ("file_bytes", "live_records", "live_bytes", "garbage_bytes", "reads"):
            self.assertEqual(sum(s[member] for s in table["segments"]), table[member])
        self.assertEqual(40, table["live_records"])
        self.assertAlmostEqual(table["file_bytes"] / table["live_bytes"], table["space_amp"], 3)
        text = self.ok("vlog", self.db).decode()
        self.assertEqual(len(table["segments"]) + 4, len(text.splitlines()))
        self.assertRegex(text, r"total .* 40 ")
        self.assertRegex(text, r"space amplification 1\.\d\d times")

    def test_no_value_log(self):
        """Where every value stays in the tables, the table is empty and nothing divides by zero."""
        for option in ("--separate-min", "--direct-min"):
            self.setUp()
            other = self.path("other.db")
            self.ok("import", self.tree, other, "--quiet", "--settle", "--separate-min", "none", "--direct-min", "none")
            table = json.loads(self.ok("vlog", other, "--json"))
            self.assertEqual(([], 0, None), (table["segments"], table["live_bytes"], table["space_amp"]), option)
            self.assertIn(b"space amplification -", self.ok("vlog", other))

    def test_sizes_of_options(self):
        """--separate-min and --direct-min decide what goes to the value log; sizes may have units."""
        for separate, direct, records in (("100", None, 60), ("2001", None, 20), ("1K", "2KiB", 40), (None, "100", 60),
                                          ("1M", "1M", 0), ("none", None, 0)):
            other = self.path(f"other-{separate}-{direct}.db")
            options = [*(["--separate-min", separate] if separate else []), *(["--direct-min", direct] if direct else [])]
            self.ok("import", self.tree, other, "--quiet", "--settle", *options)
            self.assertEqual(records, json.loads(self.ok("vlog", other, "--json"))["live_records"], options)
            self.ok("verify", other, "--against", self.tree)
        for wrong in (["--separate-min", "31"], ["--separate-min", "1X"], ["--direct-min", "-1"], ["--direct-min", ""],
                      ["--separate-min", "5G"], ["--separate-min", "2K", "--direct-min", "1K"]):
            self.run_code(2, "import", self.tree, self.path("never.db"), *wrong)
            self.run_code(2, "put", self.path("never.db"), "a", "b", *wrong)
            self.run_code(2, "compact", self.db, *wrong)
            self.assertFalse(os.path.exists(self.path("never.db")))

    def test_compact_separates(self):
        """compact with a smaller --separate-min moves values out of the tables."""
        other = self.path("other.db")
        self.ok("import", self.tree, other, "--quiet", "--settle", "--separate-min", "none")
        self.ok("compact", other, "--separate-min", "1K")
        self.assertEqual(40, json.loads(self.ok("vlog", other, "--json"))["live_records"])
        self.ok("verify", other, "--against", self.tree)

    def test_pending(self):
        """A value that only a log record points to is marked: it is not garbage."""
        other = self.path("other.db")
        self.ok("put", other, "a", "-", stdin=bytes(100_000))
        table = json.loads(self.ok("vlog", other, "--json"))
        self.assertEqual((True, 0), (table["pending"], table["live_records"]))
        self.assertIn(b"+", self.ok("vlog", other))

    def test_stats(self):
        """stats shows the value log in all its forms: component, live bytes, amplification."""
        stats = json.loads(self.ok("stats", self.db, "--json"))
        table = self.table()
        self.assertEqual(table["live_bytes"], stats["vlog_live_bytes"])
        self.assertEqual(table["file_bytes"], stats["components"]["vlog"]["bytes"])
        self.assertEqual(len(table["segments"]), stats["components"]["vlog"]["files"])
        self.assertAlmostEqual(table["space_amp"], stats["vlog_space_amp"], 3)
        lines = dict(line.split(" ", 1) for line in self.ok("stats", self.db, "--lines").decode().splitlines())
        self.assertEqual(str(table["live_bytes"]), lines["vlog_live_bytes"])
        self.assertRegex(self.ok("stats", self.db).decode(), r"value log: .* live: 1\.\d\d times")

    def test_wrong_usage(self):
        """gc needs a database, and each option belongs to one of the two forms."""
        for args in (["gc"], ["nonsense", self.db], [self.db, "--amp", "2"], [self.db, "--compact"],
                     ["gc", self.db, "--json"], ["gc", self.db, "--amp", "0.5"], ["gc", self.db, "--amp", "x"],
                     ["gc", self.db, "--amp", "nan"], ["gc", self.db, "--amp", "1001"]):
            self.run_code(2, "vlog", *args)
        self.run_code(3, "vlog", self.path("nothing"))
        self.run_code(3, "vlog", "gc", self.path("nothing"))
        self.assertFalse(os.path.exists(self.path("nothing")))


class Collect(VlogTest):
    def overwrite(self):
        rng = random.Random(62)
        for i in range(15):
            self.contents[f"large/{i:03d}"] = rng.randbytes(150_000)
        self.import_contents()

    def test_reclaims(self):
        """After an overwrite gc --compact --amp 1 gives back what was replaced, says so, and every value is there."""
        before = self.table()["file_bytes"]
        self.overwrite()
        grown = self.table()["file_bytes"]
        self.assertGreater(grown, before + 15 * 150_000)
        text = self.ok("vlog", "gc", self.db, "--compact", "--amp", "1").decode()
        table = self.table()
        live = sum(len(content) for content in self.contents.values() if len(content) >= 512)
        self.assertLess(table["file_bytes"], live + 40 * 64 + len(table["segments"]) * 6 * 4096)
        self.assertLess(table["file_bytes"], grown - 15 * 100_000)
        self.assertEqual(40, table["live_records"])
        for line in (r"before +\d.* in \d+ segments", r"after +\d.*: 1\.0\d times", r"values moved +\d",
                     r"segments removed +\d", r"time +\d"):
            self.assertRegex(text, line)
        self.ok("verify", self.db)
        self.assert_content(self.contents)

    def test_within_the_bound(self):
        """gc does nothing while the amplification is below --amp."""
        before = self.segments()
        self.assertRegex(self.ok("vlog", "gc", self.db, "--amp", "5").decode(), r"values moved +0 bytes")
        self.assertEqual(before, self.segments())
        self.assertEqual(b"", self.ok("vlog", "gc", self.db, "--quiet"))

    def test_busy(self):
        """gc writes: a database that somebody has open is busy, exit code 3."""
        make_tree(self.tree, 63)
        held = HeldImport(self.tree, self.path("other.db"))
        held.wait_until_held()
        self.run_code(3, "vlog", "gc", self.path("other.db"))
        self.assertIn(str(held.process.pid), self.last_error)
        held.kill()

    def test_after_a_kill(self):
        """A killed import leaves a value log that gc cleans, with every acknowledged key in place."""
        make_tree(self.tree, 64, bytes_max=60_000)
        other = self.path("other.db")
        held = HeldImport(self.tree, other)
        held.read_acks(200)
        held.kill()
        write_file(self.path("acks"), held.acks)
        self.ok("vlog", other)
        self.ok("vlog", "gc", other, "--compact", "--amp", "1")
        self.ok("verify", other)
        self.ok("verify", other, "--against", self.tree, "--acked", self.path("acks"))
        table = json.loads(self.ok("vlog", other, "--json"))
        self.assertLess(table["garbage_bytes"], table["live_bytes"] // 50 + len(table["segments"]) * 6 * 4096)


class Dump(VlogTest):
    def test_dump(self):
        """dump vlog prints each record and how the segment ends, without a database; damage is exit code 3."""
        found = b"".join(self.ok("dump", "vlog", segment) for segment in self.segments())
        for key in self.contents:
            self.assertEqual(not key.startswith("small"), key.encode() in found, key)
        self.assertIn(b"sealed", found)
        segment, off = self.find("large/007")
        self.flip(segment, off + 5)
        self.run_code(3, "dump", "vlog", segment)
        write_file(self.path("noise"), b"no segment" * 2000)
        self.run_code(3, "dump", "vlog", self.path("noise"))
        self.run_code(3, "dump", "vlog", self.path("nothing"))


def golden_image():
    """The segment that docs/formats/vlog.md shows as a hex dump."""
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "../../../docs/formats/vlog.md")) as f:
        lines = f.read().split("<!-- golden image")[1].split("```")[1].split("\n")
    image, repeated, last = bytearray(), False, b""
    for line in filter(None, lines):
        if line == "*":
            repeated = True
            continue
        off, digits = line.split("  ")
        gap = int(off, 16) - len(image)
        image += last * (gap // 16) if repeated else bytes(gap)
        last, repeated = bytes.fromhex(digits), False
        image += last
    return bytes(image)


class Salvage(VlogTest):
    def separate(self):
        return {key: content for key, content in self.contents.items() if len(content) >= 512}

    def save(self, code, segment, *options):
        out = self.run_code(code, "salvage", segment, "--into", self.path("saved"), *options)
        return out.decode(), read_tree(self.path("saved"))

    def test_sound(self):
        """Out of sound segments every value comes back under its name, the list says what there is, exit code 0."""
        found, listed = {}, {}
        for i, segment in enumerate(self.segments()):
            text, _ = self.save(0, segment, *(["--force"] if i > 0 else []))
            self.assertRegex(text, r"damaged +0 bytes")
            records, report = self.records(segment)
            self.assertEqual((len(records), True, 0), (report["records"], report["sealed"], report["damaged_bytes"]))
            for line in self.ok("salvage", segment).decode().splitlines():
                if not line.startswith("  "):
                    key, sequence, size, off = line.split("\t")
                    listed[key] = (None if sequence == "-" else int(sequence), int(size), int(off))
            found.update({r["key"]: (r["sequence"], r["size"], r["offset"]) for r in records})
        self.assertEqual(self.separate(), read_tree(self.path("saved")))
        self.assertEqual(found, listed)
        self.assertEqual({key: len(content) for key, content in self.separate().items()},
                         {key: entry[1] for key, entry in found.items()})

    def test_flipped_bits(self):
        """Of a segment with flipped bits all but the records that were hit are saved: exit code 3, damage counted."""
        segment, off = self.find("large/007")
        other = self.find("large/011")
        self.assertEqual(segment, other[0])
        self.flip(segment, off + 100)                    # in a value
        self.flip(segment, other[1] - len("large/011"))  # in a key
        text, saved = self.save(3, segment)
        self.assertNotRegex(text, r"damaged +0 bytes")
        self.assertEqual({key: content for key, content in self.separate().items()
                          if key.startswith("large") and key not in ("large/007", "large/011")}, saved)
        _, report = self.records(segment, 3)
        self.assertEqual(18, report["records"])
        lost = len(self.contents["large/007"]) + len(self.contents["large/011"])
        self.assertTrue(lost < report["damaged_bytes"] < lost + 1000, report)

    def test_cut_short(self):
        """A segment that was cut short lost its seal: what is in front of the cut is saved, the rest unfinished."""
        segment, off = self.find("large/011")
        os.truncate(segment, off + 50_000)
        before = {r["key"] for r in self.records(segment)[0]}
        self.assertNotIn("large/011", before)
        self.assertGreater(len(before), 0)
        text, saved = self.save(0, segment)
        self.assertEqual({key: self.contents[key] for key in before}, saved)
        self.assertIn("not sealed", text)
        self.assertNotRegex(text, r"unfinished +0 bytes")

    def test_lost_header(self):
        """Without its header page a segment is read by its footer; without both, exit code 3 and nothing is written."""
        segment = self.find("large/007")[0]
        with open(segment, "r+b") as f:
            f.write(bytes(4096))
        _, saved = self.save(3, segment)
        self.assertEqual(20, len(saved))
        os.truncate(segment, os.path.getsize(segment) - 1)
        self.run_code(3, "salvage", segment, "--into", self.path("empty"))
        self.assertEqual({}, read_tree(self.path("empty")))
        self.run_code(3, "salvage", self.path("nothing"))

    def test_later_records_win(self):
        """Of a key with several records in a segment, here that of docs/formats/vlog.md, the last one is kept."""
        segment = self.path("000007.vlog")
        write_file(segment, golden_image())
        records, report = self.records(segment)
        self.assertEqual([("apple", 5, 3), ("apple", 6, 0), ("fig", 9, 4), ("banana", 7, 65546)],
                         [(r["key"], r["sequence"], r["size"]) for r in records])
        self.assertEqual(7, report["segment"])
        text, saved = self.save(0, segment)
        self.assertEqual({"apple": b"", "fig": b"blue", "banana": b"v" * 65546}, saved)
        self.assertRegex(text, r"files written +4")
        self.assertRegex(text, r"padding +[78]\.\d KiB")

    def test_target(self):
        """A directory with something in it is refused without --force; keys that are no safe path are named: exit 1."""
        write_file(self.path("saved", "mine"), b"mine")
        segment = self.segments()[0]
        self.run_code(2, "salvage", segment, "--into", self.path("saved"))
        self.run_code(2, "salvage", segment, "--force")
        self.assertEqual({"mine": b"mine"}, read_tree(self.path("saved")))
        self.run_code(3, "salvage", segment, "--into", self.path("saved", "mine", "below"))
        bad = self.path("bad.db")
        self.ok("put", bad, "../up", "-", stdin=bytes(100_000))
        self.ok("put", bad, "good", "-", stdin=bytes(100_000))
        self.ok("compact", bad)
        codes = []
        for file in self.segments(bad):
            codes.append(nokv("salvage", file, "--into", self.path("safe"), "--force").returncode)
        self.assertIn(1, codes)
        self.assertEqual({"good": bytes(100_000)}, read_tree(self.path("safe")))
        self.assertFalse(os.path.exists(self.path("up")))

    def test_writes_nothing(self):
        """salvage changes nothing in the database's directory, and needs no lock."""
        before = snapshot(self.db)
        for segment in self.segments():
            self.ok("salvage", segment, "--into", self.path("saved"), "--list", "--force")
        self.assertEqual(before, snapshot(self.db))


class Damage(VlogTest):
    def test_flipped_bit(self):
        """verify notices a flipped bit in a value and names the segment; every other key stays readable."""
        segment, off = self.find("large/007")
        self.flip(segment, off + 70_000)
        self.run_code(3, "verify", self.db)
        self.assertIn(os.path.basename(segment), self.last_error)
        self.run_code(3, "get", self.db, "large/007")
        self.assertIn(os.path.basename(segment), self.last_error)
        for key, content in self.contents.items():
            if key != "large/007":
                self.assertEqual(content, self.ok("get", self.db, key))
        self.assertEqual(60, len(self.ok("scan", self.db, "--keys-only").splitlines()))
        sizes = dict(line.split("\t") for line in self.ok("scan", self.db, "--sizes").decode().splitlines())
        self.assertEqual({key: str(len(content)) for key, content in self.contents.items()}, sizes)
        self.run_code(3, "scan", self.db, "--hex")
        self.run_code(3, "verify", self.db, "--against", self.tree)
        self.run_code(3, "export", self.db, self.path("out"))
        self.assertIn("large/007", self.last_error)
        self.assertEqual({key: content for key, content in self.contents.items() if key != "large/007"},
                         read_tree(self.path("out")))

    def test_flipped_bits_anywhere(self):
        """A flipped bit anywhere in a segment is noticed by verify, or lies where nothing is read from."""
        for segment in self.segments():
            size = os.path.getsize(segment)
            for i in range(24):
                off = size * i // 24 + i
                self.flip(segment, off)
                done = nokv("verify", self.db)
                self.assertEqual(3, done.returncode, (segment, off, done.stdout))
                self.assertIn(os.path.basename(segment).encode(), done.stderr)
                self.flip(segment, off)
        self.ok("verify", self.db)

    def test_missing_and_cut_short(self):
        """A segment that is shorter than it was, or gone, is exit code 3 and is named."""
        name = os.path.join("vlog", os.path.basename(self.find("large/007")[0]))
        copy = self.copy_database("short.db")
        os.truncate(os.path.join(copy, name), os.path.getsize(os.path.join(copy, name)) - 1)
        self.run_code(3, "verify", copy)
        self.assertIn(os.path.basename(name), self.last_error)
        copy = self.copy_database("gone.db")
        os.unlink(os.path.join(copy, name))
        self.run_code(3, "verify", copy)
        self.assertIn(os.path.basename(name), self.last_error)

    def test_gc_of_a_damaged_segment(self):
        """gc neither loses what is sound in a damaged segment nor hides the damage."""
        segment, off = self.find("large/007")
        self.flip(segment, off + 70_000)
        nokv("vlog", "gc", self.db, "--compact", "--amp", "1")
        self.run_code(3, "get", self.db, "large/007")
        for key, content in self.contents.items():
            if key != "large/007":
                self.assertEqual(content, self.ok("get", self.db, key))


if __name__ == "__main__":
    main()
