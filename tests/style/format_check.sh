#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# format_check.sh ROOT - the C files are laid out as ./dev fmt would lay them out, and the shell scripts parse.
set -eu
cd "$1"
files() { # pattern...
    git -c safe.directory="$PWD" ls-files --cached --others --exclude-standard -- "$@" 2>/dev/null ||
        find . -path './build*' -prune -o -type f \( -name '*.[ch]' \) -print
}
if command -v clang-format-14 >/dev/null; then
    files '*.c' '*.h' | while read -r file; do [ ! -f "$file" ] || echo "$file"; done |
        xargs clang-format-14 --dry-run --Werror
else
    echo "clang-format-14 is missing (./dev deps test)"
    exit 1
fi
for script in dev .ci/run $(find tests tools -name '*.sh'); do
    bash -n "$script"
done
