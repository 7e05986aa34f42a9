#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The sale this library exists for, beside what the reference service measured: scripts/demo.sh [--crash-rounds N] [--short]
#
# Holds five sales with the tool `coupon` and then sends crowds to the HTTP example (scripts/crowd.sh). Each is held to
# what its users were told. Prints a table and leaves build/demo/sale.json. Status 0 only if every row is ok; a speed
# that misses its target is shown, and no more. The logs go to a temporary directory under $TMPDIR, or /tmp.
# --short holds the same sales with smaller crowds, for a moment each: to see that they are right, not how fast.
set -euo pipefail
cd "$(dirname "$0")/.."

crash_rounds=3 crowds=()
while [ $# -gt 0 ]; do
  case $1 in
    --crash-rounds) crash_rounds=${2:?} && shift ;;
    --short) crash_rounds=1 crowds=(--users 500 --ramp 3 --hold 3 --tokens 200000 --pairs 1 --seconds 1) ;;
    *) sed -n '4,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift
done

scripts/bootstrap.sh crowd
scripts/build.sh release
scripts/build-http.sh

tool=build/release/coupon
out=build/demo
mkdir -p $out
work=$(mktemp -d "${TMPDIR:-/tmp}/coupon-demo.XXXXXX")
crowd=''
clean_up() {
  # It ends what it has started.
  [ -z "$crowd" ] || { kill "$crowd" 2>/dev/null && wait "$crowd" 2>/dev/null; } || true
  rm -rf -- "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# row NAME TITLE OPTION...: holds a sale and adds its result, with name and title, to the rows.
seed=1
row() {
  local name=$1 title=$2 status=0 result
  shift 2
  echo "sale: $title"
  TMPDIR=$work $tool sale --threads 10 --seed $seed --json "$@" >"$work/result" || status=$?
  seed=$((seed + 1))
  result=$(jq -c . "$work/result" 2>/dev/null) || result=''
  jq -c --arg name "$name" --arg title "$title" --argjson status $status \
    '{name: $name, title: $title} + . + {status: $status, ok: (.ok == true and $status == 0)}' \
    <<<"${result:-"{}"}" >>"$work/rows"
}

row one_account "one account, 10,000 calls, 10,000 coupons" --stock 10000 --limit none --calls 10000
row distinct "10,000 accounts, 10,000 coupons" --stock 10000 --users 10000
row crowd "30,000 accounts, 10,000 coupons" --stock 10000 --users 30000
row crowd_repeats "the same, 20 % of them ask twice" --stock 10000 --users 30000 --repeat 20

status=0
rm -f "$work/crash"
scripts/crash-sale.sh --rounds "$crash_rounds" --json "$work/crash" || status=$?
crash=$(cat "$work/crash" 2>/dev/null) || crash='{}'
jq -c --argjson status $status --arg title "the same, killed and recovered, $crash_rounds rounds" \
  '{name: "crash", title: $title} + . + {status: $status, ok: (.ok == true and $status == 0)}' \
  <<<"$crash" >>"$work/rows"

# Over HTTP. In the background, so that a signal reaches it at once. The rows that it could not make are missed below.
COUPON=$PWD/$tool COUPON_HTTP=$PWD/build/http/build/coupon-http TMPDIR=$work \
  scripts/crowd.sh all --rounds "$crash_rounds" "${crowds[@]}" --json "$work/http" &
crowd=$!
http_status=0
wait "$crowd" || http_status=$?
crowd=''
http_rows=12 # the profile, saturation, the crash, and three kinds at three levels
[ $http_status = 0 ] || echo "demo: the crowd ended with status $http_status" >&2
if [ -e "$work/http" ]; then jq -c '.rows[]' "$work/http" >>"$work/rows"; fi

# What the reference service, an ordinary web application over SQL, measured of itself.
jq -n '[
  {name: "in_process", title: "in process, 10 threads, 10,000 coupons",
   offered: 10000, issued: 1273, errors: 8727, stock_fell_by: 1001},
  {name: "http", title: "over HTTP, up to 500 users",
   offered: 6099, ok_share: 0.486, issued: 2964, stock_fell_by: 2045},
  {name: "http_lock", title: "over HTTP, distributed lock, up to 2,000 users",
   per_second_min: 141, per_second_max: 154, mean_seconds: 9, refused_with_stock_left: [0.0002, 0.09]}
]' >"$work/reference"

jq -s --slurpfile reference "$work/reference" --arg cpu "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)" \
  --argjson http_ok "$([ $http_status = 0 ] && echo true || echo false)" --argjson http_rows $http_rows \
  --argjson cpus "$(nproc)" --arg kernel "$(uname -sr)" --arg file_system "$(stat -f -c %T "$work")" \
  '{machine: {cpu: $cpu, cpus: $cpus, kernel: $kernel, file_system: $file_system},
    reference: $reference[0], rows: .,
    ok: ($http_ok and length == 5 + $http_rows and all(.ok))}' "$work/rows" >$out/sale.json

# Cells are ASCII: printf counts bytes.
line() { printf '%-48s %8s %8s %8s %8s %8s %10s %9s %9s  %s\n' "$@"; }
echo
jq -r '.machine | "\(.cpus) × \(.cpu), \(.kernel), log on \(.file_system)"' $out/sale.json
echo '(taken: by how much the stock fell)'
echo
line '' offered issued refused errors taken answers/s 'p50 us' 'p99 us' ok
echo 'the reference service, as it measured itself'
line '  in process, 10 threads, 10,000 coupons' 10000 1273 - 8727 1001 - - - no
line '  over HTTP, up to 500 users (48.6 % succeeded)' 6099 2964 - 3135 2045 - - - no
line '  over HTTP, distributed lock, up to 2,000 users' - - - - - 141-154 '9 s mean' - no
echo '      (0.02–9 % were refused although stock was left)'
# our_rows FILTER: the rows that pass it.
our_rows() {
  jq -r 'def tenths(f): f | if . == null then . else (. * 10 | round) / 10 | tostring end;
    .rows[] | select('"$1"') | [.title, .offered, .issued, .sold_out, .errors,
    (if .stock == null then null else .stock - (.remaining // 0) end),
    .per_second, tenths(.p50_us), tenths(.p99_us), (if .ok then "yes" else "NO" end)]
    | map(if . == null then "-" elif type == "number" then round else . end) | @tsv' $out/sale.json |
    while IFS=$'\t' read -r title rest; do
      IFS=$'\t' read -ra cells <<<"$rest"
      line "  $title" "${cells[@]}"
    done
}
echo 'libcoupon, in process, 10 threads, every answer synced to disk'
our_rows '.name | startswith("http_") | not'
echo 'libcoupon, over HTTP, on the cores that the crowd runs on, every answer synced to disk before it is sent'
our_rows '.name | startswith("http_")'
echo
jq -r '.rows[] | select(.name == "crash") | "after \(.kills) kills: \(.acknowledged) tickets had been acknowledged, " +
  "all are there; \(.unanswered) more were recovered; \(.violations) violations"' $out/sale.json
jq -r '.rows[] | select(.name == "http_crash") | "after \(.kills) kills of the service: " +
  "\(.unanswered) requests had had no answer, \(.recovered) of them had got a coupon, and were told so " +
  "when they asked again; \(.violations) violations"' $out/sale.json
# Targets are of speed: a miss is shown.
jq -r -L examples/http/crowd 'include "rows";
  .rows[] | select(.ratio != null) | "\(.title): \(targets)"' $out/sale.json
echo "results: $out/sale.json"

jq -e .ok $out/sale.json >/dev/null || { echo "demo: a row is not ok" >&2; exit 1; }
echo "$(jq '.rows | length' $out/sale.json) rows checked"
