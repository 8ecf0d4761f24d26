#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# format_check.sh ROOT - the C files are laid out as ./dev fmt would lay them out, and the shell scripts parse.
set -euo pipefail
cd "$1"
command -v clang-format-14 >/dev/null || { echo "clang-format-14 is missing (./dev deps test)"; exit 1; }
mapfile -t files < <({ git -c safe.directory="$PWD" ls-files --cached --others --exclude-standard -- '*.c' '*.h' 2>/dev/null ||
    find . -path './build*' -prune -o -type f -name '*.[ch]' -print; } | sort -u)
failed=0 count=0
for file in "${files[@]}"; do
    [[ -f $file ]] || continue # deleted, and not yet committed so
    count=$((count + 1))
    clang-format-14 "$file" | cmp -s - "$file" || { echo "$file: ./dev fmt $file would change it"; failed=$((failed + 1)); }
done
for script in dev .ci/run $(find tests tools bench -name '*.sh' 2>/dev/null); do
    bash -n "$script" || failed=$((failed + 1))
done
echo "format: $count files, $failed differ"
[[ $failed -eq 0 && $count -gt 0 ]]
