#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The style checks find what they say they find: each rule is shown a tree that breaks it and one that does not."""
import os
import tempfile
import unittest

import docs_check
import layers_check
import source_tree
import style_check

SPDX = "// SPDX-License-Identifier: Apache-2.0\n"
OPENING = SPDX + "/* What this is. */\n"


class ChecksTest(unittest.TestCase):
    def rules(self, check, files):
        """The rules that `check` finds broken in a tree of these files."""
        with tempfile.TemporaryDirectory() as root:
            for path, text in files.items():
                os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
                with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                    file.write(text)
            findings = source_tree.Findings()
            check(root, findings)
            return [line.split(": ")[1] for line in findings.lines]

    def style(self, path, text):
        return self.rules(style_check.check_tree, {path: text})

    def layers(self, path, text):
        return self.rules(layers_check.check_tree, {path: text})

    # A file that keeps every rule is not complained about.
    def test_clean(self):
        self.assertEqual([], self.style("src/mem/a.c", OPENING + "int f(void)\n{\n    return mem_free(p->free);\n}\n"))

    # Each rule for text and for C finds its breach.
    def test_text_rules(self):
        self.assertEqual(["spdx", "opening"], self.style("src/mem/a.c", "int x;\n"))
        self.assertEqual(["unfinished"], self.style("docs/a.md", "TO" "DO: more\n"))
        self.assertEqual([], self.style("docs/a.md", "file-XXXX" "XX\n"))
        self.assertEqual(["machine-path"], self.style("docs/a.md", "see /ho" "me/someone/x\n"))
        self.assertEqual(["space"], self.style("docs/a.md", "blank \n"))
        self.assertEqual(["length"], self.style("docs/a.md", "line\n" * 1001))
        self.assertEqual(["opening"], self.style("src/mem/a.c", SPDX + "int x;\n"))
        self.assertEqual(["guard"], self.style("src/mem/a.h", SPDX + "#ifndef A_H\n#define A_H\n#endif\n"))
        self.assertEqual([], self.style("tools/a.h", SPDX + "#ifndef X_A_H\n#define X_A_H\n#endif\n"))
        self.assertEqual(["guard"], self.style("tools/a.h", SPDX + "int a;\n"))
        self.assertEqual(["columns"], self.style("src/mem/a.c", OPENING + "// " + "x" * 120 + "\n"))

    # 70 lines of body are allowed, 71 are not; a struct is not a function.
    def test_function_length(self):
        self.assertEqual([], self.style("src/mem/a.c", OPENING + "int f(void)\n{\n" + "    x();\n" * 70 + "}\n"))
        self.assertEqual(["function"], self.style("src/mem/a.c", OPENING + "int f(void)\n{\n" + "    x();\n" * 71 + "}\n"))
        self.assertEqual([], self.style("src/mem/a.c", OPENING + "struct f {\n" + "    int x;\n" * 71 + "};\n"))

    # The engine reaches kernel and heap through its doors only; comments, strings and members do not count.
    def test_engine_rules(self):
        self.assertEqual(["kernel"], self.style("src/mem/a.c", OPENING + "int x = pread(1, b, 2, 3);\n"))
        self.assertEqual([], self.style("src/io/a.c", OPENING + "int x = pread(1, b, 2, 3);\n"))
        self.assertEqual([], self.style("src/mem/a.c", OPENING + 'int x = f->read("open(1)"); /* write(2) */\n'))
        self.assertEqual(["heap"], self.style("src/mem/a.c", OPENING + "void *x = malloc(7);\n"))
        self.assertEqual([], self.style("src/base/alloc.c", OPENING + "void *x = malloc(7);\n"))
        self.assertEqual(["printing"], self.style("src/mem/a.c", OPENING + "int x = printf(y);\n"))
        self.assertEqual(["typedef"], self.style("src/mem/a.c", OPENING + "typedef int a;\n"))
        self.assertEqual(["suffix"], self.style("src/mem/a.c", OPENING + "struct a_t;\n"))

    # A test without a sentence above it is found.
    def test_sentence(self):
        text = OPENING + "%sstatic void test_a(void **state)\n{\n}\n"
        self.assertEqual(["sentence"], self.style("tests/unit/a_test.c", text % "int x;\n"))
        self.assertEqual([], self.style("tests/unit/a_test.c", text % "/* It works. */\n"))

    # Includes go downward, through the front door; programs see the public headers only.
    def test_layers(self):
        self.assertEqual([], self.layers("src/sst/a.c", '#include "io/io.h"\n#include "sst/b.h"\n'))
        self.assertEqual(["layer"], self.layers("src/io/a.c", '#include "sst/sst.h"\n'))
        self.assertEqual(["layer"], self.layers("src/io/a.c", '#include "key/key.h"\n'))
        self.assertEqual(["door"], self.layers("src/lsm/a.c", '#include "sst/block.h"\n'))
        self.assertEqual(["layer"], self.layers("src/sst/a.c", '#include "nokv/nokv.h"\n'))
        self.assertEqual([], self.layers("src/sst/a.c", '#include "nokv/status.h"\n'))
        self.assertEqual(["layer"], self.layers("src/unknown/a.c", "#include <stdio.h>\n"))
        self.assertEqual(["public"], self.layers("tools/a.c", '#include "base/base.h"\n'))
        self.assertEqual([], self.layers("bench/io_bench.c", '#include "base/base.h"\n'))

    # The laboratory sees the modules that it measures through their front doors; tools see its own door, nobody the rest.
    def test_laboratory(self):
        self.assertEqual([], self.layers("lab/a.c", '#include "io/io.h"\n#include "lab/b.h"\n#include <nokv/nokv.h>\n'))
        self.assertEqual(["layer"], self.layers("lab/a.c", '#include "db/db.h"\n'))
        self.assertEqual(["door"], self.layers("lab/a.c", '#include "sst/block.h"\n'))
        self.assertEqual([], self.layers("tools/a.c", '#include "lab/iolab.h"\n'))
        self.assertEqual(["door"], self.layers("tools/a.c", '#include "lab/lab.h"\n'))
        self.assertEqual(["door"], self.layers("src/db/a.c", '#include "lab/iolab.h"\n'))

    # Dead links, dead headings, dead paths, and a table of errors that is behind are found.
    def test_documents(self):
        status = 'X(NOKV_OK, 0, "success")\n'
        table = "| code | number | meaning |\n| --- | ---: | --- |\n| `NOKV_OK` | 0 | success |\n\n### NOKV_OK\n"
        files = {"include/nokv/status.h": status, "docs/errors.md": table, "docs/dependencies.md": "`gcc`\n",
                 "cmake/packages.txt": "build gcc why\n"}
        self.assertEqual([], self.rules(docs_check.check_tree, files))
        self.assertEqual([], self.rules(docs_check.check_tree, {**files, "a.md": "# One two\n[x](docs/errors.md) [y](#one-two)\n"}))
        self.assertEqual(["link"], self.rules(docs_check.check_tree, {**files, "a.md": "[x](docs/none.md)\n"}))
        self.assertEqual(["link"], self.rules(docs_check.check_tree, {**files, "a.md": "[x](docs/errors.md#none)\n"}))
        self.assertEqual(["path"], self.rules(docs_check.check_tree, {**files, "a.md": "`src/none.c`\n"}))
        self.assertEqual(["errors"], self.rules(docs_check.check_tree, {**files, "docs/errors.md": "### NOKV_OK\n"}))
        self.assertEqual(["errors"], self.rules(docs_check.check_tree, {**files, "docs/errors.md": table.replace("###", "##")}))
        self.assertEqual(["package"], self.rules(docs_check.check_tree, {**files, "docs/dependencies.md": "\n"}))


if __name__ == "__main__":
    unittest.main()
