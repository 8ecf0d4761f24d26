# SPDX-License-Identifier: Apache-2.0
"""What the tests of the nokv command share: running it, trees of files, snapshots of a directory, an import that is
held in the middle.

The command comes from the environment variable NOKV. NOKV_TEST_SEED repeats a run, NOKV_TEST_SCALE (percent) makes the
slow tests do less."""
import fcntl
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest
import zlib

NOKV = os.environ["NOKV"]
SCALE = int(os.environ.get("NOKV_TEST_SCALE", "100"))


def test_seed(fallback):
    seed = int(os.environ["NOKV_TEST_SEED"], 0) if "NOKV_TEST_SEED" in os.environ else fallback
    print(f"seed {seed} (NOKV_TEST_SEED repeats it)", file=sys.stderr)
    return seed


def nokv(*args, stdin=b"", prefix=(), **more):
    """Run the command; a CompletedProcess with bytes in stdout and stderr."""
    argv = [*prefix, NOKV, *[os.fsencode(a) for a in args]]
    return subprocess.run(argv, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, **more)


def write_file(path, content):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(content)


def make_tree(root, seed, files=400, directories=12, bytes_max=20000):
    """Files of random sizes and names; some names sort differently with and without their directory's slash."""
    rng = random.Random(seed)
    contents = {}
    for i in range(files):
        directory = f"d{rng.randrange(directories):02d}" + rng.choice(["", "/sub", "/sub/deeper", "-dash", ".dot"])
        name = f"{directory}/file-{i:05d}-{rng.choice(['a', 'b.txt', 'c d', 'ü', 'tab' + chr(9), 'line' + chr(10)])}"
        contents[name] = rng.randbytes(rng.choice([0, 1, 100, 4096, rng.randrange(bytes_max)]))
    contents["d0x"] = b"a file beside the directories"
    for name, content in contents.items():
        write_file(os.path.join(root, name), content)
    return contents


def read_tree(root):
    found = {}
    for directory, _, names in os.walk(root):
        for name in names:
            path = os.path.join(directory, name)
            if os.path.isfile(path) and not os.path.islink(path):
                with open(path, "rb") as f:
                    found[os.path.relpath(path, root)] = f.read()
    return found


def snapshot(root):
    """Everything about a directory that a write would change: names, sizes, times, bytes."""
    found = {}
    for directory, _, names in os.walk(root):
        st = os.stat(directory)
        found[directory] = (st.st_mtime_ns, st.st_ctime_ns)
        for name in names:
            path = os.path.join(directory, name)
            st = os.stat(path)
            with open(path, "rb") as f:
                found[path] = (st.st_size, st.st_mtime_ns, st.st_ctime_ns, zlib.crc32(f.read()))
    return found


class HeldImport:
    """An import whose acknowledgements go into a pipe of one page that nobody reads: it stops in the middle, with the
    database open, until read_acks() or kill()."""

    def __init__(self, source, database, *options):
        self.read_end, write_end = os.pipe()
        fcntl.fcntl(self.read_end, fcntl.F_SETPIPE_SZ, 4096)
        self.acks = b""
        self.process = subprocess.Popen([NOKV, "import", source, database, "--ack-fd", str(write_end), *options],
                                        pass_fds=[write_end], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        os.close(write_end)

    def _in_pipe(self):
        return struct.unpack("i", fcntl.ioctl(self.read_end, termios.FIONREAD, b"\0\0\0\0"))[0]

    def wait_until_held(self):
        deadline = time.monotonic() + 60
        while self._in_pipe() < 4096:
            if self.process.poll() is not None:
                raise AssertionError(f"the import ended by itself: {self.process.communicate()}")
            if time.monotonic() > deadline:
                raise AssertionError("the import was never held")
            time.sleep(0.002)

    def read_acks(self, lines):
        """Let it go on until so many more lines are acknowledged, or to its end."""
        target = self.acks.count(b"\n") + lines
        while self.acks.count(b"\n") < target:
            got = os.read(self.read_end, 512)
            if not got:
                return
            self.acks += got

    def kill(self):
        self.process.kill()
        self.finish()

    def finish(self):
        """Take the rest of the acknowledgements, then the process; returns (exit code, stdout, stderr)."""
        while True:
            got = os.read(self.read_end, 65536)
            if not got:
                break
            self.acks += got
        os.close(self.read_end)
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, out, err


class CliTest(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="nokv-cli-")
        # rm goes deeper than Python's recursion does; a cleanup runs even when the rest of setUp() fails.
        self.addCleanup(subprocess.run, ["rm", "-rf", self.dir], check=True)
        self.db = os.path.join(self.dir, "test.db")
        self.tree = os.path.join(self.dir, "tree")
        os.mkdir(self.tree)

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def run_code(self, code, *args, **more):
        """Run the command; its exit code has to be `code`. Returns stdout."""
        done = nokv(*args, **more)
        self.last_error = done.stderr.decode(errors="replace")
        self.assertEqual(code, done.returncode, f"nokv {args}: {self.last_error}")
        return done.stdout

    def ok(self, *args, **more):
        return self.run_code(0, *args, **more)

    def copy_database(self, name):
        copy = self.path(name)
        shutil.copytree(self.db, copy)
        return copy


def main():
    unittest.main(verbosity=1)
