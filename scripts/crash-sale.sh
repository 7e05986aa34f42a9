#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Sales that are killed: scripts/crash-sale.sh [--rounds N] [--seed N] [--json FILE] [--tool COUPON]
#
# Each round holds a sale in a new directory, kills it (SIGKILL) in the middle, and in two of three rounds
# resumes and kills it again. What users had been told by then stands in a file outside of the process. Then the
# log is recovered and held to that file, every user asks again, and `coupon verify` reads the directory
# with a reader of its own. Ends with status 0 only if every round was killed in mid-sale and nothing was broken.
# A round that failed is kept in build/crash-sale/.
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=3 seed=$((RANDOM * 32768 + RANDOM)) json_file='' tool=$PWD/build/release/coupon
while [ $# -gt 0 ]; do
  case $1 in
    --rounds) rounds=$2 ;;
    --seed) seed=$2 ;;
    --json) json_file=$2 ;;
    --tool) tool=$2 ;;
    *) sed -n '4,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift 2
done

stock=10000 users=30000 threads=10
sale=(--stock "$stock" --users "$users" --threads "$threads" --repeat 20)
RANDOM=$((seed % 32768)) # from here on, the same seed gives the same rounds
echo "crash-sale: $rounds rounds, seed $seed, stock $stock, $users users, $threads threads"

work=$(mktemp -d "${TMPDIR:-/tmp}/coupon-crash.XXXXXX")
victim=''
clean_up() {
  [ -z "$victim" ] || kill -9 "$victim" 2>/dev/null || true
  rm -rf -- "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

lines() { if [ -e "$1" ]; then wc -l <"$1"; else echo 0; fi; }

# kill_in_mid_sale ROUND_DIRECTORY AFTER OPTION...: holds a sale and kills it once AFTER more answers are out. Not by
# the clock: machines differ. Fails if the sale failed, and with status 2 if it was over before the kill.
kill_in_mid_sale() {
  local at=$1 after=$2 goal status=0
  shift 2
  goal=$(($(lines "$at/acks") + after))
  "$tool" sale "${sale[@]}" --dir "$at/data" --ack-file "$at/acks" "$@" >"$at/sale.out" 2>"$at/sale.err" &
  victim=$!
  while kill -0 "$victim" 2>/dev/null && [ "$(lines "$at/acks")" -lt "$goal" ]; do :; done
  kill -9 "$victim" 2>/dev/null || true
  # The shell would report the killed job.
  wait "$victim" 2>/dev/null || status=$?
  victim=''
  case $status in
    137) ;;
    0) return 2 ;;
    *) cat "$at/sale.err" >&2; echo "the sale ended by itself, with status $status" >&2; return 1 ;;
  esac
}

# The check can fail: it has to report a ticket that was acknowledged and is not in the log.
forged_ticket_is_caught() {
  local at=$1 kills=$2 status=0
  cp -r "$at/data" "$at/forged"
  { cat "$at/acks"; echo "1 $stock 1"; } >"$at/forged-acks"
  "$tool" sale --check "${sale[@]}" --dir "$at/forged" --ack-file "$at/forged-acks" --kills "$kills" \
    >"$at/forged.out" 2>&1 || status=$?
  rm -r "$at/forged"
  [ $status = 3 ] && grep -q 'violation: user 1 was given ticket' "$at/forged.out" && return 0
  cat "$at/forged.out" >&2
  echo "a forged acknowledgement was not caught" >&2
  return 1
}

# One round; its result, a JSON object, goes to ROUND_DIRECTORY/check.json.
run_round() {
  local at=$1 kills=$2 round_seed=$3 kill resume=()
  mkdir "$at"
  for ((kill = 1; kill <= kills; kill++)); do
    # Together less than the stock, so that tickets are still being given away; sometimes after very few.
    kill_in_mid_sale "$at" $((1 + RANDOM % (stock * 9 / 10 / kills))) --seed $((round_seed + kill)) "${resume[@]}" ||
      return $?
    "$tool" verify "$at/data" >"$at/verify-$kill.out" 2>&1 ||
      { cat "$at/verify-$kill.out" >&2; echo "verify, before recovery, after kill $kill" >&2; return 1; }
    resume=(--resume)
  done
  if [ "$round" = 1 ]; then forged_ticket_is_caught "$at" "$kills" || return 1; fi
  "$tool" sale --check "${sale[@]}" --dir "$at/data" --ack-file "$at/acks" --kills "$kills" --seed "$round_seed" \
    --json >"$at/check.json" || { echo "the check ended with status $?" >&2; return 1; }
  "$tool" verify "$at/data" >"$at/verify.out" 2>&1 ||
    { cat "$at/verify.out" >&2; echo "verify, at the end" >&2; return 1; }
}

failed=0
results=$work/results
: >"$results"
for ((round = 1; round <= rounds; round++)); do
  kills=$(((round - 1) % 3 + 1))
  at=$work/$round
  # On a busy machine the kill may come too late; that shows nothing, so the round begins anew.
  for try in 1 2 3 4 5; do
    status=0
    run_round "$at" $kills $((seed + 10 * round)) || status=$?
    if [ "$status" != 2 ]; then break; fi
    echo "round $round: the sale was over before it could be killed" >&2
    if [ "$try" -lt 5 ]; then rm -rf -- "$at"; fi
  done
  if [ "$status" = 0 ] && jq -e .ok "$at/check.json" >/dev/null; then
    verdict=ok
  else
    verdict=FAILED
    failed=$((failed + 1))
    mkdir -p build/crash-sale
    rm -rf "build/crash-sale/seed-$seed-round-$round"
    cp -r "$at" "build/crash-sale/seed-$seed-round-$round"
    echo "kept: build/crash-sale/seed-$seed-round-$round" >&2
  fi
  # A round without a result still counts, as one that is not ok.
  result=$(jq -c . "$at/check.json" 2>/dev/null) || result=''
  [ -n "$result" ] || result='{}'
  jq -c --argjson kills $kills --arg verdict $verdict '. + {kills: $kills, ok: ($verdict == "ok")}' <<<"$result" |
    tee -a "$results" |
    jq -r --arg round "$round" '"round \($round): \(if .ok then "ok" else "FAILED" end), killed \(.kills) times, " +
      "\(.acknowledged) tickets acknowledged, \(.unanswered) recovered that nobody was told of, then " +
      "\(.issued) issued to those who asked again, \(.remaining) left"'
  rm -rf -- "$at"
done

# What the rounds come to, with the names of a single sale. `issued` is what the killed sales and the check
# after them issued together.
summary=$(jq -cs '
  def sum(f): map(f // 0) | add;
  {mode: "crash", rounds: length, kills: sum(.kills), stock: sum(.stock), offered: sum(.offered),
   issued: sum(.tickets), acknowledged: sum(.acknowledged), unanswered: sum(.unanswered), tickets: sum(.tickets),
   remaining: sum(.remaining), sold_out: sum(.sold_out), already_issued: sum(.already_issued), errors: sum(.errors),
   violations: sum(.violations), ok: (length > 0 and all(.ok)), seed: '"$seed"'}' "$results")
if [ -n "$json_file" ]; then
  mkdir -p "$(dirname "$json_file")"
  echo "$summary" >"$json_file"
fi
if [ $failed -gt 0 ]; then
  echo "crash-sale: $failed of $rounds rounds FAILED; again with --seed $seed" >&2
  exit 1
fi
echo "$rounds rounds with $(jq .kills <<<"$summary") kills checked"
