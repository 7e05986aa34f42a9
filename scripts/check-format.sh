#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Every tracked C file is laid out as .clang-format says: scripts/check-format.sh [--fix]
# Comments it leaves as they were written; here their lines are held to the same 120 columns.
set -euo pipefail
cd "$(dirname "$0")/.."

# A checkout may belong to somebody else than to who runs this.
mapfile -t files < <(git -c safe.directory="$PWD" ls-files -- '*.c' '*.h')
[ ${#files[@]} -gt 0 ] || { echo "no file found: this check is broken" >&2; exit 1; }
if [ "${1:-}" = --fix ]; then
  clang-format -i "${files[@]}"
else
  clang-format --dry-run --Werror "${files[@]}"
fi
wide=$(LC_ALL=C.UTF-8 grep -nE '^.{121,}$' -- "${files[@]}" | grep -E '^[^:]+:[0-9]+: *(/\*|\*|//)' || true)
if [ -n "$wide" ]; then
  printf '%s\n' "$wide" >&2
  echo "these lines of comments are longer than 120 columns" >&2
  exit 1
fi
echo "${#files[@]} files checked"
