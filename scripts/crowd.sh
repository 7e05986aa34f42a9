#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Crowds in front of the HTTP example: scripts/crowd.sh WHAT... [OPTION...]
#
#   profile   the reference's load profile: sign in, ask, pause 1 s; up to 2,000 virtual users
#   saturate  as fast as it goes, every request another account with a token never seen before
#   crash     the same, killed (SIGKILL) in the middle and restarted, then held to what clients had been told
#   speed     durable issues and refusals beside a constant answer of the same server, at 64, 256 and 512 connections
#   all       these four
#
#   --json FILE       the rows, as JSON                --seed N          what `crash` kills when (random)
#   --users N         profile: virtual users (2000)    --ramp S, --hold S  seconds (10, 10)
#   --one-account     profile: all of them one account, as in the reference's own load script
#   --tokens N        saturate: requests (1000000)     --stock N         saturate: coupons (half of that)
#   --connections N   saturate, crash (256)            --rounds N        crash (3)
#   --pairs N         speed: runs of each kind (3)     --seconds N       speed: of each run (3)
#   --levels "N..."   speed: connections (64 256 512)
#
# Variables: SERVE_OPTIONS are further options for `coupon-http serve`, WRK_THREADS the threads of wrk (1),
# COUPON_HTTP and COUPON other programs than those that are built here. Status 0 unless a client was told a lie: a
# speed that misses its target is shown, no more. What a failed sale left is kept in build/crowd/.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '4,22s/^# \{0,1\}//p' "$0" >&2; exit 2; }

whats=() json_file='' seed=$((RANDOM * 32768 + RANDOM))
users=2000 ramp=10 hold=10 one_account=no
tokens=1000000 stock='' connections=256 rounds=3 pairs=3 seconds=3 levels='64 256 512'
while [ $# -gt 0 ]; do
  case $1 in
    profile | saturate | crash | speed) whats+=("$1"); shift; continue ;;
    all) whats=(profile saturate crash speed); shift; continue ;;
    --one-account) one_account=yes; shift; continue ;;
    --*) [ $# -ge 2 ] || usage ;;
  esac
  case $1 in
    --json) json_file=$2 ;;
    --seed) seed=$2 ;;
    --users) users=$2 ;;
    --ramp) ramp=$2 ;;
    --hold) hold=$2 ;;
    --tokens) tokens=$2 ;;
    --stock) stock=$2 ;;
    --connections) connections=$2 ;;
    --rounds) rounds=$2 ;;
    --pairs) pairs=$2 ;;
    --seconds) seconds=$2 ;;
    --levels) levels=$2 ;;
    *) usage ;;
  esac
  shift 2
done
[ ${#whats[@]} -gt 0 ] || usage
stock=${stock:-$((tokens / 2))}
threads=${WRK_THREADS:-1}
# The words of the variable are meant to be split.
read -ra serve_options <<<"${SERVE_OPTIONS:-}"

scripts/bootstrap.sh crowd
if [ -z "${COUPON_HTTP:-}" ] || [ -z "${COUPON:-}" ]; then
  scripts/build.sh release
  scripts/build-http.sh
fi
http=${COUPON_HTTP:-$PWD/build/http/build/coupon-http}
tool=${COUPON:-$PWD/build/release/coupon}
crowd=examples/http/crowd
# Two thousand users are as many connections, on either side.
ulimit -Sn 8192 2>/dev/null || ulimit -Sn "$(ulimit -Hn)" 2>/dev/null || true

work=$(mktemp -d "${TMPDIR:-/tmp}/coupon-crowd.XXXXXX")
service='' client=''
# Every process that was started here, by its id; a stopped one too.
clean_up() {
  local process
  for process in $client $service; do
    kill -9 "$process" 2>/dev/null || true
    wait "$process" 2>/dev/null || true # the shell would report it
  done
  rm -rf -- "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

die() { echo "crowd: $*" >&2; exit 1; }

# run_client COMMAND...: in the background, so that a signal to this script does not have to wait for it.
run_client() {
  local status=0
  # Without the redirection it would be given an empty standard input.
  "$@" <&0 &
  client=$!
  wait "$client" || status=$?
  client=''
  return $status
}

# --- The service ---------------------------------------------------------------------------------

secret=$work/keys/secret
"$http" secret "$work/keys" >/dev/null

# start_service DIRECTORY PORT OPTION...: returns once it listens; `port` says where.
start_service() {
  local directory=$1 wanted=$2 try
  shift 2
  # Emptied here, not by the process to be: its line of an earlier life must not be taken for that of this one.
  : >"$directory.out"
  "$http" serve "$directory" --secret-file "$secret" --port "$wanted" "${serve_options[@]}" "$@" \
    >>"$directory.out" 2>>"$directory.err" &
  service=$!
  for ((try = 0; try < 3000; try++)); do
    port=$(sed -n 's/^coupon-http: listening on .*:\([0-9]*\)$/\1/p' "$directory.out")
    [ -z "$port" ] || return 0
    kill -0 "$service" 2>/dev/null || break
    sleep 0.01
  done
  cat "$directory.err" >&2
  die "the service did not start"
}

# It has to end well: stopping is part of what is shown.
stop_service() {
  local status=0
  kill -TERM "$service"
  wait "$service" || status=$?
  service=''
  [ $status = 0 ] || die "the service ended with status $status after SIGTERM"
}

kill_service() {
  kill -9 "$service"
  # A client that is stopped meanwhile does not try again as fast as it can, each time with another token.
  [ -z "$client" ] || kill -STOP "$client" 2>/dev/null || true
  wait "$service" 2>/dev/null || true
  service=''
}

# create_coupon STOCK LIMIT: coupon 1 of the running service. By hand, so that no other program is needed.
create_coupon() {
  local token body answer socket
  token=$("$http" tokens "$work/keys" --role ADMIN --first 1000000000 --count 1 | cut -f 2)
  body='{"id":1,"name":"crowd","description":"For whoever comes first.","discountAmount":1000,'
  body+='"quantity":'$1',"perUserLimit":'$2'}'
  exec {socket}<>"/dev/tcp/127.0.0.1/$port"
  printf 'POST /api/v1/coupons HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\nConnection: close\r\n' \
    "$token" >&"$socket"
  printf 'Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' ${#body} "$body" >&"$socket"
  answer=$(cat <&"$socket")
  exec {socket}>&-
  [[ $answer == "HTTP/1.1 200 "* && $answer == *'"couponId":1'* ]] || die "the coupon could not be created: $answer"
}

# disk_figures: how many syncs the running service has made, and how long one took.
disk_figures() {
  local socket
  exec {socket}<>"/dev/tcp/127.0.0.1/$port"
  printf 'GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n' >&"$socket"
  awk '/^coupon_engine_sync_seconds_count/ { n = $2 } /^coupon_engine_sync_seconds_sum/ { s = $2 }
    END { printf "{\"syncs\": %d, \"sync_us\": %.1f}\n", n, (n > 0 ? s * 1e6 / n : 0) }' <&"$socket"
  exec {socket}>&-
}

# --- The crowd -----------------------------------------------------------------------------------

# need_tokens N: at least so many in $work/tokens.0 ..., for users 1, 2 ... They serve several sales, each of which has
# a service of its own, in which none of them has been seen.
made=0
need_tokens() {
  local each=$((($1 + threads - 1) / threads)) thread
  [ $made -lt "$1" ] || return 0
  for ((thread = 0; thread < threads; thread++)); do
    run_client "$http" tokens "$work/keys" --first $((1 + thread * each)) --count $each --seconds 86400 \
      >"$work/tokens.$thread"
  done
  made=$((each * threads))
}

# tokens_for AT N: the first N of them, as this sale's own. Of each thread's file its share.
tokens_for() {
  local each=$((($2 + threads - 1) / threads)) thread
  for ((thread = 0; thread < threads; thread++)); do
    head -n $each "$work/tokens.$thread" >"$1/tokens.$thread"
  done
}

# be_wrk AT CONNECTIONS SECONDS PATH: becomes wrk, asking for AT/tokens. ..., so it is to run in the background. The
# answers go to AT/acks. ...
be_wrk() {
  local at=$1
  exec env CROWD_TOKENS="$at/tokens" CROWD_ACKS="$at/acks" CROWD_THREADS="$threads" CROWD_PATH="$4" CROWD_COUPON=1 \
    wrk -s $crowd/crowd.lua -t "$threads" -c "$2" -d "$3" "http://127.0.0.1:$port" >"$at/wrk.out" 2>"$at/wrk.err"
}

# The summary of a run that is over, if it is complete: every answer that wrk counted has its line.
read_wrk() {
  local at=$1 lines
  tail -n 1 "$at/wrk.out" >"$at/wrk.json"
  lines=$(cat "$at"/acks.[0-9]* | wc -l)
  jq -e --argjson lines "$lines" '.answered == $lines' "$at/wrk.json" >"$at/complete" 2>&1 || {
    cat "$at/wrk.out" "$at/wrk.err" >&2
    die "wrk lost answers: $lines are in its files"
  }
}

# Who was asked for in a run of wrk and is not among the answers, with their tokens.
silent_people() {
  local at=$1 thread=0 asked
  for asked in $(jq '.asked[]' "$at/wrk.json"); do
    awk -v acks="$at/acks.$thread" '
      FILENAME == acks { if ($4 == "issued" || $4 == "already_issued" || $4 == "sold_out") settled[$2] = 1; next }
      FNR > asked { exit }
      !($1 in settled)' "$at/acks.$thread" asked="$asked" "$at/tokens.$thread"
    thread=$((thread + 1))
  done
}

# check AT STOCK ASKED OPTION...: the checker, over what the crowd was told. Its words go to AT/check.json. Violations
# are printed the first time.
check() {
  local at=$1 stock=$2 asked=$3 status=0
  shift 3
  run_client $crowd/check --tool "$tool" --log "$at/data/log" --coupon 1 --stock "$stock" --asked "$asked" "$@" \
    "$at"/acks.[0-9]* >"$at/check.json" || status=$?
  [ $status -le 1 ] || die "the checker could not check"
  if [ $status != 0 ] && [ ! -e "$at/violated" ]; then
    : >"$at/violated"
    jq -r '"crowd: \(.violations) violations:", "  " + .first_violations[]' "$at/check.json" >&2
  fi
  return $status
}

# settle AT STOCK ASKED OPTION...: while the service runs: checks; everyone in AT/silent asks again; checks again,
# and then the log alone. Status 1 if something was violated. AT/check.json has the numbers at the end, and
# AT/before.json those before anyone asked again.
settle() {
  local at=$1 stock=$2 asked=$3 status=0 silent
  shift 3
  check "$at" "$stock" "$asked" "$@" || status=1
  cp "$at/check.json" "$at/before.json"
  silent=$(wc -l <"$at/silent")
  : >"$at/again"
  run_client node $crowd/visitors.mjs --url "http://127.0.0.1:$port" --coupon 1 --ask-again "$at/silent" \
    --acks "$at/again" >"$at/again.json" || { echo "crowd: asking again failed" >&2; status=1; }
  check "$at" "$stock" "$asked" "$@" --again "$at/again" --silent "$silent" --sold-out || status=1
  stop_service
  "$tool" verify "$at/data/log" >"$at/verify.out" 2>&1 || { cat "$at/verify.out" >&2; status=1; }
  return $status
}

# --- Rows ----------------------------------------------------------------------------------------

failed=0
: >"$work/rows"

# rows ARGUMENT...: jq with the definitions of rows.jq; the last arguments are a filter and its files.
rows() { jq -c -L $crowd "$@"; }

# add_row FILTER FILE...: what the filter makes of the files' objects is a row.
add_row() {
  local filter=$1 row
  shift
  row=$(rows -s "include \"rows\"; $filter" "$@")
  jq -e .ok <<<"$row" >/dev/null || failed=$((failed + 1))
  echo "$row" >>"$work/rows"
  rows -r 'include "rows"; in_words' <<<"$row"
  if [ -n "$json_file" ]; then
    mkdir -p "$(dirname "$json_file")"
    jq -s --argjson seed "$seed" '{seed: $seed, rows: ., ok: all(.ok)}' "$work/rows" >"$json_file"
  fi
}

# clean STATUS: the same as a word of jq.
clean() { if [ "$1" = 0 ]; then echo true; else echo false; fi; }

# What a failed sale left, without the tokens and with the log's holes.
keep() {
  local at=$1 name=$2
  rm -f "$at"/tokens.*
  mkdir -p build/crowd
  rm -rf "build/crowd/$name"
  cp -r --sparse=always "$at" "build/crowd/$name"
  echo "kept: build/crowd/$name" >&2
}

# --- a: the profile ------------------------------------------------------------------------------

hold_profile() {
  local at=$work/profile limit=1 mode=(--repeat 20) title="$users users, 1 s pauses, 20 % keep asking"
  local coupons=$((users / 2)) status=0 options=() name=http_profile
  mkdir "$at"
  if [ $one_account = yes ]; then
    # In a closed loop with pauses of 1 s, so many requests are fewer than the crowd makes.
    coupons=$((users * (ramp / 2 + hold) / 2)) limit=0 mode=(--one-account) options=(--limit none)
    title="one account, $users virtual users, 1 s pauses" name=http_profile_one_account
  fi
  echo "crowd: $title, $coupons coupons"
  # The cheapest hash there is: a demonstration may, since nobody's password is at stake, and two cores would
  # otherwise be busy with 2,000 passwords instead of the sale.
  awk -v n="$users" 'BEGIN { for (i = 1; i <= n; i++) printf "user%d@example.com\tpassword-%d\n", i, i }' >"$at/people"
  run_client "$http" accounts "$at/data" --cost 1 <"$at/people" >"$at/ids"
  # ID, EMAIL, PASSWORD.
  join -t $'\t' -1 2 -2 1 -o 1.1,0,2.2 <(sort -t $'\t' -k 2 "$at/ids") <(sort -t $'\t' -k 1 "$at/people") |
    sort -n >"$at/accounts"
  [ "$(wc -l <"$at/accounts")" = "$users" ] || die "not every account was made"
  # All of them come from one address; the limit is for one person's.
  start_service "$at/data" 0 --signin-per-address 0 --signin-per-account 0
  create_coupon "$coupons" $limit
  run_client node $crowd/visitors.mjs --url "http://127.0.0.1:$port" --coupon 1 --accounts "$at/accounts" \
    --acks "$at/acks.0" --unanswered "$at/silent" --users "$users" --ramp "$ramp" --hold "$hold" "${mode[@]}" \
    >"$at/visitors.json" || status=1
  if [ $one_account = yes ]; then
    # Who asks again is served again, so there is nothing to settle by asking.
    check "$at" "$coupons" "$(jq .offered "$at/visitors.json")" "${options[@]}" --sold-out || status=1
    stop_service
  else
    settle "$at" "$coupons" "$(jq .offered "$at/visitors.json")" || status=1
  fi
  add_row "profile_row(\"$name\"; \"$title\"; $(clean $status))" "$at/check.json" "$at/visitors.json"
  if [ $status != 0 ]; then keep "$at" profile; fi
  rm -rf -- "$at"
}

# --- b: saturation -------------------------------------------------------------------------------

saturate() {
  local at=$work/saturate status=0
  mkdir "$at"
  echo "crowd: $tokens accounts as fast as they can, $connections connections, $stock coupons"
  need_tokens "$tokens"
  tokens_for "$at" "$tokens"
  start_service "$at/data" 0
  create_coupon "$stock" 1
  # It ends when no token is left; five minutes are for a machine that is in trouble.
  run_client be_wrk "$at" "$connections" 300 /api/v1/user-coupon || die "wrk: $(cat "$at/wrk.err")"
  read_wrk "$at"
  silent_people "$at" >"$at/silent"
  settle "$at" "$stock" "$(jq '.asked | add' "$at/wrk.json")" --in-order "$connections" || status=1
  add_row "saturate_row($connections; $(clean $status))" "$at/check.json" "$at/wrk.json"
  if [ $status != 0 ]; then keep "$at" saturate; fi
  rm -rf -- "$at"
}

# --- c: the crash --------------------------------------------------------------------------------

# The check can fail: it has to report a ticket that a client was told of and that is somebody else's in the log.
forged_ack_is_caught() {
  local at=$1 stock=$2 asked=$3 forged="$1/forged" expected='rule 1: user 0 was told \"issued\" with ticket '$2
  echo "200 0 $stock issued" >"$forged"
  if $crowd/check --tool "$tool" --log "$at/data/log" --coupon 1 --stock "$stock" --asked $((asked + 1)) \
    "$forged" "$at"/acks.[0-9]* >"$forged.json" || ! grep -qF "$expected" "$forged.json"; then
    cat "$forged.json" >&2
    echo "crowd: a forged acknowledgement was not caught" >&2
    return 1
  fi
}

lines_so_far() { cat "$@" 2>/dev/null | wc -l; }

# A pause without a process: nobody ever writes to this.
exec {never}<> <(:)
moment() { read -rt 0.005 -u "$never" || true; }

# One round: AT ROUND KILLS STOCK. Status 1 if something was violated, 2 if the sale was over before the kill.
crash_round() {
  local at=$1 round=$2 kills=$3 stock=$4 kill goal=0 asked status=0
  start_service "$at/data" 0
  create_coupon "$stock" 1
  be_wrk "$at" "$connections" 120 /api/v1/user-coupon &
  client=$!
  for ((kill = 1; kill <= kills; kill++)); do
    # Not by the clock: machines differ. Together less than the stock, so that coupons are still being given away.
    goal=$((goal + 1 + ROUND_RANDOM[kill] % (stock * 6 / 10 / kills)))
    while kill -0 "$client" 2>/dev/null && [ "$(lines_so_far "$at"/acks.[0-9]*)" -lt $goal ]; do moment; done
    kill_service
    "$tool" verify "$at/data/log" >"$at/verify-$kill.out" 2>&1 ||
      { cat "$at/verify-$kill.out" >&2; echo "crowd: verify, after kill $kill" >&2; status=1; }
    [ "$("$tool" status "$at/data/log" 1 --json | jq .issued)" -lt "$stock" ] || return 2
    start_service "$at/data" "$port"
    kill -CONT "$client"
  done
  wait "$client" || die "wrk: $(cat "$at/wrk.err")"
  client=''
  read_wrk "$at"
  silent_people "$at" >"$at/silent"
  asked=$(jq '.asked | add' "$at/wrk.json")
  if [ "$round" = 1 ]; then forged_ack_is_caught "$at" "$stock" "$asked" || status=1; fi
  settle "$at" "$stock" "$asked" --in-order "$connections" || status=1
  return $status
}

crash() {
  local round try status kills coupons at=$work/crash demand=120000 all_kills=0 before=$failed
  RANDOM=$((seed % 32768)) # from here on, the same seed gives the same rounds
  echo "crowd: $rounds rounds, seed $seed, $demand accounts, $connections connections, killed in the middle"
  need_tokens $demand
  : >"$work/crashes"
  for ((round = 1; round <= rounds; round++)); do
    kills=$(((round - 1) % 2 + 1)) coupons=$((30000 + RANDOM % 30000))
    ROUND_RANDOM=(0 $RANDOM $RANDOM)
    # On a busy machine the kill may come too late; that shows nothing, so the round begins anew.
    for try in 1 2 3 4 5; do
      rm -rf -- "$at"
      mkdir "$at"
      tokens_for "$at" $demand
      status=0
      crash_round "$at" $round $kills $coupons || status=$?
      [ $status = 2 ] || break
      kill -9 "$client" 2>/dev/null || true
      wait "$client" 2>/dev/null || true
      client=''
      echo "round $round: the sale was over before it could be killed" >&2
    done
    [ $status != 2 ] || die "round $round: no sale was killed in time, after $try tries"
    all_kills=$((all_kills + kills))
    rows -s "include \"rows\"; crash_round($kills; $(clean $status))" "$at/check.json" "$at/before.json" |
      tee -a "$work/crashes" | rows -r "include \"rows\"; crash_round_in_words($round)"
    if [ $status != 0 ]; then keep "$at" "seed-$seed-round-$round"; fi
    rm -rf -- "$at"
  done
  add_row "crash_row($seed)" "$work/crashes"
  if [ $failed = $before ]; then
    echo "$rounds rounds with $all_kills kills checked"
  else
    echo "crowd: a round FAILED; again with --seed $seed" >&2
  fi
}

# --- Speed ---------------------------------------------------------------------------------------

# speed_run KIND CONNECTIONS PAIR: one run against a new service; its result is added to $work/runs.
speed_run() {
  local kind=$1 connections=$2 pair=$3 at=$work/speed path=/api/v1/user-coupon coupons=$made status=0 asked
  rm -rf -- "$at"
  mkdir "$at"
  case $kind in
    constant) path=/api/v1/constant ;;
    refusal) coupons=1000 ;; # gone in the first moments
  esac
  local thread
  for ((thread = 0; thread < threads; thread++)); do ln -s "$work/tokens.$thread" "$at/tokens.$thread"; done
  start_service "$at/data" 0 --constant /api/v1/constant
  create_coupon "$coupons" 1
  # What was written before, the tokens above all, is not to reach the disk beside the run's own syncs.
  sync -f "$work"
  run_client be_wrk "$at" "$connections" "$seconds" $path || die "wrk: $(cat "$at/wrk.err")"
  read_wrk "$at"
  asked=$(jq '.asked | add' "$at/wrk.json")
  if [ "$kind" = constant ]; then
    rows 'include "rows"; constant_check' "$at/wrk.json" >"$at/check.json"
    jq -e .ok "$at/check.json" >/dev/null || status=1
  else
    check "$at" "$coupons" "$asked" --in-order "$connections" || status=1
  fi
  disk_figures >"$at/disk.json"
  stop_service
  rows -s "include \"rows\"; speed_run(\"$kind\"; $connections; $pair; $(clean $status))" \
    "$at/check.json" "$at/wrk.json" "$at/disk.json" >>"$work/runs"
  if [ $status != 0 ]; then keep "$at" "speed-$kind-$connections"; fi
  rm -rf -- "$at"
}

speed() {
  local pair level row
  echo "crowd: speed, $pairs runs of $seconds s of each kind"
  # More than are used, on the machines known; who runs dry ends earlier, which changes no rate.
  need_tokens $((seconds * 150000))
  : >"$work/runs"
  for ((pair = 1; pair <= pairs; pair++)); do
    for level in $levels; do
      speed_run constant "$level" $pair
      speed_run issue "$level" $pair
      speed_run refusal "$level" $pair
    done
  done
  for level in $levels; do
    for ((row = 0; row < 3; row++)); do add_row "[speed_rows($level)][$row]" "$work/runs"; done
  done
}

# -------------------------------------------------------------------------------------------------

for what in "${whats[@]}"; do
  case $what in
    profile) hold_profile ;;
    saturate) saturate ;;
    crash) crash ;;
    speed) speed ;;
  esac
done

if [ $failed -gt 0 ]; then
  echo "crowd: $failed of $(wc -l <"$work/rows") rows FAILED" >&2
  exit 1
fi
# The crash has said already how much it looked at.
if [ "${whats[*]}" != crash ]; then echo "$(wc -l <"$work/rows") rows checked"; fi
