#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""verify: soundness, comparison with a tree in both directions, comparison with acknowledgements."""
import glob
import json
import os
import subprocess

from support import CliTest, HeldImport, main, make_tree, nokv, write_file


class Verify(CliTest):
    def setUp(self):
        super().setUp()
        self.contents = make_tree(self.tree, 21)
        self.ok("import", self.tree, self.db, "--quiet", "--settle")

    def import_into_tables(self):
        """The same database with every value in a table; vlog_test.py has the damaged segments."""
        subprocess.run(["rm", "-rf", self.db], check=True)
        self.ok("import", self.tree, self.db, "--quiet", "--settle", "--separate-min", "none")

    def test_sound(self):
        """A sound database is exit code 0, in text and in JSON, and every entry was looked at."""
        self.ok("verify", self.db)
        self.assertEqual(b"", self.ok("verify", self.db, "--quiet"))
        report = json.loads(self.ok("verify", self.db, "--json"))
        self.assertEqual("NOKV_OK", report["status"])
        self.assertEqual(len(self.contents), report["entries"])
        self.assertGreater(report["blocks"], 0)
        self.assertGreater(report["bytes"] + report["segment_bytes"], sum(map(len, self.contents.values())))
        self.assertEqual(sum(len(content) >= 512 for content in self.contents.values()), report["values"])
        self.assertEqual(len(glob.glob(os.path.join(self.db, "vlog", "*.vlog"))), report["segments"])
        text = self.ok("verify", self.db).decode()
        self.assertRegex(text, rf"segments read through +{report['segments']}, \d")
        self.assertRegex(text, rf"{report['values']} separate values")

    def test_each_flipped_byte(self):
        """A flipped bit anywhere in a table is found: exit code 3, and the message names the file."""
        self.import_into_tables()
        table = os.path.basename(max(glob.glob(os.path.join(self.db, "*.sst")), key=os.path.getsize))
        size = os.path.getsize(os.path.join(self.db, table))
        for i in range(12):
            copy = self.copy_database(f"copy{i}.db")
            with open(os.path.join(copy, table), "r+b") as f:
                f.seek(size * i // 12 + 17)
                byte = f.read(1)
                f.seek(-1, os.SEEK_CUR)
                f.write(bytes([byte[0] ^ 0x10]))
            if nokv("verify", copy).returncode == 0:
                # Padding between regions belongs to nobody; but then nothing else may differ.
                self.assertEqual(self.ok("scan", self.db, "--hex"), self.ok("scan", copy, "--hex"))
                continue
            self.run_code(3, "verify", copy)
            self.assertIn(table, self.last_error)

    def test_truncated_and_missing_table(self):
        """A table that is shorter than it was, or gone, is exit code 3."""
        table = os.path.basename(glob.glob(os.path.join(self.db, "*.sst"))[0])
        copy = self.copy_database("short.db")
        os.truncate(os.path.join(copy, table), os.path.getsize(os.path.join(copy, table)) - 1)
        self.run_code(3, "verify", copy)
        copy = self.copy_database("gone.db")
        os.unlink(os.path.join(copy, table))
        self.run_code(3, "verify", copy)

    def test_json_of_damage(self):
        """With --json damage is an object with a status and a message, and still exit code 3."""
        self.import_into_tables()
        table = max(glob.glob(os.path.join(self.db, "*.sst")), key=os.path.getsize)
        with open(table, "r+b") as f:
            f.seek(4096 * 3)
            f.write(b"\xa5" * 8192)
        report = json.loads(self.run_code(3, "verify", self.db, "--json"))
        self.assertNotEqual("NOKV_OK", report["status"])
        self.assertIn(os.path.basename(table), report["message"])

    def test_same_tree(self):
        """Database and tree are equal: exit code 0, every file and byte counted."""
        self.ok("verify", self.db, "--against", self.tree)
        report = json.loads(self.ok("verify", self.db, "--against", self.tree, "--json"))
        self.assertEqual(len(self.contents), report["same"])
        self.assertEqual(sum(map(len, self.contents.values())), report["same_bytes"])

    def test_differences(self):
        """Missing, extra and different are each named once, in both directions, and make the exit code 1."""
        names = sorted(name for name in self.contents if "\t" not in name and "\n" not in name)
        changed = next(name for name in names if len(self.contents[name]) > 100)
        grown = next(name for name in names if name != changed and self.contents[name])
        removed = next(name for name in names if name not in (changed, grown))
        content = bytearray(self.contents[changed])
        content[-1] ^= 1
        write_file(os.path.join(self.tree, changed), bytes(content))
        write_file(os.path.join(self.tree, grown), self.contents[grown] + b"!")
        os.unlink(os.path.join(self.tree, removed))
        write_file(os.path.join(self.tree, "d00-new", "first"), b"")
        write_file(os.path.join(self.tree, "zzz"), b"last")
        self.ok("put", self.db, "!extra", "before everything")
        self.ok("put", self.db, "~extra\\", "after everything")
        out = self.run_code(1, "verify", self.db, "--against", self.tree).decode()
        found = {tuple(line.split("\t")) for line in out.splitlines() if "\t" in line}
        self.assertEqual({("different", changed), ("different", grown), ("extra", removed), ("extra", "!extra"),
                          ("extra", "~extra\\\\"), ("missing", "d00-new/first"), ("missing", "zzz")}, found)
        report = json.loads(self.run_code(1, "verify", self.db, "--against", self.tree, "--json"))
        self.assertEqual((2, 3, 2), (report["missing"], report["extra"], report["different"]))

    def test_empty_sides(self):
        """An empty tree makes every key extra, an empty database every file missing."""
        os.mkdir(self.path("empty"))
        out = self.run_code(1, "verify", self.db, "--against", self.path("empty"))
        self.assertEqual(len(self.contents), out.count(b"extra\t"))
        self.ok("put", self.path("empty.db"), "a", "b")
        self.ok("delete", self.path("empty.db"), "a")
        out = self.run_code(1, "verify", self.path("empty.db"), "--against", self.tree)
        self.assertEqual(len(self.contents), out.count(b"missing\t"))

    def test_missing_directory(self):
        """A directory that is not there is exit code 3."""
        self.run_code(3, "verify", self.db, "--against", self.path("nothing"))

    def test_unreadable_file(self):
        """A file that cannot be compared is named and makes the exit code 3: nothing is claimed about it."""
        name = sorted(self.contents)[0]
        os.chmod(os.path.join(self.tree, name), 0)
        prefix = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
        self.run_code(3, "verify", self.db, "--against", self.tree, prefix=prefix)
        self.assertIn(os.path.basename(name)[:10], self.last_error)

    def test_what_import_left_out(self):
        """What import could not read is counted and no difference; keys below a directory that was closed since then
        cannot be compared, and that is exit code 3."""
        prefix = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
        for name in ("closed", "closed-directory/below", "later/below"):
            write_file(os.path.join(self.tree, name), b"content")
        os.chmod(os.path.join(self.tree, "closed"), 0)
        os.chmod(os.path.join(self.tree, "closed-directory"), 0)
        self.run_code(1, "import", self.tree, self.db, prefix=prefix)
        report = json.loads(self.ok("verify", self.db, "--against", self.tree, "--json", prefix=prefix))
        self.assertEqual((2, 0, 0), (report["left_out"], report["missing"], report["extra"]))
        os.chmod(os.path.join(self.tree, "later"), 0)
        out = self.run_code(3, "verify", self.db, "--against", self.tree, prefix=prefix)
        self.assertNotIn(b"extra\t", out)
        self.assertIn("later/below", self.last_error)
        for name in ("later", "closed-directory"):
            os.chmod(os.path.join(self.tree, name), 0o700)

    def test_acknowledged(self):
        """--acked looks at the keys of the log only; a torn last line is passed by, a lost or changed key is found."""
        held = HeldImport(self.tree, self.path("other.db"))
        self.assertEqual(0, held.finish()[0])
        lines = held.acks.split(b"\n")[:-1]
        write_file(self.path("log"), b"\n".join(lines[:100]) + b"\n" + lines[100][:-3])
        args = ("verify", self.db, "--against", self.tree, "--acked", self.path("log"))
        self.assertEqual(100, json.loads(self.ok(*args, "--json"))["same"])
        victim = lines[50].split(b"\t")[0].decode()
        raw = victim.replace("\\t", "\t").replace("\\n", "\n")
        self.ok("delete", self.db, raw)
        self.assertIn(f"missing\t{victim}", self.run_code(1, *args).decode())
        self.ok("put", self.db, raw, "something else")
        self.assertIn(f"different\t{victim}", self.run_code(1, *args).decode())
        self.run_code(3, "verify", self.db, "--against", self.tree, "--acked", self.path("nothing"))


if __name__ == "__main__":
    main()
