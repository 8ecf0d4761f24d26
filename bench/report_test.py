#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""report_test.py NOKV_BENCH - `nokv-bench report` and docs_tables.py on small results files.

report_test.jsonl is a results file with figures that can be checked in the head, report_test.md what is printed of it
(nokv-bench report bench/report_test.jsonl > bench/report_test.md, after a look at the difference). All other results are
made here.
"""
import html.parser
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

BENCH = ""
HERE = os.path.dirname(os.path.abspath(__file__))
HOSTILE = "</title><script>alert('1')</script>\"><img src=x onerror=\"alert(2)\"> | `x` **y** [z](http://e.org) &lt;\n\t# h"


def record(engine="nokv", workload="readhit", rate=1000.0, **fields):
    """A record with all that is needed; a field that is given as None is left out."""
    base = {"engine": engine, "version": "1", "workload": workload, "after": "fillrandom", "generation": 0, "round": 1,
            "keys": 1000, "value_size": 100, "threads": 1, "memory_bytes": 256 << 20, "filter_bits": 10, "ops": 1000,
            "seconds": 1.0, "ops_per_sec": rate, "p50_us": 1.0, "p99_us": 2.0, "p999_us": 3.0, "max_us": 4.0}
    base.update(fields)
    return {name: value for name, value in base.items() if value is not None}


class Page(html.parser.HTMLParser):
    """Tags, attributes and text of a page; unbalanced tags are an error."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], "", []
        self.feed(text)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> ends {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data):
        self.text += data


class ReportTest(unittest.TestCase):
    def setUp(self):
        self.holder = tempfile.TemporaryDirectory()
        self.addCleanup(self.holder.cleanup)

    def path(self, name):
        return os.path.join(self.holder.name, name)

    def write(self, records, name="results.jsonl"):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.writelines((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records)
        return self.path(name)

    def run_bench(self, *arguments):
        return subprocess.run([BENCH, "report", *arguments], capture_output=True, text=True, encoding="utf-8",
                              check=False)

    def report(self, *arguments):
        result = self.run_bench(*arguments)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        return result.stdout

    def refused(self, *arguments):
        result = self.run_bench(*arguments)
        self.assertEqual((result.returncode, result.stdout), (2, ""))
        return result.stderr

    def summary(self, *records):
        self.report(self.write(records), "--json", self.path("json"))
        with open(self.path("json"), encoding="utf-8") as file:
            return json.load(file)

    def page(self, *files):
        self.report(*files, "--html", self.path("page"))
        with open(self.path("page"), encoding="utf-8") as file:
            return file.read()

    def row(self, text, start):
        rows = [line for line in text.splitlines() if line.startswith(f"| {start} |")]
        self.assertTrue(rows, f"no row of {start}")
        return [cell.strip() for cell in re.split(r"(?<!\\)\|", rows[0])[1:-1]]

    def test_prints_what_it_printed_before(self):
        with open(os.path.join(HERE, "report_test.md"), encoding="utf-8") as file:
            self.assertEqual(self.report(os.path.join(HERE, "report_test.jsonl")), file.read())

    def test_medians_of_odd_and_even_counts(self):
        rates = {"nokv": [100.0, 900.0, 300.0], "lmdb": [10.0, 40.0, 20.0, 30.0]}
        summary = self.summary(*(record(engine, rate=rate, round=number) for engine in rates
                                 for number, rate in enumerate(rates[engine], 1)))
        engines = summary["chapters"][0]["rows"][0]["engines"]
        self.assertEqual((engines["nokv"]["ops_per_sec"], engines["lmdb"]["ops_per_sec"]), (300, 25))

    def test_ratios_are_taken_round_by_round_against_the_best_of_that_round(self):
        summary = self.summary(record(rate=100.0), record("a", rate=50.0), record("b", rate=20.0),
                               record(rate=300.0, round=2), record("a", rate=30.0, round=2),
                               record("b", rate=60.0, round=2), record(rate=90.0, round=3),
                               record("a", rate=10.0, round=3), record("b", rate=30.0, round=3))
        self.assertEqual(summary["chapters"][0]["rows"][0]["ratio_to_best_peer"],
                         {"median": 3, "low": 2, "high": 5, "rounds": 3, "best_peers": ["b", "a"]})

    def test_a_round_without_its_peer_makes_no_ratio(self):
        summary = self.summary(record(rate=100.0), record("a", rate=50.0), record(rate=1000.0, round=2))
        self.assertEqual(summary["chapters"][0]["rows"][0]["ratio_to_best_peer"]["rounds"], 1)

    def test_other_set_ups_of_nokv_are_no_peers(self):
        summary = self.summary(record(rate=100.0), record("nokv-direct", rate=400.0), record("a", rate=50.0))
        self.assertEqual(summary["chapters"][0]["rows"][0]["ratio_to_best_peer"]["best_peers"], ["a"])

    def test_repeated_files_are_more_rounds(self):
        first = self.write([record(rate=100.0), record("a", rate=50.0)], "one")
        second = self.write([record("a", rate=100.0), record(rate=400.0)], "two")
        row = self.row(self.report(first, second, "--tables", "rates"), "readhit")
        self.assertEqual(row[1:], ["250", "75", "3.00 (2.00 to 4.00)", "a"])

    def test_data_sets_are_chapters_and_can_be_chosen(self):
        path = self.write([record(), record(value_size=65536), record(value_sizes="mixed"), record(memory_bytes=1 << 20),
                           record(value_sizes="mixed", value_size=0)])
        text = self.report(path)
        self.assertEqual(re.findall("^## (.*)$", text, re.MULTILINE),
                         ["1000 × 100 B, memory budget 256 MiB", "1000 × 64 KiB, memory budget 256 MiB",
                          "1000 × mixed sizes, about 100 B, memory budget 256 MiB",
                          "1000 × 100 B, memory budget 1 MiB", "1000 × mixed sizes, memory budget 256 MiB"])
        self.assertIn("values of 65536 bytes", self.report(path, "--chapter", "1000x65536-256MiB", "--tables", "terms"))
        self.assertIn("1000xmixed100-256MiB, 1000x100-1MiB, 1000xmixed-256MiB", self.refused(path, "--chapter", "nothing"))

    def test_a_memory_limit_makes_a_chapter_of_its_own(self):
        limited = {"memory_limit_bytes": 1 << 30, "after": "cold"}
        machine = {"cpus": 2, "cpu": "c", "memory_bytes": 1 << 34, "read_ahead_bytes": 131072}
        path = self.write([record(workload="fillrandom", after=""),
                           record(major_faults_per_op=0.5, device_read_bytes_per_op=5000.4, machine=machine, **limited),
                           record("a", memory_note="swap could not be limited", **limited)])
        text = self.report(path)
        self.assertEqual(re.findall("^## (.*)$", text, re.MULTILINE),
                         ["1000 × 100 B, memory budget 256 MiB", "1000 × 100 B in 1 GiB, memory budget 256 MiB"])
        text = self.report(path, "--chapter", "1000x100-256MiB-in1024MiB", "--tables", "terms,warnings,device")
        self.assertIn("the process has 1 GiB of memory, page cache included, and was opened cold;", text)
        self.assertIn("read-ahead of the device 128 KiB", text)
        self.assertIn("**Memory limit:** swap could not be limited.", text)
        self.assertEqual(self.row(text, "readhit after cold"), ["readhit after cold", "5000 / 0.50", "-"])
        summary = self.summary(record(**limited))
        self.assertEqual(summary["chapters"][0]["memory_limit_bytes"], 1 << 30)

    def test_reads_after_cold_are_rows_of_their_own(self):
        text = self.report(self.write([record(), record(workload="cold", after="cold", ops=1, p50_us=0),
                                       record(after="cold", rate=10.0)]))
        self.assertEqual((self.row(text, "readhit")[1], self.row(text, "readhit after cold")[1]), ("1.0 k", "10"))
        self.assertIn("| cold | 1.00 s |", text)
        self.assertIn("all data in the page cache, but after cold;", text)

    def test_goals_under_a_limit_are_a_table_of_their_own(self):
        limited = {"memory_limit_bytes": 1 << 30, "after": "cold", "value_size": 1000}
        records = [record(rate=120.0, **limited), record("a", rate=100.0, **limited),
                   record(rate=120.0, threads=16, **limited), record("a", rate=100.0, threads=16, **limited),
                   record(workload="multiget", rate=7.5, **limited), record("a", workload="multiget", rate=9.0, **limited)]
        path = self.write(records)
        text = self.report(path, "--tables", "goals", "--html", self.path("page"))
        self.assertNotIn("Goals: ", text)
        self.assertIn("Goals, larger than memory: ", text)
        self.assertEqual(self.row(text, "read hit")[1:5],
                         ["reached", "1.20 × a (1.20 to 1.20)", "1000 × 1000 B in 1 GiB", "at least 1.15 × best peer"])
        self.assertEqual(self.row(text, "read hit, 16 threads")[1], "**missed**")
        self.assertEqual(self.row(text, "keys in batches of 64, to single gets")[1:],
                         ["reached", "4.00 × own gets", "1000 × 1000 B in 1 GiB", "at least 4.0 × own gets", "-",
                          "4.00 × own gets", "5.76 × own gets"])
        with open(self.path("page"), encoding="utf-8") as file:
            self.assertIn("larger than memory", file.read())

    def test_terms_are_those_of_each_version(self):
        path = self.write([record(terms="mapped"), record(workload="scan"), record(version="2", terms="copied", round=2),
                           record("a"), record("a", workload="scan")])
        self.assertEqual(self.report(path, "--tables", "engines"),
                         "- **nokv** 1: mapped\n- **nokv** 2: copied\n- **a** 1\n")

    def test_missing_and_null_fields_are_dashes(self):
        bare = {"engine": "nokv", "workload": "readhit", "keys": 10, "value_size": 8}
        full = record("lmdb", keys=10, value_size=8, memory_bytes=None, filter_bits=None, after="",
                      syscalls_per_op=1.5)
        path = self.write([bare, full, dict(full, engine="null", ops_per_sec=None)])
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(dict(full, engine="void")).replace("1000.0", "null") + "\n\n")
        text = self.report(path)
        self.assertEqual(self.row(text, "readhit"), ["readhit", "-", "1.0 k", "-", "-", "-", "-"])
        self.assertIn("| readhit | - | 1.50 / - / - | 1.50 / - / - | 1.50 / - / - |", text)
        self.page(path)

    def test_unknown_fields_and_workloads_are_taken(self):
        path = self.write([record(workload="later", news={"a": [1]}), record("a", workload="later", rate=500.0),
                           record(workload="pause", ops=1, seconds=0.25, p50_us=0, p99_us=0, p999_us=0, max_us=0)])
        text = self.report(path)
        self.assertEqual(self.row(text, "later")[3], "2.00 (2.00 to 2.00)")
        self.assertIn("| pause after fillrandom | 0.25 s |", text)

    def test_bad_lines_are_refused_with_file_and_line(self):
        whole = json.dumps(record())
        for line, reason in ((whole[:-20], "not JSON"), ("{}", "engine: missing"), ("[1]", "not an object"),
                             ("nokv 12", "not JSON"), (json.dumps(record(engine=3)), "engine: not a string"),
                             (json.dumps(record(ops_per_sec="fast")), "ops_per_sec: not a number"),
                             (json.dumps(record(keys=-1)), "keys: not a whole"),
                             (json.dumps(record(keys=1.5)), "keys: not a whole"),
                             (json.dumps(record(value_size=None)), "value_size: missing"),
                             (json.dumps(record(value_sizes="some")), "value_sizes"),
                             (json.dumps(record(machine=7)), "machine"),
                             (json.dumps(record(memory_limit_bytes=-1)), "memory_limit_bytes: not a whole"),
                             (json.dumps(record(latency_us=[[0.9, 1], [0.5, 2]])), "latency_us"),
                             (json.dumps(record(latency_us=[[0.5, 1, 2]])), "latency_us"),
                             (json.dumps(record(latency_us=[[2, 1]])), "latency_us"),
                             (whole[:-1] + ',"engine":"twice"}', "not JSON"), (whole + "\0", "not JSON")):
            with self.subTest(line=line):
                error = self.refused(self.write([record(), line]))
                self.assertIn(f"{self.path('results.jsonl')}:2: ", error)
                self.assertIn(reason, error)

    def test_a_truncated_last_line_is_refused(self):
        path = self.path("cut")
        with open(path, "w", encoding="utf-8") as file:
            file.write(json.dumps(record()) + "\n" + json.dumps(record())[:100])
        self.assertIn("cut:2: not JSON", self.refused(path))

    def test_bad_commands_are_refused(self):
        path = self.write([record()])
        self.assertIn("No such file", self.refused(self.path("nothing")))
        self.assertIn("no results", self.refused(self.write([], "empty")))
        self.assertIn("no results", self.refused())
        self.assertIn('no table "b"', self.refused(path, "--tables", "rates,b"))
        self.assertIn("--html: its value", self.refused(path, "--html"))
        self.assertIn("no option --x", self.refused(path, "--x"))
        self.assertEqual(self.run_bench(path, "--html", self.path("no/page")).returncode, 2)

    def test_a_negative_figure_without_its_sign_is_read_as_what_it_was(self):
        summary = self.summary(record(device_bytes=2**64 - 4096), record("a", device_bytes=-4096))
        engines = summary["chapters"][0]["rows"][0]["engines"]
        self.assertEqual((engines["nokv"]["device_bytes"], engines["a"]["device_bytes"]), (-4096, -4096))

    def test_goals_are_judged_in_words(self):
        fill = {"workload": "fillrandom", "after": ""}
        goals = self.summary(record(rate=100.0, p999_us=1.0, max_us=1.0, **fill),
                             record("a", rate=60.0, p999_us=1.5, max_us=40.0, **fill),
                             record(rate=100.0), record("a", rate=50.0), record(workload="seek50", rate=100.0),
                             record(workload="seek50", rate=300.0, round=2), record("a", workload="seek50", rate=80.0),
                             record("a", workload="seek50", rate=400.0, round=2),
                             record(workload="ycsba", rate=5.0), record(workload="seek50", value_size=1000),
                             record("a", workload="seek50", value_size=1000))["goals"]
        self.assertEqual({goal["goal"]: (goal["verdict"], goal["reached"]) for goal in goals},
                         {"random fill": ("missed", "1.67 × a (1.67 to 1.67)"),
                          "p99.9 of puts, random fill": ("reached", "0.67 × a (0.67 to 0.67)"),
                          "longest put, random fill": ("aim reached", "0.03 × a (0.03 to 0.03)"),
                          "read hit": ("aim reached", "2.00 × a (2.00 to 2.00)"),
                          "seek and 50 next": ("reached, not in each round", "1.00 × a (0.75 to 1.25)"),
                          "scan (seek50)": ("reached", "1.00 × a (1.00 to 1.00)")})

    def test_hostile_texts_stay_texts_in_the_page(self):
        long = "long-" + "n" * 3000
        machine = {"cpu": HOSTILE, "kernel": HOSTILE, "filesystem": HOSTILE, "cpus": 1, "memory_bytes": 1}
        path = self.write([record(rate=2.0), record(HOSTILE, version=HOSTILE, terms=HOSTILE, machine=machine),
                           record(HOSTILE, workload=HOSTILE, after=HOSTILE + "2"), record(long), record("\u00e9" * 40)])
        text = self.page(path)
        page = Page(text)
        self.assertEqual({"script", "img", "link", "iframe", "object"} & set(page.tags), set())
        self.assertEqual([a for a in page.attributes if a[0].startswith("on") or a[0] in ("src", "style")], [])
        self.assertTrue(all(a[1].startswith("#") for a in page.attributes if a[0] == "href"))
        self.assertIn("<script>alert('1')</script>", page.text)
        self.assertNotIn("url(", text)
        self.assertNotIn("@import", text)
        self.assertIn("…", page.text)
        for svg in re.findall("<svg.*?</svg>", text, re.DOTALL):
            tree = xml.etree.ElementTree.fromstring(svg)
            for label in tree.iter("text"):
                self.assertLess(len(label.text), 60)

    def test_hostile_texts_stay_texts_in_markdown(self):
        text = self.report(self.write([record(), record(HOSTILE, version=HOSTILE, terms=HOSTILE)]))
        self.assertNotRegex(text, r"<\w|(?<!\\)\[z|^# h")
        header = [line for line in text.splitlines() if line.startswith("| workload |")][0]
        self.assertEqual(len(re.split(r"(?<!\\)\|", header)), 7)  # four cells, the bars in the name not counted

    def test_curves_are_medians_by_quantile(self):
        curves = ([[0.5, 1], [0.99, 10], [1, 100]], [[0.5, 3], [0.99, 30], [1, 300]], [[0.5, 2], [0.99, 20], [1, 200]])
        path = self.write([record(latency_us=curve, round=number) for number, curve in enumerate(curves, 1)])
        text = self.page(path)
        for tip in ("nokv: 50 % within 2 µs", "nokv: 99 % within 20 µs", "nokv: longest 200 µs"):
            self.assertIn(f"<title>{tip}</title>", text)

    def test_a_page_of_old_results_has_curves_too(self):
        self.assertIn("nokv: 99.9 % within 3 µs", self.page(self.write([record()])))

    def test_an_engine_has_one_colour_in_all_charts(self):
        text = self.page(self.write([record(), record("a"), record("b"), record(keys=5), record("b", keys=5)]))
        for name, colour in (("nokv", "e0"), ("a", "e1"), ("b", "e2")):
            bars = re.findall(f'<title>{name}: [^<]*</title><text[^>]*>{name}</text><rect class="([^"]*)"', text)
            self.assertEqual(bars, [colour] * (1 if name == "a" else 2))

    def test_the_page_is_well_formed(self):
        page = Page(self.page(os.path.join(HERE, "report_test.jsonl")))
        anchors = {a[1] for a in page.attributes if a[0] == "id"}
        self.assertEqual({a[1][1:] for a in page.attributes if a[0] == "href"} - anchors, set())
        self.assertIn("nokv 3.00×", page.text)  # the rate of NoKV to that of rocksdb in the median of the rounds
        self.assertIn("more is better", page.text)

    def test_ten_thousand_lines(self):
        records = [record(engine, workload=workload, rate=float(number), round=number)
                   for number in range(1, 1251) for engine in ("nokv", "a", "b", "c")
                   for workload in ("readhit", "readmiss")]
        path = self.write(records)
        row = self.row(self.report(path, "--html", self.path("page")), "readhit")
        self.assertEqual(row[1:], ["626", "626", "626", "626", "1.00 (1.00 to 1.00)", "a"])
        many = self.write([record(workload=f"w{number}", after="") for number in range(10000)], "many")
        self.assertIn("| w9999 | 1.0 k |", self.report(many, "--json", self.path("json")))

    def test_too_many_engines_are_refused(self):
        self.assertIn("more than 64 engines", self.refused(self.write([record(f"e{n}") for n in range(65)])))


class DocumentTest(unittest.TestCase):
    RESULTS = os.path.join(HERE, "report_test.jsonl")

    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.document = os.path.join(holder.name, "document.md")

    def tables(self, text, *arguments):
        with open(self.document, "w", encoding="utf-8") as file:
            file.write(text)
        result = subprocess.run([sys.executable, os.path.join(HERE, "docs_tables.py"), BENCH, self.document, *arguments],
                                capture_output=True, text=True, encoding="utf-8", check=False)
        with open(self.document, encoding="utf-8") as file:
            return result, file.read()

    def marked(self, command, between=""):
        return f"before\n<!-- generated by: {command} -->\n{between}<!-- end -->\nbehind\n"

    def test_writes_what_the_report_prints_and_finds_what_differs(self):
        text = self.marked(f"nokv-bench report {self.RESULTS} --tables rates")
        result, made = self.tables(text, "--check")
        self.assertEqual((result.returncode, made), (1, text))
        self.assertIn("+| workload |", result.stdout)
        result, made = self.tables(text)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertRegex(made, r"(?s)^before\n.*\n\| readhit, 2 threads \| 5.0 k \|.*\n<!-- end -->\nbehind\n$")
        self.assertEqual(self.tables(made, "--check")[0].returncode, 0)
        self.assertEqual(self.tables(made.replace("5.0 k", "6.0 k"), "--check")[0].returncode, 1)

    def test_refuses_what_it_cannot_make(self):
        for text in ("nothing marked\n", "<!-- end -->\n", self.marked("rm -r /nothing"), self.marked("nokv-bench run"),
                     self.marked(f"nokv-bench report {self.RESULTS} --html {self.document}"),
                     self.marked("nokv-bench report /nothing"), self.marked("nokv-bench report x").replace("<!-- end -->", ""),
                     self.marked(f"nokv-bench report {self.RESULTS}", "<!-- generated by: x -->\n")):
            with self.subTest(text=text):
                result, left = self.tables(text)
                self.assertEqual((result.returncode, left), (1, text))
                self.assertTrue(result.stderr)


if __name__ == "__main__":
    BENCH = os.path.abspath(sys.argv.pop(1))
    unittest.main()
