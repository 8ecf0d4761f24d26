# SPDX-License-Identifier: Apache-2.0
"""What `nokv iolab --json` found, and whether that supports a claim.

A check looks at one or two rows and says a sign and a text. The signs:

    +  as claimed: in every round of the row, and by more than 2 % in the median (20 % with less than five rounds)
    -  the opposite, by the same rule
    ~  neither: within the noise of this run
    ?  not measured in this run

"Every round" is the rule of the tool's own summary (lab_row_always_better): the contenders of a row take turns, so round
n of one belongs to round n of the other. Of two that are equal one wins all of n rounds once in 2^n: two or three rounds
alone decide too easily, hence the 20 %. Rounds of different rows do not belong together; there all of one row must be
above all of the other.

A contender is named as in the results; "=direct" is the one that stands for that value of the row's option, and
"=default:vlog_read" the one that stands for the default of an option.
"""
import json
import math

TIE_RATIO = 1.02      # as lab/iolab_result.c
ROUNDS_ENOUGH = 5
FEW_RATIO = 1.2       # what decides with fewer
NEAR = 0.9            # what is no worse than this part of something counts as good as it
RATIO_MAX = 9999.0
MODEL_NAMES = {"std": "standard I/O", "mmap": "mmap", "direct": "O_DIRECT", "uring": "io_uring", "auto": "a choice"}


class ResultsError(Exception):
    pass


def is_number(value):
    return isinstance(value, (int, float)) and math.isfinite(value)


def ratio_of(a, b, more):
    """How many times better a is than b; more: the larger is the better."""
    good, bad = (a, b) if more else (b, a)
    if good == bad:
        return 1.0
    if bad <= 0:
        return RATIO_MAX
    return min(max(good / bad, 1 / RATIO_MAX), RATIO_MAX)


def rate_text(value, unit):
    if value >= 1e6:
        return f"{value / 1e6:.2f} M{unit}"
    if value >= 1e4:
        return f"{value / 1e3:.1f} k{unit}"
    return f"{value:.0f}{unit}"


def figure_text(value, figure):
    """As lab_figure_text in lab/iolab_result.c."""
    if not is_number(value):
        return "–"
    if figure == "ops_per_sec":
        return rate_text(value, "/s")
    if figure == "mb_per_sec":
        return f"{value:.{1 if value < 100 else 0}f} MB/s"
    if figure == "kept_percent":
        return f"{value:.1f} %"
    if figure in ("calls_per_op", "major_faults_per_op"):
        return f"{value:.3f}".rstrip("0").rstrip(".") if value < 10 else f"{value:.0f}"
    if value >= 1e4:
        return f"{value / 1e3:.1f} ms"
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} µs"


def times_text(ratio):
    return "over 999 times" if ratio > 999 else f"{ratio:.{0 if ratio >= 10 else 1 if ratio >= 2 else 2}f} times"


class Contender:
    def __init__(self, row, data):
        self.row, self.name, self.model = row, data["name"], data["model"]
        self.option, self.failed = data.get("option"), data.get("failed")
        self.median = data.get("median")
        self.rounds = [r[row.figure] for r in data["rounds"] if row.figure in r]

    @property
    def is_measured(self):
        return is_number(self.median) and bool(self.rounds)

    def text(self):
        return figure_text(self.median, self.row.figure)

    def is_always_better(self, other):
        pairs = list(zip(self.rounds, other.rounds))
        return bool(pairs) and all(ratio_of(a, b, self.row.more) > 1 for a, b in pairs)

    def sign_against(self, other):
        ratio = ratio_of(self.median, other.median, self.row.more)
        least = TIE_RATIO if min(len(self.rounds), len(other.rounds)) >= ROUNDS_ENOUGH else FEW_RATIO
        if ratio >= least and self.is_always_better(other):
            return "+"
        if ratio <= 1 / least and other.is_always_better(self):
            return "-"
        return "~"


class Row:
    def __init__(self, data):
        self.group, self.label, self.part = data["group"], data["label"], data["part"]
        self.figure, self.more = data["figure"], data["more_is_better"]
        self.note, self.is_skipped, self.wrong = data["note"], data["skipped"], data["wrong"]
        self.contenders = [Contender(self, c) for c in data["contenders"]]

    @property
    def title(self):
        return f"{self.group}, {self.label}"

    def best(self, contenders):
        """The best by median of those that were measured, or None."""
        measured = [c for c in contenders if c.is_measured]
        pick = max if self.more else min
        return pick(measured, key=lambda c: c.median) if measured else None


class Results:
    def __init__(self, data):
        if data.get("version") != 1:
            raise ResultsError(f"results of version {data.get('version')}; this program knows version 1")
        self.data = data
        self.rows = {(r["group"], r["label"]): Row(r) for r in data["rows"]}
        self.verdicts = {v["option"]: v for v in data["verdicts"]}

    def row(self, key):
        if key not in self.rows:
            raise ResultsError(f"the results have no row '{key[0]}, {key[1]}': renamed, or an interrupted run?")
        return self.rows[key]

    def groups(self, group):
        return [r for r in self.rows.values() if r.group == group]

    def find(self, key, spec):
        """The contender, or None where it is not in this row or has no figure."""
        row = self.row(key)
        if spec.startswith("=default:"):
            verdict = self.verdicts.get(spec[len("=default:"):])
            spec = "=" + verdict["default"] if verdict else "="
        named = [c for c in row.contenders if (c.option == spec[1:] if spec[0] == "=" else c.name == spec)]
        return row.best(named)


def load(path):
    with open(path, encoding="utf-8") as file:
        try:
            return Results(json.load(file))
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ResultsError(f"{path} is no result of `nokv iolab --json`: {error!r}") from error


# ---- checks: each makes a function of the results that returns (sign, text) ------------------------------------------


def not_measured(row, *specs):
    return "?", f"*{row.title}*: {' or '.join(s.lstrip('=') for s in specs)} was not measured"


def pair_text(a, b):
    ratio = ratio_of(a.median, b.median, a.row.more)
    how = times_text(ratio) if ratio >= 1 else f"{100 * ratio:.0f} % of it"
    return f"*{a.row.title}*: {a.name} {a.text()}; {b.name} {b.text()}; {how}"


def beats(key, a, *others):
    """a is better than the best of the others; without others: than the best contender of another model."""
    def check(results):
        row, first = results.row(key), results.find(key, a)
        if not first:
            return not_measured(row, a)
        if others:
            second = row.best([c for c in (results.find(key, o) for o in others) if c])
        else:
            second = row.best([c for c in row.contenders if c.model != first.model])
        return (first.sign_against(second), pair_text(first, second)) if second else not_measured(row, *others)
    return check


def not_behind(key, a, b, part=NEAR):
    """a has at least that part of b."""
    def check(results):
        first, second = results.find(key, a), results.find(key, b)
        if not first or not second:
            return not_measured(results.row(key), *([] if first else [a]), *([] if second else [b]))
        if ratio_of(first.median, second.median, first.row.more) >= part:
            return "+", pair_text(first, second)
        return ("-" if second.sign_against(first) == "+" else "~"), pair_text(first, second)
    return check


def same(key, a, b):
    """Within NEAR of each other, and neither is better in every round."""
    def check(results):
        first, second = results.find(key, a), results.find(key, b)
        if not first or not second:
            return not_measured(results.row(key), *([] if first else [a]), *([] if second else [b]))
        ratio = ratio_of(first.median, second.median, first.row.more)
        is_near, is_decided = NEAR <= ratio <= 1 / NEAR, first.sign_against(second) != "~"
        return ("+" if is_near else "-" if is_decided else "~"), pair_text(first, second)
    return check


def within(key, a, least, most):
    """Each round of a is in [least, most]."""
    def check(results):
        found = results.find(key, a)
        if not found:
            return not_measured(results.row(key), a)
        inside = [least <= v <= most for v in found.rounds]
        return ("+" if all(inside) else "~" if any(inside) else "-"), f"*{found.row.title}*: {found.name} {found.text()}"
    return check


def apart(key, a, other_key, b):
    """All rounds of a in its row are better than all of b in the other row."""
    def check(results):
        first, second = results.find(key, a), results.find(other_key, b)
        if not first or not second:
            return not_measured(results.row(other_key if first else key), b if first else a)
        text = f"*{first.name}*: {first.row.title} {first.text()}; {second.row.title} {second.text()}; " \
               f"{times_text(ratio_of(first.median, second.median, first.row.more))}"
        if min(first.rounds) > max(second.rounds):
            return "+", text
        return ("-" if max(first.rounds) < min(second.rounds) else "~"), text
    return check


def best_option(keys, a):
    """Over several rows: a has NEAR of the best value of its option, or is not behind it in every round."""
    def check(results):
        parts, behind, near = [], 0, 0
        for key in keys:
            row, own = results.row(key), results.find(key, a)
            best = row.best([c for c in row.contenders if c.option])
            if not own or not best:
                continue
            part = ratio_of(own.median, best.median, row.more)
            parts.append((part, row.title, best.name))
            near += part >= NEAR
            behind += part < NEAR and best.sign_against(own) == "+"
        if not parts:
            return "?", f"{a.lstrip('=')} was not measured"
        part, title, name = min(parts)
        text = f"at least 90 % of the best in {near} of {len(parts)} rows, behind it in every round in {behind}; " \
               f"weakest: *{title}*, {100 * part:.0f} % of {name}"
        return ("+" if near == len(parts) else "-" if behind else "~"), text
    return check


def shorter_by(key, a, other_key, b, file_mb, times):
    """One operation of a takes at least so many times less than to write file_mb at the rate of b."""
    def check(results):
        first, second = results.find(key, a), results.find(other_key, b)
        if not first or not second:
            return not_measured(results.row(other_key if first else key), b if first else a)
        ratio = (file_mb / second.median) / (1 / first.median)
        text = f"*{first.row.title}*: {first.name} {first.text()}, so {1e3 / first.median:.2f} ms each; " \
               f"*{second.row.title}*: {file_mb / second.median * 1e3:.0f} ms for {file_mb:.0f} MB; {times_text(ratio)}"
        return ("+" if ratio >= times else "-"), text
    return check


def verdict(signs):
    """Of a claim with these signs."""
    measured = [s for s in signs if s != "?"]
    if not measured:
        return "not measured"
    if set(measured) == {"+"}:
        return "supported" if len(measured) == len(signs) else "supported as far as measured"
    if "+" in measured:
        return "in part"
    return "refuted" if "-" in measured else "within the noise"
