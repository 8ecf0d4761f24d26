#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# symbols_check.sh SHARED ARCHIVE HEADER... - libnokv shows nokv_* symbols and nothing else, and exactly those that the
# public headers declare.
set -eu
shared=$1 archive=$2
shift 2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Type letters in capitals are global; U and w are what the library wants of others.
nm -D --defined-only "$shared" | awk '{ print $NF }' | sort -u >"$scratch/shared"
nm --defined-only "$archive" | awk 'NF == 3 && $2 ~ /[A-Z]/ { print $3 }' | sort -u >"$scratch/archive"
cat "$@" | tr '\n' ' ' | grep -oE 'NOKV_API[^;{]*\(' | grep -oE 'nokv_[a-z0-9_]+ *\(' | tr -d ' (' | sort -u >"$scratch/header"

failed=0
for library in shared archive; do
    others=$(grep -v '^nokv_' "$scratch/$library" || true)
    if [ -n "$others" ]; then
        echo "the $library library shows more than nokv_*:" $others
        failed=1
    fi
    undeclared=$(comm -23 "$scratch/$library" "$scratch/header")
    missing=$(comm -13 "$scratch/$library" "$scratch/header")
    [ -z "$undeclared" ] || { echo "in the $library library, but in no header:" $undeclared; failed=1; }
    [ -z "$missing" ] || { echo "declared, but not in the $library library:" $missing; failed=1; }
done
soname=$(readelf -d "$shared" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')
case $soname in
libnokv.so.[0-9]*) ;;
*) echo "soname is '$soname'"; failed=1 ;;
esac
echo "symbols: $(wc -l <"$scratch/header") declared, soname $soname"
[ -s "$scratch/header" ] && [ "$failed" -eq 0 ]
