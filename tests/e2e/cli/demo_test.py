#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tools/demo/run.sh, which ./dev run calls, on small trees."""
import glob
import os
import signal
import subprocess
import time

from support import NOKV, CliTest, main, make_tree, write_file

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../tools/demo/run.sh")


class Demo(CliTest):
    def setUp(self):
        super().setUp()
        self.work = self.path("tmp")
        os.mkdir(self.work)
        self.environment = {**os.environ, "NOKV_BIN": NOKV, "TMPDIR": self.work}

    def run_demo(self, *args):
        return subprocess.run([SCRIPT, *args], env=self.environment, stdin=subprocess.DEVNULL, timeout=500,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def test_whole(self):
        """On a tree of some megabytes it runs through, says so, and leaves nothing behind."""
        make_tree(self.tree, 51, files=2500, bytes_max=16000)
        done = self.run_demo(self.tree)
        text = done.stdout.decode(errors="replace")
        self.assertEqual(0, done.returncode, text)
        self.assertIn("nothing that was acknowledged is lost", text)
        self.assertIn("the database and the directory tree are the same", text)
        self.assertIn("calls per", text)
        self.assertNotIn("\x1b", text)
        self.assertEqual([], os.listdir(self.work))
        for line in text.splitlines():
            self.assertLessEqual(len(line), 100 + 2 * len(self.dir), line)

    def test_single_file(self):
        """A tree that is imported faster than it can be killed is checked all the same."""
        write_file(os.path.join(self.tree, "only"), b"content")
        done = self.run_demo(self.tree)
        self.assertEqual(0, done.returncode, done.stdout)

    def test_keep(self):
        """--keep leaves the work directory and names it."""
        write_file(os.path.join(self.tree, "only"), b"content")
        done = self.run_demo("--keep", self.tree)
        self.assertEqual(0, done.returncode, done.stdout)
        kept = os.path.join(self.work, os.listdir(self.work)[0])
        self.assertIn(f"kept: {kept}".encode(), done.stdout)
        self.assertTrue(os.path.isdir(os.path.join(kept, "db")))

    def run_with(self, what):
        """Run it on a small tree with a nokv that does `what` (shell) before the first comparison with the whole tree."""
        make_tree(self.tree, 53, files=20)
        wrapper = self.path("wrapper")
        write_file(wrapper, f"""#!/bin/sh
case " $* " in *--acked*) ;; *" verify "*--against*) {what} ;; esac
exec '{NOKV}' "$@"
""".encode())
        os.chmod(wrapper, 0o755)
        self.environment["NOKV_BIN"] = wrapper
        done = self.run_demo(self.tree)
        self.assertEqual(1, done.returncode, done.stdout)
        return done.stdout.decode(errors="replace")

    def test_source_changes(self):
        """A source file that changes or vanishes during the run is said to be the reason, and nothing is left behind."""
        for what in ("echo more >>'{victim}'", "rm '{victim}'", "echo new >'{victim}.new'"):
            self.setUp()
            contents = make_tree(self.tree, 53, files=20)
            victim = os.path.join(self.tree, sorted(name for name in contents if name.endswith("-a"))[0])
            text = self.run_with(what.format(victim=victim))
            self.assertIn("the source tree changed while this ran", text)
            self.assertEqual([], os.listdir(self.work))

    def test_wrong_database(self):
        """A difference that no change of the source explains is called what it is, and the evidence is kept."""
        text = self.run_with(f"'{NOKV}' put \"$2\" d0x other")
        self.assertIn("THIS MUST NOT HAPPEN", text)
        self.assertIn("different\td0x", text)
        self.assertEqual(1, len(os.listdir(self.work)))

    def test_nothing_to_do(self):
        """No directory, or one without files, ends with a message and without leftovers."""
        for args in ([self.path("nothing")], [self.tree], ["--nonsense"]):
            self.assertEqual(1, self.run_demo(*args).returncode, args)
        self.assertEqual([], os.listdir(self.work))

    def test_interrupted(self):
        """After Ctrl-C no process and no file is left."""
        make_tree(self.tree, 52, files=2500, bytes_max=16000)
        demo = subprocess.Popen([SCRIPT, self.tree], env=self.environment, stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + 60
        while not glob.glob(os.path.join(self.work, "*", "acked.log")) and time.monotonic() < deadline:
            time.sleep(0.002)
        os.killpg(demo.pid, signal.SIGINT)
        self.assertEqual(130, demo.wait(timeout=60))
        self.assertEqual([], os.listdir(self.work))


if __name__ == "__main__":
    main()
