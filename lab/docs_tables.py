#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs_tables.py RESULTS DOCUMENT [--check] - the figures of docs/io-models.md, from the JSON of `nokv iolab`.
docs_tables.py --reduce FROM TO [REMARK] - of such results what the page needs: of each round the row's own figure only.
REMARK is what a reader has to know of this run, and is shown with its terms.

In the document, what lies between these marks is made anew from the results:

    <!-- iolab:begin NAME -->                       a part: terms, summary, refuted, claims COMPONENT, verdict OPTION,
    <!-- iolab:end -->                              figures GROUP, states GROUP-PREFIX; ROW
    <!-- iolab:value NAME -->std<!-- /iolab -->     within a sentence: default OPTION, best OPTION, or
                                                    GROUP; ROW; CONTENDER

With --check nothing is written, and a document that would change is an error.
"""
import difflib
import json
import re
import sys

import docs_results
from docs_claims import CLAIMS
from docs_results import ResultsError, verdict

BEGIN = re.compile(r"^<!-- iolab:begin (.*) -->$")
END = "<!-- iolab:end -->"
VALUE = re.compile(r"(<!-- iolab:value (.*?) -->)(.*?)(<!-- /iolab -->)")
SIGNS = {"+": "yes", "-": "**no**", "~": "noise", "?": "–"}
COMPONENT_TITLES = {"wal": "WAL", "tables": "tables", "vlog": "value log", "background": "background work",
                    "manifest": "MANIFEST"}
VERDICTS = ("supported", "supported as far as measured", "in part", "within the noise", "refuted", "not measured")


class DocumentError(Exception):
    pass


def cell(text):
    return text.replace("|", "\\|")


def table(head, rows):
    return ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head),
            *("| " + " | ".join(cell(c) for c in row) + " |" for row in rows)]


def judge(results, claim):
    """(verdict, [(sign, text)]) of a claim."""
    found = [check(results) for check in claim.checks]
    return verdict([sign for sign, _ in found]), found


def sentence(text):
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


# ---- parts of the page --------------------------------------------------------------------------------------------


def part_terms(results):
    data = results.data
    limit = f"a limit of {data['memory_bytes'] >> 20} MiB by a memory cgroup of version {data['cgroup']['version']}" \
        if data["cgroup"]["version"] else "not measured, because no memory cgroup could be made"
    checked = sum(r["verified_bytes"] for r in data["rows"] if r["part"] <= 3) / 2**30  # rows after that share samples
    wrong = sum(r["wrong"] for r in data["rows"])
    return [f"Measured {data['date']} on {data['machine']}. Files of {data['size_bytes'] >> 20} MiB, {data['rounds']} rounds, "
            f"{data['seconds']:.0f} s, seed {data['seed']}. Memory short: {limit}. In parts 1 to 3 {checked:.0f} GiB "
            f"were read and checked; {wrong or 'no'} reads were wrong in all.",
            *(["", f"**Of this run:** {sentence(data['remark'])}"] if "remark" in data else [])]


def part_summary(results):
    rows = []
    for option, v in results.verdicts.items():
        scores, default = v["scores"], v["default"]
        part = f"{100 * scores[default] / max(scores.values()):.0f} %" if default in scores else "not measured"
        rows.append([v["component"], f"`{option}`", default, v["best"], part])
    counts = {}
    for claims in CLAIMS.values():
        for claim in claims:
            name = judge(results, claim)[0]
            counts[name] = counts.get(name, 0) + 1
    total = sum(counts.values())
    listed = ", ".join(f"{counts[name]} {name}" for name in VERDICTS if name in counts)
    return [*table(["component", "option", "default", "best measured", "the default's part of the best"], rows), "",
            f"Of {total} claims that the design makes: {listed}."]


def part_refuted(results):
    lines = []
    for component, claims in CLAIMS.items():
        for claim in claims:
            name, found = judge(results, claim)
            against = [text for sign, text in found if sign == "-"]
            if against:
                lines += [f"- {COMPONENT_TITLES[component]}: *{claim.text}* ({name}). {against[0]}"
                          f"{f', and {len(against) - 1} more' if len(against) > 1 else ''}."]
    return lines or ["- None."]


def part_claims(results, component):
    rows = []
    for claim in CLAIMS[component]:
        name, found = judge(results, claim)
        shown = "<br>".join(f"{SIGNS[sign]}: {text}" for sign, text in found)
        rows.append([claim.text, claim.where, shown, f"**{name}**" if name == "refuted" else name])
    return table(["claim", "where", "as claimed? what was measured", "the figures say"], rows)


def part_verdict(results, option):
    v = results.verdicts.get(option)
    if not v:
        return [f"No row that speaks for `{option}` could be measured."]
    caution = f" {sentence(v['caution'])}" if "caution" in v else ""
    return [f"The tool's verdict: {v['text']}.{caution}"]


def part_figures(results, group):
    rows = results.groups(group)
    if not rows:
        raise DocumentError(f"the results have no rows '{group}'")
    return figures(rows, group, [r.label for r in rows])


def part_states(results, argument):
    """One row each of several groups, side by side: "value of; cold"."""
    prefix, _, label = (field.strip() for field in argument.partition(";"))
    rows = [r for r in results.rows.values() if r.group.startswith(prefix + " ") and r.label == label]
    if not rows:
        raise DocumentError(f"the results have no rows '{prefix} ..., {label}'")
    return figures(rows, f"{prefix} ..., {label}", [r.group[len(prefix) + 1:] for r in rows])


def figures(rows, title, labels):
    """A line per contender, a column per row, the best in bold, and what the tool notes about the rows."""
    names = list(dict.fromkeys(c.name for r in rows for c in r.contenders))
    body = []
    for name in names:
        line = [name]
        for row in rows:
            found = [c for c in row.contenders if c.name == name]
            best = row.best(row.contenders)
            text = found[0].text() if found else "–"
            line.append(f"**{text}**" if found and best and found[0].median == best.median else text)
        body.append(line)
    notes = list(dict.fromkeys(r.note for r in rows if r.note))
    return [*table([title, *labels], body), "", *(sentence(n) for n in notes)]


PARTS = {"terms": part_terms, "summary": part_summary, "refuted": part_refuted, "claims": part_claims,
         "verdict": part_verdict, "figures": part_figures, "states": part_states}


def part(results, name):
    kind, _, argument = name.partition(" ")
    if kind not in PARTS or bool(argument) != (kind in ("claims", "verdict", "figures", "states")) or \
            (kind == "claims" and argument not in CLAIMS):
        raise DocumentError(f"no part '{name}'; --help lists them")
    return PARTS[kind](results, *([argument] if argument else []))


def value(results, name):
    kind, _, option = name.partition(" ")
    if kind in ("default", "best") and ";" not in name:
        found = results.verdicts.get(option)
        return found[kind] if found else "not measured"
    fields = [f.strip() for f in name.split(";")]
    if len(fields) != 3:
        raise DocumentError(f"no value '{name}'; --help lists them")
    found = results.find((fields[0], fields[1]), fields[2])
    return found.text() if found else "not measured"


# ---- the document --------------------------------------------------------------------------------------------------


def regenerate(results, text):
    """The document with all that is between marks made anew."""
    out, inside, count = [], None, 0
    for number, line in enumerate(text.splitlines(), 1):
        begin = BEGIN.match(line)
        if begin and inside:
            raise DocumentError(f"line {number}: the part that began in line {inside} has no end")
        if begin:
            inside, count = number, count + 1
            out += [line, "", *part(results, begin.group(1)), ""]
        elif line == END:
            if not inside:
                raise DocumentError(f"line {number}: an end without a beginning")
            inside = None
            out.append(line)
        elif not inside:
            if "iolab:" in VALUE.sub("", line):
                raise DocumentError(f"line {number}: a mark that is not understood: {line.strip()}")
            if line.startswith("|") and any("|" in m.group(2) for m in VALUE.finditer(line)):
                raise DocumentError(f"line {number}: a | within a mark ends the table's cell")
            if line.lstrip().startswith("<!-- iolab:value"):
                raise DocumentError(f"line {number}: begins with a mark, which would end the paragraph: put a word before it")
            out.append(VALUE.sub(lambda m: m.group(1) + value(results, m.group(2)) + m.group(4), line))
    if inside:
        raise DocumentError(f"the part that begins in line {inside} has no end")
    if count == 0:
        raise DocumentError("nothing in it is marked as generated")
    return "\n".join(out) + "\n"


def reduce(data):
    """Results without the figures of each round that their row does not ask for, and with fewer digits."""
    for row in data["rows"]:
        for contender in row["contenders"]:
            contender["rounds"] = [{name: short(v) for name, v in r.items() if name == row["figure"]}
                                   for r in contender["rounds"]]
            for name in ("median", "least", "most", "part_of_best"):
                if name in contender:
                    contender[name] = short(contender[name])
    data["reduced"] = "of each round only the figure of its row, with five digits"
    return data


def short(number):
    return float(f"{number:.5g}")


def dumped(data):
    """JSON with a line per contender: fit to be read and compared."""
    rows = []
    for row in data["rows"]:
        head = {name: v for name, v in row.items() if name != "contenders"}
        lines = ",\n   ".join(json.dumps(c, ensure_ascii=False) for c in row["contenders"])
        rows.append(f"  {json.dumps(head, ensure_ascii=False)[:-1]}, \"contenders\": [\n   {lines}]}}")
    head = {name: v for name, v in data.items() if name not in ("rows", "verdicts")}
    verdicts = ",\n".join("  " + json.dumps(v, ensure_ascii=False) for v in data["verdicts"])
    return f"{json.dumps(head, ensure_ascii=False)[:-1]},\n \"rows\": [\n" + ",\n".join(rows) + \
        f"],\n \"verdicts\": [\n{verdicts}]}}\n"


def main_reduce(source, target, remark=None):
    data = reduce(docs_results.load(source).data)
    if remark:
        data["remark"] = remark
    with open(target, "w", encoding="utf-8") as file:
        file.write(dumped(data))
    return 0


def main_document(results_path, path, check):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    made = regenerate(docs_results.load(results_path), text)
    if made == text:
        print(f"{path}: in step with {results_path}")
        return 0
    if check:
        print(f"{path} and {results_path} disagree (./dev iolab --docs brings it in step):")
        sys.stdout.writelines(difflib.unified_diff(text.splitlines(True), made.splitlines(True), path, "made anew"))
        return 1
    with open(path, "w", encoding="utf-8") as file:
        file.write(made)
    print(f"{path}: written")
    return 0


def main(arguments):
    try:
        if len(arguments) in (3, 4) and arguments[0] == "--reduce":
            return main_reduce(*arguments[1:])
        if len(arguments) == 2 or (len(arguments) == 3 and arguments[2] == "--check"):
            return main_document(arguments[0], arguments[1], len(arguments) == 3)
    except (DocumentError, ResultsError, OSError) as error:
        print(f"docs_tables.py: {error}", file=sys.stderr)
        return 1
    print(__doc__)
    return 0 if arguments == ["--help"] else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
