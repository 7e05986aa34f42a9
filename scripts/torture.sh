#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The long forms of the matrix (docs/TESTING.md):
#   scripts/torture.sh [--seconds N] [--ledger FILE] [--planted NAME] [ROW ...]
#
# Builds, and runs the rows one after the other, all or those that are named: first those that are complete in
# themselves, then the others, which share what is left of the N seconds (3600). Ends with a table and "N passed, N
# failed"; status 0 only if every row held. Each run of a row is a line in the ledger
# ($XDG_STATE_HOME/coupon/torture.tsv): date, row, first seed, last seed, count, seconds, verdict. A row begins with the
# seed behind the last one that held there, and the table shows what all runs come to beside the row's goal. What a
# failed row has left behind is kept in build/torture-kept/.
#
# With --planted the rigs that know that bug run with it, and the end has to be status 1: they have found it. Status 0:
# none has. 2: one could not be run. The ledger is left alone. An unknown name lists those there are.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=3600 ledger=${XDG_STATE_HOME:-${HOME:-build}/.local/state}/coupon/torture.tsv planted='' wanted=()
usage() {
  sed -n '4,17s/^# \{0,1\}//p' "$0" >&2
  exit 2
}
while [ $# -gt 0 ]; do
  case $1 in
    --seconds) seconds=${2:?} && shift ;;
    --ledger) ledger=${2:?} && shift ;;
    --planted) planted=${2:?} && shift ;;
    -*) usage ;;
    *) wanted+=("$1") ;;
  esac
  shift
done

# --- the table -----------------------------------------------------------------------------------------------

# row NAME WEIGHT GOAL UNIT PATTERN MODE TREE BINARY ARGUMENT...
#
# WEIGHT is the row's part of the time. GOAL is what all runs together should come to, "all" where one run is complete.
# What is counted is found in the output by PATTERN, with one group, summed over its lines; "-" counts seconds. MODE:
# whole, it ends when it is complete; timed, it takes @SECONDS@; again, it is run again and again until its time is over.
# @SEED@ is where it begins, @STATE@ a directory that stays, @SOURCE@ this checkout. TREE is the preset that builds it.
torture='^counted ([0-9]+) '
rows() {
  row damage 0 all places '^([0-9]+) (bits|torn)' whole release tests/test_damage --jobs 1
  row arrange 0 all openings "$torture" whole release tests/torture/torture_arrange
  row crash-points 0 all points '^([0-9]+) crash points' whole release tests/sim/sim points
  row sector-subsets 0 all points '^([0-9]+) crash points' whole release tests/sim/sim subsets
  row failing-calls 0 all calls '^([0-9]+) (calls|syncs) fail' whole release tests/sim/sim calls
  row failing-memory 0 all allocations '^([0-9]+) allocations fail' whole release tests/sim/sim memory
  row clock 0 all places '^([0-9]+) places' whole release tests/sim/sim clock
  row power-loss 6 1000000 seeds '^([0-9]+) seeds ' timed release tests/sim/sim --seed @SEED@ --seconds @SECONDS@
  row lying-disks 1 100000 seeds '^([0-9]+) seeds ' timed release tests/sim/sim --lying --seed @SEED@ \
    --seconds @SECONDS@
  row kill 4 10000 kills "$torture" timed release tests/torture/torture_kill --seed @SEED@ --seconds @SECONDS@
  row full-disk 1 60 disks "$torture" timed release tests/torture/torture_full --seed @SEED@ --seconds @SECONDS@
  row access 1 1000 scenes "$torture" timed release tests/torture/torture_access --seed @SEED@ --seconds @SECONDS@
  row openers 1 10000 races "$torture" timed release tests/torture/torture_openers --seed @SEED@ --seconds @SECONDS@
  row linear 4 1000000 histories '^([0-9]+) histories' again release tests/plain_race_linear 1 @SEED@
  row soak 8 86400 seconds - timed release tests/torture/torture_soak --seed @SEED@ --seconds @SECONDS@
  local name
  for name in segment checkpoint manifest; do # libFuzzer adds to the first directory
    row fuzz-$name 3 28800 seconds - timed fuzz tests/fuzz/fuzz_$name -max_total_time=@SECONDS@ -seed=@SEED@ \
      @STATE@/corpus/$name @SOURCE@/tests/fuzz/corpus/$name
  done
}

# plant NAME ROW PATTERN TREE BINARY ARGUMENT...: with that bug the program has to say PATTERN.
found='^FOUND by .* planted '
plants() {
  plant ack-before-written kill "$found" release tests/torture/torture_kill --planted ack-before-written --rounds 200
  plant ack-before-written full-disk "$found" release tests/torture/torture_full \
    --planted ack-before-written --rounds 60
  plant archive-loses kill "$found" release tests/torture/torture_kill --planted archive-loses --rounds 1000
  plant believes-names arrange "$found" release tests/torture/torture_arrange --planted believes-names
  plant lock-does-nothing openers "$found" release tests/torture/torture_openers --planted lock-does-nothing
  plant modes-not-set access "$found" release tests/torture/torture_access --planted modes-not-set
  plant keeps-campaigns soak "$found" release tests/torture/torture_soak --planted keeps-campaigns
  plant leaks-descriptors soak "$found" release tests/torture/torture_soak --planted leaks-descriptors
  local name
  for name in sync-skipped write-not-durable directory-sync-skipped answer-before-sync sync-retried tail-resurrected \
    tail-not-written-again recovery-not-synced damage-overlooked checkpoint-not-synced segments-too-early \
    tidied-before-switch checkpoint-too-much checkpoint-too-little joins-times; do
    plant $name power-loss "^$name: found at seed" release tests/sim/sim --planted $name
  done
  # The names by which one would ask for the first and the third.
  plant skip-sync power-loss '^sync-skipped: found at seed' release tests/sim/sim --planted sync-skipped
  plant ack-before-sync power-loss '^answer-before-sync: found at seed' release tests/sim/sim \
    --planted answer-before-sync
  for name in body version life; do plant_fuzz segment $name; done
  for name in chunk digest page twice; do plant_fuzz checkpoint $name; done
  plant_fuzz manifest manifest
}

plant_fuzz() { # TARGET CHECK: a reader that leaves this check out
  plant reader-skips-"$2" "fuzz-$1" 'FINDING' release "tests/fuzz/fuzz_$1_planted" -runs=200000 -seed=1 @WORK@ \
    "@SOURCE@/tests/fuzz/corpus/$1"
}

# --- building ------------------------------------------------------------------------------------------------

# A tree of its own, so that nothing else that is being built changes under a run of hours.
tree_of() { echo "build/torture-$1"; }

is_wanted() { [ ${#wanted[@]} = 0 ] || [[ " ${wanted[*]} " == *" $1 "* ]]; }

build_tree() {
  local preset=$1 tree known target targets=()
  tree=$(tree_of "$preset")
  cmake --preset "$preset" -B "$tree" >"$work/build.log" 2>&1 || { tail -20 "$work/build.log" >&2; return 0; }
  known=$(ninja -C "$tree" -t targets all | cut -d: -f1)
  while read -r target; do
    if grep -qx "$target" <<<"$known"; then targets+=("$target"); fi
  done < <(sort -u "$work/targets.$preset")
  [ ${#targets[@]} = 0 ] || cmake --build "$tree" --target "${targets[@]}" >"$work/build.log" 2>&1 ||
    { tail -20 "$work/build.log" >&2; echo "the build of $preset failed" >&2; exit 1; }
}

# What does not exist in this checkout is not built, and its row says so.
build() {
  local started=$SECONDS list
  for list in "$work"/targets.*; do build_tree "${list##*.}"; done
  echo "torture: built in $((SECONDS - started)) s"
}

# --- running -------------------------------------------------------------------------------------------------

work=$(mktemp -d "${TMPDIR:-/tmp}/coupon-torture.XXXXXX")
child=''
clean_up() {
  [ -z "$child" ] || kill "$child" 2>/dev/null || true
  rm -rf -- "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# execute LOG LIMIT COMMAND…: in a directory of its own, which is its TMPDIR, and for LIMIT seconds at most. In the
# background, because the shell acts on a signal only while it waits. What it started and left behind shares its group.
execute() {
  local log=$1 limit=$2 status=0
  shift 2
  rm -rf -- "$work/run"
  mkdir -p "$work/run"
  (cd "$work/run" && TMPDIR=$work/run exec setsid timeout --kill-after=10 "$limit" "$@") >>"$log" 2>&1 &
  child=$!
  wait "$child" || status=$?
  kill -KILL -- "-$child" 2>/dev/null || true
  child=''
  return $status
}

# keep NAME LOG: what there is to look at.
keep() {
  local at
  at=build/torture-kept/$1-$(date -u +%Y%m%dT%H%M%SZ)
  mkdir -p "$at"
  cp "$2" "$at/log"
  [ ! -d "$work/run" ] || cp -a "$work/run" "$at/run" 2>/dev/null || true
  echo "  kept: $at"
}

count_in() { # LOG PATTERN
  sed -nE "s/$2.*/\\1/p" "$1" | awk '{ sum += $1 } END { printf "%d", sum }'
}

next_seed() { # ROW
  [ -e "$ledger" ] || { echo 1; return; }
  awk -F '\t' -v row="$1" '$2 == row && $7 == "ok" && $4 > last { last = $4 } END { print last + 1 }' "$ledger"
}

sum_in_ledger() { # ROW
  [ -e "$ledger" ] || { echo 0; return; }
  awk -F '\t' -v row="$1" '$2 == row && $7 == "ok" { sum += $5 } END { printf "%d", sum }' "$ledger"
}

passed=0 failed=0 broken=0
table=()
conclude() { # NAME VERDICT COUNT UNIT FIRST LAST SECONDS GOAL
  local sum
  sum=$(sum_in_ledger "$1")
  [ "$8" = all ] && sum=complete || sum="$sum of $8"
  table+=("$(printf '%-16s %-7s %10s %-12s %13s %6d s  %s' "$1" "$2" "$3" "$4" "$5..$6" "$7" "$sum")")
  echo "${table[-1]}"
  if [ "$2" = ok ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

# fill_in SEED SECONDS ARGUMENT…: into `arguments`.
fill_in() {
  local seed=$1 share=$2 argument
  shift 2
  arguments=()
  for argument in "$@"; do
    argument=${argument//@SEED@/$seed}
    argument=${argument//@SECONDS@/$share}
    argument=${argument//@STATE@/$(dirname "$ledger")}
    argument=${argument//@WORK@/$work/run}
    arguments+=("${argument//@SOURCE@/$PWD}")
  done
}

# Sets `status`, and `runs`, how often it ran.
run_command() { # LOG MODE SHARE FIRST_SEED COMMAND…
  local log=$1 mode=$2 share=$3 seed=$4 began=$SECONDS limit=7200
  shift 4
  status=0 runs=0
  [ "$mode" = whole ] || limit=$((share * 2 + 300))
  while :; do
    fill_in $((seed + runs)) "$share" "$@"
    runs=$((runs + 1))
    execute "$log" "$limit" "${arguments[@]}" || { status=$?; return 0; }
    if [ "$mode" != again ] || [ $((SECONDS - began)) -ge "$share" ]; then return 0; fi
  done
}

# Sets `command`; false: it was not built.
find_binary() { # TREE BINARY
  local binary
  binary=$PWD/$(tree_of "$1")/$2
  command=("$binary")
  # Where the kernel randomises more bits than sanitizers were made for, these would now and then not start.
  if [ "$1" = fuzz ] && setarch -R true 2>/dev/null; then command=(setarch -R "$binary"); fi
  [ -x "$binary" ] || { echo "there is no $binary: it is not part of this checkout, or could not be built"; return 1; }
}

# The last seed: the program says it, or counts seeds, or had one for each run.
last_seed() { # LOG UNIT FIRST COUNT RUNS
  local said
  said=$(sed -nE 's/^counted .* seeds [0-9]+\.\.([0-9]+),.*/\1/p' "$1" | tail -1)
  if [ -n "$said" ]; then
    echo "$said"
  elif [ "$2" = seeds ]; then
    echo $(($3 + $4 - 1))
  else
    echo $(($3 + $5 - 1))
  fi
}

show_failure() { # NAME LOG STATUS
  echo "$1: status $3"
  tail -20 "$2" | sed 's/^/    | /'
  keep "$1" "$2"
}

run_row() { # SHARE NAME GOAL UNIT PATTERN MODE TREE BINARY ARGUMENT…
  local share=$1 name=$2 goal=$3 unit=$4 pattern=$5 mode=$6 log=$work/$2.log first last count took
  local began=$SECONDS verdict=ok status=0 runs=0 command=()
  find_binary "$7" "$8" >"$log" || status=127
  shift 8
  first=$(next_seed "$name")
  case " $* " in *@STATE@*) mkdir -p "$(dirname "$ledger")/corpus/${name#fuzz-}" ;; esac
  [ $status != 0 ] || run_command "$log" "$mode" "$share" "$first" "${command[@]}" "$@"
  took=$((SECONDS - began))
  if [ "$pattern" = - ]; then count=$took; else count=$(count_in "$log" "$pattern"); fi
  last=$(last_seed "$log" "$unit" "$first" "$count" "$runs")
  # A row that looked at nothing has shown nothing.
  if [ $status != 0 ] || [ "$count" = 0 ]; then
    verdict=FAILED
    show_failure "$name" "$log" $status
  fi
  printf '%s\t%s\t%d\t%d\t%d\t%d\t%s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$name" "$first" "$last" "$count" "$took" \
    $verdict >>"$ledger"
  conclude "$name" $verdict "$count" "$unit" "$first" "$last" $took "$goal"
}

# A planted bug that is found makes its row fail, as it would if it were the library's.
run_plant() { # BUG ROW PATTERN TREE BINARY ARGUMENT…
  local bug=$1 name=$2 pattern=$3 log=$work/$2.log began=$SECONDS verdict=ok status=0 command=() arguments=()
  find_binary "$4" "$5" >"$log" || status=127
  shift 5
  fill_in 1 60 "$@"
  [ $status = 127 ] || COUPON_FUZZ_PLANTED=${bug#reader-skips-} execute "$log" 600 "${command[@]}" "${arguments[@]}" ||
    status=$?
  if grep -qE "$pattern" "$log"; then
    verdict=FAILED
    echo "$name: planted $bug, found: $(grep -m 1 -E "$pattern" "$log")"
  else
    echo "$name: planted $bug, and NOT found (status $status)"
    tail -5 "$log" | sed 's/^/    | /'
  fi
  [ $status != 127 ] || broken=1
  conclude "$name" $verdict 1 planted 1 1 $((SECONDS - began)) all
}

# --- the table, visited ------------------------------------------------------------------------------------------

row() { if is_wanted "$1"; then "$visit" "$@"; fi; }
plant() { if [ "$1" = "$planted" ] && is_wanted "$2"; then "$visit" "$@"; fi; }

names=' ' weights=0
note_row() {
  names+="$1 "
  weights=$((weights + $2))
  echo "$8" >>"$work/targets.$7"
}
note_plant() {
  names+="$2 "
  echo "$5" >>"$work/targets.$4"
}
run_whole() { if [ "$6" = whole ]; then run_row 0 "$1" "${@:3}"; fi; }
run_timed() {
  if [ "$6" = whole ]; then return; fi
  # Of what is left now: a row that takes longer than its part is not made up for by running over the whole.
  local share=$(((seconds - (SECONDS - started)) * $2 / weights))
  weights=$((weights - $2))
  run_row $((share < 5 ? 5 : share)) "$1" "${@:3}"
}

if [ -n "$planted" ]; then
  visit=note_plant
  plants
  if [ "$names" = ' ' ]; then
    echo "no row knows a bug of the name $planted; there are:" >&2
    plant() { echo "  $1 ($2)"; }
    plants >&2
    exit 2
  fi
else
  visit=note_row
  rows
  for name in "${wanted[@]}"; do
    [[ $names == *" $name "* ]] || { echo "there is no row $name" >&2; exit 2; }
  done
  mkdir -p "$(dirname "$ledger")"
  ledger=$(realpath "$ledger")
fi

build
started=$SECONDS
if [ -n "$planted" ]; then
  visit=run_plant
  plants
else
  visit=run_whole
  rows
  visit=run_timed
  rows
  echo
  printf '%-16s %-7s %10s %-12s %13s %8s  %s\n' row verdict count '' seeds took 'all runs so far, of the goal'
  printf '%s\n' "${table[@]}"
  echo "ledger: $ledger"
fi
echo "$passed passed, $failed failed"
[ $broken = 0 ] || exit 2
[ $failed = 0 ]
