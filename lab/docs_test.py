#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs_test.py - the rules of docs_results.py and the marks of docs_tables.py, on results that are checked in the head."""
import copy
import json
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import docs_results as rules  # noqa: E402
import docs_tables as tables  # noqa: E402
from docs_claims import CLAIMS  # noqa: E402


def contender(name, rounds, model="std", option=None, figure="ops_per_sec"):
    """A contender with these figures, one per round; without any it has failed."""
    made = {"name": name, "model": model, "rounds": [{figure: v, "us_p50": 1.23456789} for v in rounds]}
    if option:
        made["option"] = option
    if rounds:
        made.update(median=sorted(rounds)[len(rounds) // 2], least=min(rounds), most=max(rounds), part_of_best=1.0)
    else:
        made["failed"] = "refused"
    return made


def row(group, label, *contenders, figure="ops_per_sec", more=True):
    return {"part": 1, "group": group, "label": label, "note": "a note", "figure": figure, "more_is_better": more,
            "memory_limited": False, "skipped": False, "verified_bytes": 1 << 30, "wrong": 0,
            "contenders": list(contenders)}


def results(*rows, default="std"):
    verdict = {"component": "tables", "option": "sst_read", "best": "mmap", "default": default, "text": "mmap is it",
               "scores": {"mmap": 1.0, "std": 0.5}}
    return {"version": 1, "date": "today", "machine": "a machine", "seed": 7, "size_bytes": 1 << 20,
            "memory_bytes": 1 << 20, "rounds": 3, "seconds": 1.0, "cgroup": {"version": 0, "why_not": "no right"},
            "rows": list(rows), "verdicts": [verdict]}


HOT = ("page", "hot")
FAST = contender("mapped", [200, 220, 210], "mmap", "mmap")
SLOW = contender("copied", [100, 120, 110], "std", "std")
NOISY = contender("noisy", [90, 400, 230], "uring", "uring")
ABSENT = contender("absent", [], "direct", "direct")


def sign(check, *rows, **terms):
    return check(rules.Results(results(*rows, **terms)))[0]


class Rules(unittest.TestCase):
    def test_beats(self):
        """Better is better in every round: a contender that lost one of them, or that is another's equal, has not won."""
        hot = row(*HOT, FAST, SLOW, NOISY, ABSENT)
        self.assertEqual("+", sign(rules.beats(HOT, "mapped", "copied"), hot))
        self.assertEqual("-", sign(rules.beats(HOT, "copied", "mapped"), hot))
        self.assertEqual("~", sign(rules.beats(HOT, "noisy", "mapped"), hot))
        self.assertEqual("~", sign(rules.beats(HOT, "mapped"), hot), "the best of the other models is the noisy one")
        self.assertEqual("?", sign(rules.beats(HOT, "absent", "mapped"), hot))
        self.assertEqual("?", sign(rules.beats(HOT, "mapped", "absent"), hot))

    def test_little_better(self):
        """What is a little better in every round counts if there are five of them and it is more than 2 %."""
        for percent, rounds, said in ((10, 5, "+"), (1, 5, "~"), (10, 3, "~"), (30, 3, "+")):
            base = [100 + i for i in range(rounds)]
            both = row(*HOT, contender("a", [v * (100 + percent) / 100 for v in base], "mmap"), contender("b", base))
            self.assertEqual(said, sign(rules.beats(HOT, "a", "b"), both), (percent, rounds))
            self.assertEqual("-" if said == "+" else "~", sign(rules.beats(HOT, "b", "a"), both), (percent, rounds))

    def test_less_is_better(self):
        """Of times the smaller wins, and nothing is infinitely better than something."""
        quick = contender("quick", [0, 0, 0], "mmap", figure="calls_per_op")
        calls = row("costs", "calls", quick, contender("calls", [1, 1, 1], figure="calls_per_op"),
                    figure="calls_per_op", more=False)
        self.assertEqual("+", sign(rules.beats(("costs", "calls"), "quick", "calls"), calls))
        self.assertEqual("-", sign(rules.beats(("costs", "calls"), "calls", "quick"), calls))
        self.assertEqual("+", sign(rules.within(("costs", "calls"), "quick", 0, 0), calls))
        self.assertEqual("-", sign(rules.within(("costs", "calls"), "calls", 0, 0), calls))
        self.assertIn("over 999 times", rules.beats(("costs", "calls"), "quick", "calls")(
            rules.Results(results(calls)))[1])

    def test_as_good_as(self):
        """As good as another is 90 % of it; less is refuted only when it was less in every round."""
        hot = row(*HOT, FAST, SLOW, NOISY)
        self.assertEqual("-", sign(rules.not_behind(HOT, "copied", "mapped"), hot))
        self.assertEqual("+", sign(rules.not_behind(HOT, "copied", "mapped", part=0.5), hot))
        self.assertEqual("+", sign(rules.not_behind(HOT, "mapped", "noisy"), hot))
        self.assertEqual("~", sign(rules.not_behind(HOT, "copied", "noisy"), hot))
        self.assertEqual("-", sign(rules.same(HOT, "mapped", "copied"), hot))
        self.assertEqual("+", sign(rules.same(HOT, "mapped", "noisy"), hot))
        self.assertEqual("~", sign(rules.same(HOT, "copied", "noisy"), hot))

    def test_rows_apart(self):
        """Rounds of different rows are no pairs: all of one must be above all of the other."""
        rows = [row(*HOT, FAST, NOISY), row("page", "two", SLOW)]
        self.assertEqual("+", sign(rules.apart(HOT, "mapped", ("page", "two"), "copied"), *rows))
        self.assertEqual("-", sign(rules.apart(("page", "two"), "copied", HOT, "mapped"), *rows))
        self.assertEqual("~", sign(rules.apart(HOT, "noisy", ("page", "two"), "copied"), *rows))

    def test_default(self):
        """A claim about a default follows the default that the results name; one that was not measured is no answer."""
        check = rules.within(HOT, "=default:sst_read", 190, 230)
        self.assertEqual("-", sign(check, row(*HOT, FAST, SLOW)))
        self.assertEqual("+", sign(check, row(*HOT, FAST, SLOW), default="mmap"))
        self.assertEqual("?", sign(check, row(*HOT, FAST, SLOW), default="auto"))

    def test_best_option(self):
        """Over rows: near the best in all, or not, and refuted where it was behind in every round."""
        rows = [row(*HOT, FAST, SLOW), row("page", "cold", FAST, SLOW)]
        keys = [HOT, ("page", "cold")]
        self.assertEqual("+", sign(rules.best_option(keys, "=mmap"), *rows))
        self.assertEqual("-", sign(rules.best_option(keys, "=std"), *rows))

    def test_verdict(self):
        """What the figures of a claim say together."""
        for signs, said in {"++": "supported", "+?": "supported as far as measured", "+~": "in part", "+-": "in part",
                            "~~": "within the noise", "~-": "refuted", "--": "refuted", "??": "not measured"}.items():
            self.assertEqual(said, rules.verdict(list(signs)), signs)

    def test_refused(self):
        """A row that is gone, and results of another version, are errors and not answers."""
        with self.assertRaises(rules.ResultsError):
            sign(rules.beats(("page", "gone"), "a", "b"), row(*HOT, FAST))
        with self.assertRaises(rules.ResultsError):
            rules.Results({**results(), "version": 2})


class Document(unittest.TestCase):
    def setUp(self):
        self.results = rules.Results(results(row(*HOT, FAST, SLOW, ABSENT)))

    def test_made_anew(self):
        """What is between marks is replaced, the rest is kept, and a second time changes nothing."""
        text = "# T\n\n<!-- iolab:begin figures page -->\nold\n<!-- iolab:end -->\n\nIt is " \
               "<!-- iolab:value page; hot; =std -->9<!-- /iolab -->, <!-- iolab:value default sst_read --><!-- /iolab -->.\n"
        made = tables.regenerate(self.results, text)
        self.assertNotIn("old", made)
        self.assertIn("| mapped | **210/s** |", made)
        self.assertIn("| absent | – |", made)
        self.assertIn("-->110/s<!-- /iolab -->, <!-- iolab:value default sst_read -->std<", made)
        self.assertEqual(made, tables.regenerate(self.results, made))

    def test_side_by_side(self):
        """The same row of several groups is one table; the best of each column is in bold, a lost contender is a dash."""
        both = rules.Results(results(row("value of 1", "hot", FAST, SLOW), row("value of 2", "hot", SLOW, ABSENT),
                                     row("value of 2", "cold", SLOW)))
        made = tables.part(both, "states value of; hot")
        self.assertEqual(["| value of ..., hot | 1 | 2 |", "| --- | --- | --- |", "| mapped | **210/s** | – |",
                          "| copied | 110/s | **110/s** |", "| absent | – | – |", "", "A note."], made)

    def test_bad_marks(self):
        """A mark that is not closed, not known or misspelt is an error with its line, not text that goes stale."""
        for text in ("<!-- iolab:begin terms -->\n", "<!-- iolab:end -->\n", "nothing is marked\n",
                     "<!-- iolab:begin nonsense -->\n<!-- iolab:end -->\n",
                     "<!-- iolab:begin claims nonsense -->\n<!-- iolab:end -->\n",
                     "<!-- iolab:begin figures nonsense -->\n<!-- iolab:end -->\n",
                     "<!-- iolab:begin states page; nonsense -->\n<!-- iolab:end -->\n",
                     "<!-- iolab:begin terms -->\n<!-- iolab:end -->\n<!-- iolab:value default sst_read -->std\n",
                     "<!-- iolab:begin terms -->\n<!-- iolab:end -->\n <!-- iolab:begin terms -->\n",
                     "<!-- iolab:begin terms -->\n<!-- iolab:begin terms -->\n<!-- iolab:end -->\n",
                     "<!-- iolab:begin terms -->\n<!-- iolab:end -->\n| <!-- iolab:value a|b -->1<!-- /iolab --> |\n",
                     "<!-- iolab:begin terms -->\n<!-- iolab:end -->\n"
                     "<!-- iolab:value default sst_read -->std<!-- /iolab -->\n",
                     "<!-- iolab:begin terms -->\n<!-- iolab:end -->\n<!-- iolab:value hot -->1<!-- /iolab -->\n"):
            with self.assertRaises(tables.DocumentError, msg=text):
                tables.regenerate(self.results, text)

    def test_check(self):
        """--check finds a figure that was changed by hand, says where, and writes nothing."""
        with tempfile.TemporaryDirectory() as folder:
            document, source = os.path.join(folder, "d.md"), os.path.join(folder, "r.json")
            with open(source, "w", encoding="utf-8") as file:
                json.dump(self.results.data, file)
            text = tables.regenerate(self.results, "<!-- iolab:begin figures page -->\n<!-- iolab:end -->\n")
            for content, status in ((text, 0), (text.replace("210", "310"), 1)):
                with open(document, "w", encoding="utf-8") as file:
                    file.write(content)
                with open(os.devnull, "w", encoding="utf-8") as nowhere:
                    stdout, sys.stdout = sys.stdout, nowhere
                    try:
                        self.assertEqual(status, tables.main([source, document, "--check"]))
                    finally:
                        sys.stdout = stdout
                with open(document, encoding="utf-8") as file:
                    self.assertEqual(content, file.read())

    def test_reduced(self):
        """Reduced results lose the figures that no row asks for, and no verdict changes."""
        reduced = json.loads(tables.dumped(tables.reduce(copy.deepcopy(self.results.data))))
        self.assertNotIn("us_p50", json.dumps(reduced))
        for check in (rules.beats(HOT, "mapped", "copied"), rules.within(HOT, "absent", 0, 1)):
            self.assertEqual(check(self.results), check(rules.Results(reduced)))

    def test_remark(self):
        """What has to be known of a run is shown with its terms, and nothing where there is nothing."""
        self.assertEqual(1, len(tables.part(self.results, "terms")))
        self.assertIn("**Of this run:** It was a noisy day.",
                      tables.part(rules.Results({**self.results.data, "remark": "it was a noisy day"}), "terms"))

    def test_claims_are_told_apart(self):
        """No two claims of a component have the same text, and each is tested by something."""
        for component, claims in CLAIMS.items():
            texts = [c.text for c in claims]
            self.assertEqual(len(texts), len(set(texts)), component)
            self.assertTrue(all(c.checks and c.where for c in claims), component)


if __name__ == "__main__":
    unittest.main()
