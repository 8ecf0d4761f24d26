#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What a comparison promises: results are JSON lines with every field that readers count on; mistakes are found before
# anything is measured; an interrupted one ends with tables, exit code 130 and neither database nor cgroup left behind.
# compare_test.sh NOKV_BENCH
set -u
bench=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail() {
    echo "$1"
    exit 1
}

engines=$("$bench" engines | awk '!/not built in/ { print $1 }' | head -n 2 | paste -s -d ,)
"$bench" compare --engines "$engines,missing" --keys 3000 --seconds 0.05 --runs 2 --count-syscalls --dir "$dir" \
    --out "$dir/results" --workloads fillrandom,settle,readhit:2,durable >"$dir/tables" 2>"$dir/progress" ||
    fail "a comparison failed: $(cat "$dir/progress")"
grep -q "missing is not built in" "$dir/progress" || fail "an engine that is missing is not named"
grep -Eq "^ *4/[0-9]+ .* left$" "$dir/progress" || fail "no estimate of the time that is left"
python3 - "$dir/results" <<'PYTHON' || fail "the results are not what they must be"
import json, sys
FIELDS = """engine version workload after generation round keys key_size value_size threads durable memory_bytes filter_bits
seed ops seconds ops_per_sec mb_per_sec p50_us p99_us p999_us max_us cpu_us_per_op other_cores user_bytes device_bytes
blockdev_bytes disk_bytes disk_peak_bytes peak_rss_bytes peak_anon_bytes found missing wrong syscalls_per_op
minor_faults_per_op major_faults_per_op context_switches_per_op latency_us space_amp write_amp""".split()
results = [json.loads(line) for line in open(sys.argv[1])]
engines = {r["engine"] for r in results}
assert len(results) == len(engines) * 2 * 4, len(results)
for r in results:
    missing = [field for field in FIELDS if field not in r]
    assert not missing, (r["workload"], missing)
    assert r["syscalls_per_op"] is None or r["syscalls_per_op"] >= 0
    curve = r["latency_us"]
    assert curve == sorted(curve) and [us for _, us in curve] == sorted(us for _, us in curve), curve
    assert bool(curve) == (r["workload"] != "settle")
    assert not curve or (curve[-1] == [1, r["max_us"]] and [0.99, r["p99_us"]] in curve), curve
    m = r["machine"]
    assert m["cpus"] > 0 and m["memory_bytes"] > 0 and m["kernel"] and m["filesystem"] and r["terms"], m
    assert (r["syscalls_per_op"] is None) == ("syscalls_note" in r)
PYTHON

refused() {
    expected=$1
    shift
    "$bench" "$@" --dir "$dir" >"$dir/out" 2>"$dir/errors" && fail "accepted: $*"
    grep -q "$expected" "$dir/errors" || fail "$*: $(cat "$dir/errors")"
    [ ! -s "$dir/out" ] || fail "$*: something was measured"
}
refused 'no workload "nonsense"' compare --engines "$engines" --workloads fillrandom,nonsense --keys 1000
refused 'no plan "nonsense"' compare --plan nonsense
refused "plan's" compare --quick --keys 1000
refused "begin with a workload that fills" compare --engines "$engines" --workloads readhit --keys 1000
refused "tombscan needs delete before it" compare --engines "$engines" --workloads fillrandom,tombscan --keys 1000
refused "times the" compare --engines "$engines" --keys 4000000000 --value-size 60000000 --workloads fillrandom

refused "from the workload cold on" compare --engines "$engines" --memory-limit 8M --workloads fillrandom --keys 1000
refused "from the workload cold on" compare --quick --memory-limit 8M
refused "from the workload cold on" run --engine "${engines%,*}" --memory-limit 8M --workload fillrandom --keys 1000
refused "a size such as 512M" run --engine "${engines%,*}" --memory-limit 8 --workload fillrandom,cold --keys 1000
refused "is --memory-limit 1G" run --engine "${engines%,*}" --memory 1G --workload fillrandom,cold --keys 1000
refused "with --memory-limit" run --engine "${engines%,*}" --memory-group "$dir" --workload fillrandom,cold --keys 1000

# The plan "cold" with a hundredth of its keys and of its limit; where no limit can be set, a message that says why.
if "$bench" compare --cold --scale 1 --engines "$engines" --seconds 0.1 --dir "$dir" --out "$dir/cold" >"$dir/tables" \
    2>"$dir/progress"; then
    grep -q "^## 40 k × 1000 B in 10 MiB, memory budget 2 MiB$" "$dir/tables" || fail "the limit is not in the tables"
    grep -q "^| readhit after cold, 16 threads |" "$dir/tables" || fail "no reads by 16 threads"
    grep -q "Goals, larger than memory" "$dir/tables" || [ "${engines#*nokv}" = "$engines" ] || fail "no goals"
    python3 - "$dir/cold" <<'PYTHON' || fail "the results of the plan cold are not what they must be"
import json, sys
results = [json.loads(line) for line in open(sys.argv[1])]
limits = [(r["workload"], r["memory_limit_bytes"]) for r in results]
assert all(limit == (None if workload in ("fillrandom", "settle") else 10 << 20) for workload, limit in limits), limits
assert all(r["after"] == "cold" and not r["wrong"] for r in results if r["memory_limit_bytes"])
PYTHON
    limit="--memory-limit 8M"
else
    grep -q "no memory limit can be set here: ." "$dir/progress" || fail "the plan cold failed: $(cat "$dir/progress")"
    [ ! -s "$dir/tables" ] || fail "something was measured without its limit"
    limit=
fi

# A read of ten minutes: interrupted as soon as the phases before it are through.
mkdir "$dir/interrupted"
"$bench" compare --engines "${engines%,*}" --keys 1000 --seconds 600 --workloads fillrandom,cold,readhit $limit \
    --dir "$dir/interrupted" >"$dir/tables" 2>"$dir/interrupted.progress" &
pid=$!
until grep -qs " cold " "$dir/interrupted.progress"; do
    kill -0 $pid 2>/dev/null || fail "a comparison ended: $(cat "$dir/interrupted.progress")"
    sleep 0.05
done
kill -TERM $pid
wait $pid
code=$?
[ $code -eq 130 ] || fail "an interrupted comparison ended with $code"
grep -q "^| fillrandom |" "$dir/tables" && grep -q "Interrupted" "$dir/tables" ||
    fail "an interrupted comparison has no tables"
[ -z "$(ls "$dir/interrupted")" ] || fail "an interrupted comparison left $(ls "$dir/interrupted")"
[ -z "$(find /sys/fs/cgroup -name "nokv-bench-$pid-*" 2>/dev/null)" ] || fail "an interrupted comparison left its cgroup"
