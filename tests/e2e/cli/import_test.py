#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""import: what it takes, what it passes by, what it leaves out, how it stops and goes on."""
import os
import signal
import socket
import subprocess
import sys

from support import CliTest, HeldImport, main, make_tree, write_file


class Import(CliTest):
    def keys(self):
        return [bytes.fromhex(line.decode()) for line in self.ok("scan", self.db, "-k", "-x").split()]

    def stored(self):
        pairs = [line.split(b"\t") for line in self.ok("scan", self.db, "--hex").split(b"\n")[:-1]]
        return {os.fsdecode(bytes.fromhex(k.decode())): bytes.fromhex(v.decode()) for k, v in pairs}

    def test_everything(self):
        """Each regular file becomes its relative path and its content; nothing else is in the database."""
        contents = make_tree(self.tree, 1)
        out = self.ok("import", self.tree, self.db)
        self.assertIn(f"{len(contents)}".encode(), out)
        self.assertEqual(contents, self.stored())

    def test_options(self):
        """--sync stores the same, --quiet prints nothing, --dry-run only counts, --settle leaves tables."""
        contents = make_tree(self.tree, 2)
        counted = self.ok("import", "--dry-run", self.tree, self.db)
        self.assertEqual(f"files {len(contents)}\nbytes {sum(map(len, contents.values()))}\n".encode(), counted)
        self.assertFalse(os.path.exists(self.db))
        self.assertEqual(b"", self.ok("import", "--sync", "--quiet", "--settle", self.tree, self.db,
                                      "--stats", self.path("lines")))
        self.assertEqual(contents, self.stored())
        with open(self.path("lines")) as f:
            lines = dict(line.rstrip("\n").split(" ", 1) for line in f)
        self.assertEqual(str(len(contents)), lines["import.files"])
        self.assertEqual("0", lines["memtable_bytes"])

    def test_non_utf8_name(self):
        """A file name is bytes, whatever they are."""
        with open(os.path.join(os.fsencode(self.tree), b"\xff\x01\\"), "wb") as f:
            f.write(b"content")
        self.ok("import", self.tree, self.db)
        self.assertEqual([b"\xff\x01\\"], self.keys())

    def test_passed_by(self):
        """Symbolic links, pipes and sockets are counted and passed by; that is no failure."""
        write_file(os.path.join(self.tree, "file"), b"content")
        os.symlink("file", os.path.join(self.tree, "link"))
        os.symlink("/", os.path.join(self.tree, "directory-link"))
        os.mkfifo(os.path.join(self.tree, "pipe"))
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(os.path.join(self.tree, "socket"))
        out = self.ok("import", self.tree, self.db).decode()
        self.assertRegex(out, r"symbolic links, passed by +2\n")
        self.assertRegex(out, r"special files, passed by +2\n")
        self.assertEqual([b"file"], self.keys())

    def test_too_large(self):
        """A file above 1 GiB is named, left out and makes the exit code 1; the others are imported."""
        write_file(os.path.join(self.tree, "a"), b"a")
        write_file(os.path.join(self.tree, "z"), b"z")
        with open(os.path.join(self.tree, "large"), "wb") as f:
            f.truncate((1 << 30) + 1)
        out = self.run_code(1, "import", self.tree, self.db)
        self.assertIn("large: larger than", self.last_error)
        self.assertRegex(out.decode(), r"too large +1\n")
        self.assertEqual([b"a", b"z"], self.keys())

    def test_long_path(self):
        """A path above 65,535 bytes is named, left out and makes the exit code 1."""
        write_file(os.path.join(self.tree, "a"), b"a")
        name = "d" * 250
        fd = os.open(self.tree, os.O_RDONLY)
        for level in range(265):
            os.mkdir(name, dir_fd=fd)
            below = os.open(name, os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = below
            if level == 200:
                os.close(os.open("deep-enough", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        os.close(os.open("too-deep", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        os.close(fd)
        self.run_code(1, "import", self.tree, self.db)
        self.assertIn("65,535", self.last_error)
        keys = self.keys()
        self.assertEqual(2, len(keys))
        self.assertTrue(keys[1].endswith(b"/deep-enough"))
        self.ok("verify", self.db, "--against", self.tree)

    def test_unreadable(self):
        """Files and directories that may not be read are named, left out and make the exit code 1."""
        write_file(os.path.join(self.tree, "a"), b"a")
        write_file(os.path.join(self.tree, "closed"), b"secret")
        write_file(os.path.join(self.tree, "directory", "b"), b"b")
        os.chmod(os.path.join(self.tree, "closed"), 0)
        os.chmod(os.path.join(self.tree, "directory"), 0)
        # The superuser has to give up the right to read everything first.
        prefix = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
        out = self.run_code(1, "import", self.tree, self.db, prefix=prefix).decode()
        self.assertRegex(out, r"unreadable +1\n")
        self.assertRegex(out, r"directories left out +1\n")
        self.assertEqual([b"a"], self.keys())
        os.chmod(os.path.join(self.tree, "directory"), 0o700)

    def test_changing(self):
        """A file that is never what its size says is read a few times and then left out: exit code 1."""
        source = "/proc/sys/kernel/random"
        if not os.path.isdir(source):
            self.skipTest("no /proc")
        self.run_code(1, "import", source, self.db)
        self.assertIn("it changed each time", self.last_error)

    def test_vanished(self):
        """Files that are removed, or become something else, during the import are counted and no failure."""
        contents = make_tree(self.tree, 3)
        held = HeldImport(self.tree, self.db)
        held.wait_until_held()
        last = sorted(contents, key=os.fsencode)[-1]
        directory = os.path.dirname(last)
        for name in contents:
            if os.path.dirname(name) == directory:
                os.unlink(os.path.join(self.tree, name))
        os.symlink("nowhere", os.path.join(self.tree, last))
        code, _, err = held.finish()
        self.assertEqual(0, code, err)
        self.ok("verify", self.db, "--against", self.tree)

    def test_database_in_the_tree(self):
        """A database inside the imported tree does not swallow itself, new or old."""
        write_file(os.path.join(self.tree, "a"), b"a")
        inside = os.path.join(self.tree, "sub", "inner.db")
        os.mkdir(os.path.dirname(inside))
        for _ in range(2):
            out = self.ok("import", self.tree, inside)
            self.assertIn(b"own directory", out)
        self.assertEqual(b"a\n", self.ok("scan", inside, "-k"))
        self.ok("verify", inside, "--against", self.tree)

    def test_resume(self):
        """Importing again stores what is new or changed only."""
        contents = make_tree(self.tree, 4)
        self.ok("import", self.tree, self.db)
        out = self.ok("import", self.tree, self.db).decode()
        self.assertRegex(out, r"files imported +0,")
        self.assertRegex(out, rf"there already +{len(contents)},")
        changed = sorted(contents)[:3]
        for name in changed:  # the same size, one byte else
            contents[name] = bytes(len(contents[name])) or b"x"
            write_file(os.path.join(self.tree, name), contents[name])
        write_file(os.path.join(self.tree, "new"), b"new")
        contents["new"] = b"new"
        out = self.ok("import", self.tree, self.db).decode()
        self.assertRegex(out, r"files imported +[1-4],")
        self.assertEqual(contents, self.stored())

    def test_interrupt(self):
        """SIGINT finishes the batch, closes the database and says how to go on; doing that completes the import."""
        contents = make_tree(self.tree, 5, files=1500)
        for stop in (signal.SIGINT, signal.SIGTERM):
            held = HeldImport(self.tree, self.db)
            held.wait_until_held()
            held.process.send_signal(stop)
            code, _, err = held.finish()
            self.assertEqual(1, code, err)
            self.assertIn(f"nokv import '{self.tree}' '{self.db}'".encode(), err)
            self.assertLess(len(self.keys()), len(contents))
            self.assertEqual(held.acks.count(b"\n"), len(self.keys()))
            subprocess.run(["rm", "-rf", self.db] if stop == signal.SIGINT else ["true"], check=True)
        self.ok("import", self.tree, self.db)
        self.assertEqual(contents, self.stored())

    def test_acknowledgements(self):
        """--ack-fd names every key once, with its size and the sum so far, those that were there included."""
        contents = make_tree(self.tree, 6)
        for _ in range(2):
            held = HeldImport(self.tree, self.db)
            self.assertEqual(0, held.finish()[0])
            total = 0
            lines = held.acks.split(b"\n")[:-1]
            self.assertEqual(len(contents), len(lines))
            for line in lines:
                key, size, so_far = line.split(b"\t")
                name = os.fsdecode(key.decode().encode().replace(b"\\t", b"\t").replace(b"\\n", b"\n"))
                self.assertEqual(len(contents[name]), int(size))
                total += int(size)
                self.assertEqual(total, int(so_far))

    def test_bad_ack_descriptor(self):
        """A descriptor that is not open is an error, and the database is closed well."""
        make_tree(self.tree, 7)
        self.run_code(3, "import", self.tree, self.db, "--ack-fd", "77")
        self.ok("verify", self.db)

    def test_missing_source(self):
        """A source that is not there, or not a directory, is exit code 3, and no database is created."""
        self.run_code(3, "import", self.path("nothing"), self.db)
        write_file(self.path("file"), b"")
        self.run_code(3, "import", self.path("file"), self.db)
        self.assertFalse(os.path.exists(self.db))

    def test_empty_tree(self):
        """A tree without files makes an empty database."""
        self.ok("import", self.tree, self.db)
        self.assertEqual([], self.keys())

    def test_lines_elsewhere(self):
        """Without a terminal the progress is made of lines, never of carriage returns."""
        make_tree(self.tree, 8)
        self.ok("import", self.tree, self.db)
        self.assertNotIn("\r", self.last_error)

    def test_bar_on_a_terminal(self):
        """On a terminal a bar is drawn and removed again, and standard output has the summary alone."""
        make_tree(self.tree, 9, files=2000, bytes_max=30000)
        script = ["script", "-qec", f"{os.environ['NOKV']} import {self.tree} {self.db} >{self.path('out')}", "/dev/null"]
        done = subprocess.run(script, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=120,
                              env={**os.environ, "TERM": "xterm"})
        self.assertEqual(0, done.returncode, done.stdout)
        if done.stdout:  # it may have been faster than the first drawing
            self.assertTrue(done.stdout.endswith(b"\r\x1b[K"), done.stdout[-100:])
        with open(self.path("out"), "rb") as f:
            self.assertIn(b"files imported", f.read())


if __name__ == "__main__":
    sys.setrecursionlimit(5000)
    main()
