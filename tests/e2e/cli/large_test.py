#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Values that are larger than what one wants in memory: put, get, import, export and verify pass them through in pieces."""
import glob
import hashlib
import os
import random
import signal
import subprocess

from support import NOKV, CliTest, main, write_file

MIB = 1 << 20
LARGE = 64 * MIB


def write_large(path, size, seed):
    """A file of random bytes, made in pieces: this process's own memory must not count for its children's."""
    rng = random.Random(seed)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        for off in range(0, size, MIB):
            f.write(rng.randbytes(min(MIB, size - off)))


def digest(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


class Large(CliTest):
    def setUp(self):
        super().setUp()
        self.file = os.path.join(self.tree, "film")

    def peak(self, *args, stdin=None, stdout=None):
        """Run the command; its peak memory in bytes."""
        process = subprocess.Popen([NOKV, *args], stdin=stdin or subprocess.DEVNULL, stdout=stdout or subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(0, process.returncode, args)
        return usage.ru_maxrss * 1024

    def test_memory(self):
        """Each command takes little more memory for a large value than for a small one."""
        write_large(self.file, LARGE, 71)
        small = self.path("small", "film")
        write_file(small, b"short")
        peaks = {}
        for name, file in (("small", small), ("large", self.file)):
            db, out, directory = self.path(f"{name}.db"), self.path(f"{name}.out"), os.path.dirname(file)
            peaks[name] = [self.peak("put", db, "film", "--file", file)]
            with open(file, "rb") as piped:
                peaks[name].append(self.peak("put", db, "piped", "-", stdin=piped))
            peaks[name].append(self.peak("get", db, "film", "--file", out))
            self.assertEqual(digest(file), digest(out))
            with open(out, "wb") as piped:
                peaks[name].append(self.peak("get", db, "piped", stdout=piped))
            self.assertEqual(digest(file), digest(out))
            for command in (["import", directory, db], ["import", directory, self.path(f"{name}-import.db")],
                            ["verify", self.path(f"{name}-import.db"), "--against", directory], ["verify", db],
                            ["vlog", "gc", db, "--compact"], ["export", db, self.path(f"{name}.exported")]):
                peaks[name].append(self.peak(*command))
            self.assertEqual(digest(file), digest(self.path(f"{name}.exported", "film")))
        for i, (few, many) in enumerate(zip(peaks["small"], peaks["large"])):
            self.assertLess(many, few + LARGE // 2, i)

    def test_pipe(self):
        """A pipe, whose length nobody knows, is stored whole: below, at and above the size from which it is streamed."""
        for size in (4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 9 * MIB + 17):
            write_large(self.file, size, size)
            with subprocess.Popen(["cat", self.file], stdout=subprocess.PIPE) as cat:
                self.peak("put", self.db, "piped", "-", "--sync", stdin=cat.stdout)
            self.ok("get", self.db, "piped", "--file", self.path("out"))
            self.assertEqual(digest(self.file), digest(self.path("out")))

    def test_hex(self):
        """--hex prints a long value in one line."""
        write_large(self.file, 5 * MIB, 72)
        self.ok("put", self.db, "film", "--file", self.file)
        with open(self.file, "rb") as f:
            self.assertEqual(f.read().hex().encode() + b"\n", self.ok("get", self.db, "--hex", "film".encode().hex()))

    def test_too_large(self):
        """More than 1 GiB is refused by its size, before anything is written, and from a pipe without a trace."""
        with open(self.file, "wb") as f:
            f.truncate((1 << 30) + 1)
        self.run_code(2, "put", self.db, "film", "--file", self.file)
        self.assertIn("1 GiB", self.last_error)
        self.assertFalse(os.path.exists(self.db))
        self.ok("put", self.db, "film", "old")
        with subprocess.Popen(["cat", self.file], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as cat:
            done = subprocess.run([NOKV, "put", self.db, "film", "-"], stdin=cat.stdout, stderr=subprocess.PIPE)
            cat.stdout.close()
        self.assertEqual(2, done.returncode, done.stderr)
        self.assertEqual(b"old", self.ok("get", self.db, "film"))
        self.ok("verify", self.db)

    def test_full_output(self):
        """A file that cannot take the whole value is an error that says how much it has at most."""
        write_large(self.file, 6 * MIB, 73)
        self.ok("put", self.db, "film", "--file", self.file)
        self.run_code(3, "get", self.db, "film", "--file", "/dev/full")
        self.assertIn("/dev/full", self.last_error)

    def test_kill(self):
        """A put that is killed, or whose input ends in an error, leaves the old value and a sound database."""
        self.ok("put", self.db, "film", "old")
        read_end, write_end = os.pipe()
        process = subprocess.Popen([NOKV, "put", self.db, "film", "-"], stdin=read_end)
        os.close(read_end)
        piece = random.Random(74).randbytes(MIB)
        for _ in range(12):
            done = 0
            while done < MIB:
                done += os.write(write_end, piece[done:])
        process.send_signal(signal.SIGKILL)
        process.wait()
        os.close(write_end)
        self.assertEqual(b"old", self.ok("get", self.db, "film"))
        self.run_code(3, "put", self.db, "film", "--file", self.tree)  # reading a directory fails
        self.assertEqual(b"old", self.ok("get", self.db, "film"))
        self.ok("verify", self.db)
        self.ok("put", self.db, "film", "new")
        self.ok("verify", self.db)

    def test_import(self):
        """import streams large files: stored once, recognised when they are there, replaced when one byte changed."""
        write_large(self.file, 9 * MIB + 1, 75)
        write_large(os.path.join(self.tree, "another"), 5 * MIB, 76)
        write_file(os.path.join(self.tree, "small"), b"small")
        self.assertRegex(self.ok("import", self.tree, self.db).decode(), r"files imported +3, 14\.0 MiB")
        self.assertRegex(self.ok("import", self.tree, self.db).decode(), r"there already +3,")
        with open(self.file, "r+b") as f:
            f.seek(8 * MIB)
            byte = f.read(1)[0]
            f.seek(8 * MIB)
            f.write(bytes([byte ^ 1]))
        self.assertIn(b"different\tfilm", self.run_code(1, "verify", self.db, "--against", self.tree))
        self.assertRegex(self.ok("import", self.tree, self.db).decode(), r"files imported +1, 9\.0 MiB")
        self.ok("verify", self.db, "--against", self.tree)
        self.ok("verify", self.db)

    def test_damaged_piece(self):
        """Of a value with a damaged piece get writes what is in front of it and exits with 3; export leaves no file."""
        write_large(self.file, 6 * MIB, 77)
        self.ok("import", self.tree, self.db, "--settle", "--quiet")
        segment = max(glob.glob(os.path.join(self.db, "vlog", "*.vlog")), key=os.path.getsize)
        with open(segment, "r+b") as f:
            f.seek(4096 + 5 * MIB)
            byte = f.read(1)[0]
            f.seek(4096 + 5 * MIB)
            f.write(bytes([byte ^ 1]))
        out = self.run_code(3, "get", self.db, "film")
        self.assertIn(os.path.basename(segment), self.last_error)
        with open(self.file, "rb") as f:
            self.assertEqual(f.read()[:len(out)], out)
        self.assertTrue(4 * MIB <= len(out) <= 5 * MIB, len(out))
        self.run_code(3, "export", self.db, self.path("out"))
        self.assertEqual([], os.listdir(self.path("out")))


if __name__ == "__main__":
    main()
