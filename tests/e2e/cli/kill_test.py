#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An import that is killed with SIGKILL at random points: nothing that was acknowledged is lost, and it can go on."""
import os
import random
import subprocess

from support import SCALE, CliTest, HeldImport, main, make_tree, read_tree, test_seed, write_file


class Kill(CliTest):
    def check_acknowledged(self, acks):
        write_file(self.path("acks"), acks)
        self.ok("verify", self.db, "--against", self.tree, "--acked", self.path("acks"))

    def test_kill_and_go_on(self):
        """Killed again and again, at random points of the same import: each time all acknowledged keys are there; in
        the end the import completes, verifies, and exports to the same tree."""
        seed = test_seed(41)
        rng = random.Random(seed)
        contents = make_tree(self.tree, seed, files=2500)
        for round_ in range(max(3, 12 * SCALE // 100)):
            if round_ % 5 == 4:  # begin anew, else the rest of the tree becomes small
                subprocess.run(["rm", "-rf", self.db], check=True)
            held = HeldImport(self.tree, self.db, *rng.choice([[], ["--sync"]]))
            held.read_acks(rng.randrange(1, 2000))
            held.kill()
            self.check_acknowledged(held.acks)
        self.ok("import", self.tree, self.db)
        self.ok("verify", self.db)
        self.ok("verify", self.db, "--against", self.tree)
        self.ok("export", self.db, self.path("out"))
        self.assertEqual(contents, read_tree(self.path("out")))

    def test_kill_while_others_wait(self):
        """After the owner was killed the next process opens the database at once: the lock dies with its owner."""
        make_tree(self.tree, 42, files=1000)
        held = HeldImport(self.tree, self.db)
        held.wait_until_held()
        self.run_code(3, "put", self.db, "a", "b")
        held.kill()
        self.ok("put", self.db, "a", "b")
        self.assertEqual(b"b", self.ok("get", self.db, "a"))

    def test_kill_between_puts(self):
        """Single puts by short processes, each followed by another process: all of them are there."""
        for i in range(max(5, 25 * SCALE // 100)):
            self.ok("put", self.db, f"key{i}", f"value{i}")
            self.assertEqual(f"value{i}".encode(), self.ok("get", self.db, f"key{i}"))


if __name__ == "__main__":
    main()
