#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Which branches of the readers and writers of the format the tests never take: scripts/coverage.sh [FILE ...], by default
# lib/log/*.c, recovery and the checkpoint files. Builds the preset `coverage`, runs the unit tests, the fuzzers, the
# simulations and the races that meet these files in it, prints a table, and below it every branch that was never taken. A branch that only an invariant's
# failure takes does not count. docs/TESTING.md explains what is left.
#
# gcov and jq alone: both are there wherever the library is built and tested.
set -euo pipefail
cd "$(dirname "$0")/.."

files=("$@")
if [ ${#files[@]} = 0 ]; then
  mapfile -t files < <(ls lib/log/*.c lib/engine/*checkpoint*.c \
    lib/engine/{recovery,restore,apply,manifest,archive,released}.c)
fi
build=build/coverage
# What shows nothing else of these files is left out: the longest simulations, and programs that are killed, which count nothing.
tests='^(unit\.|fuzz\.(checkpoint|manifest|segment)$|sim\.(seeds|lying|calls|memory|clock)|plain\.race_(checkpoint|restore|segments)$)'
export COUPON_TEST_LONG=1 # every call of the crash loops

cmake --preset coverage >/dev/null
# Everything that has a test of these names, and what the HTTP tests would need not.
mapfile -t targets < <(ninja -C "$build" -t targets all | sed -nE 's/^(test_[a-z_0-9]+|sim|plain_race_(checkpoint|restore|segments)): phony$/\1/p' |
  grep -v '^test_http_' || true)
cmake --build "$build" --target fuzzers "${targets[@]}" >/dev/null
find "$build" -name '*.gcda' -delete
ctest --test-dir "$build" --tests-regex "$tests" --parallel "$(nproc)" --timeout 600 --quiet ||
  echo "some tests failed: the figures are too low" >&2

# One line for each branch: file, line, number of the branch on it, times taken.
branches() {
  local file data
  for file in "${files[@]}"; do
    data=$build/lib/CMakeFiles/coupon_testing.dir/${file#lib/}.gcda
    [ -f "$data" ] || { echo "no test has run $file" >&2; exit 1; }
    gcov --json-format --stdout --branch-probabilities "$data" |
      jq -r --arg file "$file" '.files[] | select(.file | endswith($file)) | .lines[] | .line_number as $line |
        .branches | to_entries[] | [$file, $line, .key, .value.count] | @tsv'
  done
}

# The same with the line's text, and without those that belong to assertions, which may go on over several lines.
with_text() {
  awk -F '\t' -v OFS='\t' '
    function read_source(file,    line, number, asserting) {
      number = asserting = 0
      while ((getline line < file) > 0) {
        if (line ~ /CPN_INVARIANT|CPN_DEBUG_ASSERT/) asserting = 1
        is_assertion[++number] = asserting
        if (line ~ /;/) asserting = 0
        sub(/^ */, "", line)
        text[number] = line
      }
      close(file)
    }
    $1 != current { delete text; delete is_assertion; read_source(current = $1) }
    !is_assertion[$2] { print $0, text[$2] }'
}

report=$build/branches.tsv
branches | with_text >"$report"

awk -F '\t' '
  { all[$1]++; sum++; if ($4 > 0) { taken[$1]++; hit++ } }
  END {
    for (file in all) printf "%-32s %5d of %5d branches taken  %6.1f %%\n", file, taken[file], all[file], 100 * taken[file] / all[file] | "sort"
    close("sort")
    printf "%-32s %5d of %5d branches taken  %6.1f %%\n", "together", hit, sum, 100 * hit / sum
  }' "$report"
echo
echo "never taken (branch 0 of a condition is the one that gcc takes for true):"
awk -F '\t' '$4 == 0 { printf "%s:%s: branch %s: %s\n", $1, $2, $3, $5; count++ } END { print count + 0 " branches never taken" }' "$report"
echo "$(wc -l <"$report") branches checked"
