#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""export: the way back, and the keys that try to leave the directory."""
import os
import stat

from support import CliTest, main, make_tree, read_tree, write_file


class Export(CliTest):
    def setUp(self):
        super().setUp()
        self.out = self.path("out")

    def put(self, key, value=b"x"):
        self.ok("put", self.db, "--hex", key.hex(), value.hex())

    def test_round_trip(self):
        """import, then export: the same files with the same bytes; doing it again writes nothing."""
        contents = make_tree(self.tree, 11)
        self.ok("import", self.tree, self.db, "--quiet")
        self.ok("export", self.db, self.out)
        self.assertEqual(contents, read_tree(self.out))
        before = {name: os.stat(os.path.join(self.out, name)).st_mtime_ns for name in contents}
        self.assertRegex(self.ok("export", self.db, self.out).decode(), rf"there +{len(contents)}\n")
        self.assertEqual(before, {name: os.stat(os.path.join(self.out, name)).st_mtime_ns for name in contents})

    def test_escape_attempts(self):
        """Keys that could name something outside DIR, or nothing sensible, are refused; the others are exported."""
        bad = [b"/absolute", b"../up", b"a/../../up", b"a/..", b"..", b".", b"./a", b"a/./b", b"a//b", b"a/", b"/", b"nul\0byte",
               b"a/\0/b", b"n" * 256, b"x/" + b"n" * 256 + b"/y"]
        for key in bad + [b"good", b"a/good", b"a/..good", b"a/.hidden", b"..."]:
            self.put(key)
        out = self.run_code(1, "export", self.db, self.out)
        self.assertEqual({"good", "a/good", "a/..good", "a/.hidden", "..."}, set(read_tree(self.out)))
        self.assertRegex(out.decode(), rf"no safe path +{len(bad)}\n")
        self.assertEqual(len(bad), self.last_error.count("left out"))
        self.assertEqual({"test.db", "tree", "out"}, set(os.listdir(self.dir)))

    def test_symbolic_links_in_the_target(self):
        """A symbolic link in DIR leads nowhere: not as a directory, not as the file."""
        victim = self.path("victim")
        write_file(os.path.join(victim, "precious"), b"precious")
        os.mkdir(self.out)
        os.symlink(victim, os.path.join(self.out, "dir"))
        os.symlink(os.path.join(victim, "precious"), os.path.join(self.out, "file"))
        os.symlink(os.path.join(victim, "new"), os.path.join(self.out, "dangling"))
        for key in (b"dir/precious", b"dir/new", b"file", b"dangling"):
            self.put(key)
        self.run_code(1, "export", self.db, self.out)
        self.assertEqual({"precious": b"precious"}, read_tree(victim))
        self.run_code(1, "export", self.db, self.out, "--force")  # replaces the links, not what they point to
        self.assertEqual({"precious": b"precious"}, read_tree(victim))
        self.assertEqual({"file": b"x", "dangling": b"x"}, read_tree(self.out))

    def test_conflict_in_the_keys(self):
        """A key that is both a file and a directory: the first wins, the others are named."""
        self.put(b"a", b"file")
        self.put(b"a/b", b"below")
        self.put(b"c", b"c")
        self.run_code(1, "export", self.db, self.out)
        self.assertIn("a/b: a part of its path exists and is not a directory", self.last_error)
        self.assertEqual({"a": b"file", "c": b"c"}, read_tree(self.out))

    def test_conflict_with_files(self):
        """An existing file with other content is kept unless --force is given; a directory in the way always stays."""
        write_file(os.path.join(self.out, "a"), b"mine")
        os.makedirs(os.path.join(self.out, "d", "inner"))
        self.put(b"a", b"theirs")
        self.put(b"d", b"file")
        self.run_code(1, "export", self.db, self.out)
        self.assertIn("--force", self.last_error)
        self.assertEqual({"a": b"mine"}, read_tree(self.out))
        self.run_code(1, "export", self.db, self.out, "--force")
        self.assertEqual({"a": b"theirs"}, read_tree(self.out))
        self.assertTrue(stat.S_ISDIR(os.stat(os.path.join(self.out, "d", "inner")).st_mode))

    def test_nothing_left_behind(self):
        """After conflicts no temporary file is left."""
        write_file(os.path.join(self.out, "a"), b"mine")
        self.put(b"a", b"theirs")
        self.run_code(1, "export", self.db, self.out)
        self.assertEqual(["a"], os.listdir(self.out))

    def test_target(self):
        """A target that cannot be a directory is exit code 3."""
        self.put(b"a")
        write_file(self.path("file"), b"")
        self.run_code(3, "export", self.db, self.path("file"))
        self.run_code(3, "export", self.db, self.path("no", "such", "parent"))


if __name__ == "__main__":
    main()
