#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# headers_check.sh ROOT CC [CXX] - every header compiles on its own; the public ones as C++ from C++11 on, too.
set -eu
root=$1 cc=$2 cxx=${3:-}
count=0 failed=0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

try() { # name compiler arguments...
    name=$1
    shift
    count=$((count + 1))
    "$@" || { echo "$name: does not compile on its own: $*"; failed=$((failed + 1)); }
}

for header in $(cd "$root" && find include src -name '*.h' | sort); do
    printf '#include "%s"\n' "${header#*/}" >"$scratch/one.c"
    try "$header" "$cc" -std=gnu11 -D_GNU_SOURCE -fsyntax-only -Wall -Wextra -Werror -I"$root/src" -I"$root/include" \
        "$scratch/one.c"
done
for header in $(cd "$root/include" && find nokv -name '*.h' | sort); do
    printf '#include <%s>\nint main() { return 0; }\n' "$header" >"$scratch/one.cc"
    # Strict C without our own definitions, as a stranger would.
    printf '#include <%s>\nint main(void) { return 0; }\n' "$header" >"$scratch/one.c"
    try "$header" "$cc" -std=c99 -pedantic -fsyntax-only -Wall -Wextra -Werror -I"$root/include" "$scratch/one.c"
    for standard in c++11 c++20; do
        [ -z "$cxx" ] ||
            try "$header" "$cxx" -std=$standard -pedantic -fsyntax-only -Wall -Wextra -Werror -I"$root/include" "$scratch/one.cc"
    done
done
echo "headers: $count compilations, $failed failed"
[ "$failed" -eq 0 ] && [ "$count" -gt 0 ]
