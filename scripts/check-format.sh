#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Every tracked C file is laid out as .clang-format says: scripts/check-format.sh [--fix]
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
echo "${#files[@]} files checked"
