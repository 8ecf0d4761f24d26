#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Commands that only read change nothing below the database's directory: no byte, no time, no name."""
import glob
import os

from support import CliTest, HeldImport, main, make_tree, nokv, snapshot


class ReadOnly(CliTest):
    def check_all(self, database):
        before = snapshot(database)
        write_ahead = glob.glob(os.path.join(database, "*.wal"))
        segments = glob.glob(os.path.join(database, "vlog", "*.vlog"))
        for command in (["get", database, "anything"], ["scan", database], ["scan", database, "--reverse", "--json"],
                        ["verify", database], ["verify", database, "--against", self.tree],
                        ["stats", database], ["stats", database, "--json"], ["stats", database, "--lines"],
                        ["vlog", database], ["vlog", database, "--json"], ["scan", database, "--sizes"],
                        ["export", database, self.path("out")], ["probe", database, "--gets", "1000"],
                        *[["dump", "wal", file] for file in write_ahead],
                        *[["dump", "vlog", file] for file in segments],
                        *[["salvage", file, "--into", self.path("saved"), "--force"] for file in segments]):
            done = nokv(*command)
            self.assertLess(done.returncode, 2, (command, done.stderr))
            self.assertEqual(before, snapshot(database), command)

    def test_after_a_clean_close(self):
        """A database that was closed, with tables and with a log."""
        make_tree(self.tree, 31)
        self.ok("import", self.tree, self.db, "--settle")
        self.ok("put", self.db, "late", "still in the log")
        self.check_all(self.db)

    def test_after_a_kill(self):
        """A database whose writer was killed: reading it recovers in memory and still writes nothing."""
        make_tree(self.tree, 32, files=1000)
        held = HeldImport(self.tree, self.db)
        held.wait_until_held()
        held.kill()
        self.check_all(self.db)
        keys = self.ok("scan", self.db, "-k").count(b"\n")
        self.assertGreaterEqual(keys, held.acks.count(b"\n"))

    def test_on_a_read_only_file_system(self):
        """Directories and files without write permission are enough to read."""
        make_tree(self.tree, 33)
        self.ok("import", self.tree, self.db, "--settle")
        for file in glob.glob(os.path.join(self.db, "**"), recursive=True):
            os.chmod(file, 0o555 if os.path.isdir(file) else 0o444)
        prefix = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
        self.ok("verify", self.db, "--against", self.tree, prefix=prefix)
        self.ok("verify", self.db, prefix=prefix)
        self.run_code(3, "put", self.db, "a", "b", prefix=prefix)
        for directory in (self.db, os.path.join(self.db, "vlog")):
            os.chmod(directory, 0o755)


if __name__ == "__main__":
    main()
