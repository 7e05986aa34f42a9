#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# How fast, each figure beside the machine's limit and its target, in one run:
#   scripts/perf.sh [--quick] [--users N] [--max-users N] [--threads N] [--rounds N] [--rivals] [NAME ...]
# NAME is a program of perf/ without `perf_`; without names all run, one after the other. --quick only shows that
# they work. --rivals also runs scripts/rivals.sh. Leaves build/perf/table.txt, results.json and pictures.
# The status is 0 unless a check fails: a missed target is an answer, a wrong sale is not.
set -euo pipefail
shopt -s nullglob
cd "$(dirname "$0")/.."

usage() { sed -n '4,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }

all=(decide latency refuse growth memory users durable recovery checkpoint lease)
names=()
options=()
rivals=no
while [ $# -gt 0 ]; do
  case $1 in
    --quick) options+=("$1") ;;
    --users | --max-users | --threads | --rounds)
      [ $# -gt 1 ] || usage
      options+=("$1" "$2")
      shift ;;
    --rivals) rivals=yes ;;
    -*) usage ;;
    *)
      name=${1#perf_}
      [[ " ${all[*]} " == *" $name "* ]] || usage
      names+=("$name") ;;
  esac
  shift
done
[ ${#names[@]} -gt 0 ] || names=("${all[@]}")
# What durability costs is also what it takes to come back, and what checkpoints cost.
if [[ " ${names[*]} " == *" durable "* ]]; then
  for also in recovery checkpoint; do
    [[ " ${names[*]} " == *" $also "* ]] || names+=("$also")
  done
fi

scripts/bootstrap.sh perf
scripts/build.sh release >&2

out=$PWD/build/perf
results=$out/results.json
table=$out/table.txt
mkdir -p "$out"
rm -f -- "$results" "$table" "$out"/*.svg "$out"/*.dat
: >"$results"
# Logs go where the build is, not to /tmp, which on many machines is memory.
work=$(mktemp -d "$out/work.XXXXXX")
trap 'rm -rf -- "$work"' EXIT

{
  # Of an export of the sources there is no revision.
  revision=$(git -c safe.directory="$PWD" describe --always --dirty 2>/dev/null || echo unknown)
  echo "$(date -u +%Y-%m-%dT%H:%MZ), revision $revision: scripts/perf.sh ${options[*]} ${names[*]}"
  echo "logs on $(stat -f -c %T "$work"), load before: $(cut -d' ' -f1-3 /proc/loadavg)"
  echo
} | tee "$table"

failed=()
for name in "${names[@]}"; do
  build/release/perf/"perf_$name" "${options[@]}" --dir "$work" --json "$results" | tee -a "$table" || failed+=("$name")
done
# What the library does beside what its rivals do, as rows like all others. Of a rival that was not measured, or of a row
# of ours, there is none.
beside_rivals() {
  jq -cs '
    def of($program; $row; $threads): map(select(.program == $program and .row == $row and .threads == $threads)) | last;
    def best($pattern): map(select(.program == "rivals" and (.row | test($pattern)))) | max_by(.value);
    def reload($rival): map(select(.rival == $rival and .reload_s != null)) | last |
      if . == null then null else {row: "\($rival), reload", value: (.issued / .reload_s)} end;
    def ratio($ours; $scale; $name; $unit; $rival; $target):
      if $ours == null or $rival == null or ($rival.value // 0) <= 0 then empty
      else ($ours.value * $scale / $rival.value) as $ratio | {
        program: "rivals", row: $name, users: $ours.users, threads: $ours.threads, value: ($ours.value * $scale), unit: $unit,
        beside: $rival.row, limit: $rival.value, ratio: $ratio,
        quick: $ours.quick, verdict: (if $target == null or $ours.quick then "-" elif $ratio >= $target then "ok" else "miss" end)
      } + (if $target == null then {} else {target_of: "ratio", rule: ">=", target: $target} end)
      end;
    ratio(of("perf_durable"; "batches of 32"; 2); 1e6; "batches of 32, sync, until final"; "/s"; best("^redis lua, AOF always"); 100),
    ratio(of("perf_durable"; "64 waiting"; 64); 1e3; "64 waiting"; "/s"; best("^rocksdb, 1 per commit, 64 threads"); 4),
    (of("perf_recovery"; "warm, opening"; 1) as $opening |
      ("redis lua, AOF always", "postgres") as $rival |
      ratio($opening; 1e6; "warm, opening"; "/s"; reload($rival); null))' "$results"
}

if [ $rivals = yes ]; then
  scripts/rivals.sh --json "$results" | tee -a "$table" || failed+=(rivals)
  beside_rivals >"$work/rows"
  cat "$work/rows" >>"$results"
  echo
  jq -r '"\(.row): \(.value | round) \(.unit), \(.ratio * 10 | round / 10) x \(.beside)" +
    (if .target == null then "" else ", \(.rule) \(.target) x: \(.verdict)" end)' "$work/rows" | tee -a "$table"
fi

# ---- pictures ----

style="set terminal svg size 960,560 dynamic background 'white' font 'sans,13'
set grid lt 1 lc rgb '#dddddd'; set key outside right top; set border 3; set tics nomirror"

# clauses PROGRAM FILTER: what `plot` is told. The filter selects rows and maps each to x and y, which go into a file
# per series.
clauses() {
  local program=$1 point=$2 index=0 series file list=()
  while IFS= read -r series; do
    file=$out/$program.$((index += 1)).dat
    jq -r --arg p "$program" --arg s "$series" "select(.program == \$p and .series == \$s) | $point | @tsv" \
      "$results" | sort -g >"$file"
    [ ! -s "$file" ] || list+=("'$file' using 1:2 with linespoints lw 2 pt 7 ps 0.6 title '$series' noenhanced")
  done < <(jq -r --arg p "$program" 'select(.program == $p and .series != null) | .series' "$results" |
    awk '!seen[$0]++')
  local IFS=,
  echo "${list[*]}"
}

draw() { # draw NAME COMMANDS CLAUSES
  [ -n "$3" ] || return 0
  printf '%s\nset output "%s"\n%s\nplot %s\n' "$style" "$out/$1.svg" "$2" "$3" | gnuplot
}

draw throughput-by-users 'set title "issues decided, one thread"; set logscale x; set format x "10^{%L}"
set xlabel "users"; set ylabel "million a second"; set yrange [0:*]' \
  "$(clauses perf_decide 'select(.threads == 1 and (.series | test("threads|sync") | not)) | [.users, .value]')"

# At the tail every step is a factor of ten: x is how many calls there are to one that is slower.
draw latency 'set title "one call, percentiles"; set logscale xy; set xlabel "percentile"; set ylabel "ns"
set xtics ("50" 2, "90" 10, "99" 100, "99.9" 1000, "99.99" 10000, "99.999" 100000)' \
  "$(clauses perf_latency 'select(.percentile < 100) | [100 / (100 - .percentile), .value]')"

# Bars, at the number of users that both one thread and several were measured at.
jq -rs '[.[] | select(.program == "perf_decide" and .series != null)] as $rows
  | ($rows | map(select(.series | test("threads$")) | .users) | first) as $users
  | $rows[] | select(.users == $users and (.series | test("^(single|batches)")))
  | [(.series | sub(", threads$"; "")) + ", \(.threads) thr", .value] | @tsv' "$results" | sort >"$out/threads.dat"
if [ -s "$out/threads.dat" ]; then
  draw throughput-by-threads 'set title "issues decided, by threads"; set ylabel "million a second"
set yrange [0:*]; set style fill solid 0.7; set boxwidth 0.6; set xtics rotate by -25; set datafile separator "\t"' \
    "'$out/threads.dat' using 0:2:xtic(1) with boxes lc rgb '#4477aa' notitle"
fi
rm -f -- "$out"/*.dat

# ---- the closing table ----

{
  echo "rows with a target:"
  jq -r 'select(.target != null) | [.verdict, .program, .row, .users, .threads, .value, .unit,
    .limit // "-", .ratio // "-", "\(.rule) \(.target)" + (if .target_of == "ratio" then " x" else "" end),
    .beside // ""] | @tsv' "$results" |
    awk -F'\t' '
      function short(x) { return x == "-" ? x : sprintf(x >= 1000 ? "%.0f" : x >= 0.1 ? "%.2f" : "%.5f", x) }
      function count(n) { return n >= 1e6 ? n / 1e6 " M" : n >= 1000 ? n / 1000 " k" : n }
      { printf "%-5s %-12s %-40s %7s %3s %10s %-6s %10s %7s %9s  %s\n", $1, $2, $3, count($4), $5, short($6), $7,
          short($8), short($9), $10, $11 }'
  echo
  jq -rs '(map(.verdict) | [map(select(. == "ok")), map(select(. == "miss")), map(select(. == "CHECK FAILED"))] |
    map(length)) as [$ok, $miss, $failed] | "\($ok) ok, \($miss) miss, \($failed) checks failed"' "$results"
} | tee -a "$table"
echo "in ${out#"$PWD"/}: $(cd "$out" && echo table.txt results.json *.svg)"
if [ ${#failed[@]} -gt 0 ]; then
  echo "FAILED: ${failed[*]}" >&2
  exit 1
fi
