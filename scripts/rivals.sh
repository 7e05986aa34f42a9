#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What a user of libcoupon would use instead, on this machine: scripts/rivals.sh [--quick] [--json FILE] [NAME...]
#
#   NAME         redis, postgres, mariadb, lmdb, sqlite, rocksdb (all)
#   --quick      a second for each row, and 50,000 holders; otherwise five seconds, and a million
#   --json FILE  appends an object for each row, one a line
#
# Each is asked to issue coupons to distinct users, and first, by all clients for the same users at once, to show that
# it can: exactly the stock issued, to nobody twice, "already" to who asks again, and all of it still there after it was
# killed. Status 1 if one of them breaks that. No time is judged. The servers run in a temporary directory, on sockets
# there, and end with this script. Variables: CC is the compiler. perf/rivals/ has the programs that ask.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '4,13s/^# \{0,1\}//p' "$0" >&2; exit 2; }

names=() json_file='' quick=no seconds=5 holders=1000000 race=4000
while [ $# -gt 0 ]; do
  case $1 in
    --quick) quick=yes seconds=1 holders=50000 race=800 ;;
    --json) [ $# -ge 2 ] || usage; json_file=$2; shift ;;
    redis | postgres | mariadb | lmdb | sqlite | rocksdb) names+=("$1") ;;
    *) usage ;;
  esac
  shift
done
[ ${#names[@]} -gt 0 ] || names=(redis postgres mariadb lmdb sqlite rocksdb)
# More users than are served in the time, on the machines known; a rival that runs dry ends earlier, at the same rate.
crowd=$((seconds * 600000))

scripts/bootstrap.sh rivals
work=$(mktemp -d "${TMPDIR:-/tmp}/coupon-rivals.XXXXXX")
server='' client='' end_signal=KILL
# Every process that was started here, by its id. PostgreSQL's is asked, so that it ends its children and gives back
# its shared memory; it does not take longer than a few seconds over it.
clean_up() {
  if [ -n "$client" ]; then kill -KILL "$client" 2>/dev/null || true; fi
  if [ -n "$server" ]; then
    kill -"$end_signal" "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  fi
  if [ -n "$client" ]; then wait "$client" 2>/dev/null || true; fi # the shell would report it
  rm -rf -- "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

die() {
  echo "rivals: $*" >&2
  tail -n 20 "$work"/*.log >&2 2>/dev/null || true
  exit 2
}

# In the background, so that a signal to this script does not have to wait for it.
run_client() {
  local status=0
  "$@" &
  client=$!
  wait "$client" || status=$?
  client=''
  return $status
}

# --- Building -----------------------------------------------------------------------------------

programs=$PWD/build/rivals/perf/rivals
targets=(redis_load postgres_load mariadb_load embedded_lmdb embedded_sqlite embedded_rocksdb)
{
  run_client cmake -S . -B build/rivals -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_C_COMPILER="${CC:-gcc}" \
    -DCOUPON_WERROR=ON -DCOUPON_RIVALS=ON && run_client cmake --build build/rivals --target "${targets[@]}"
} >"$work/build.log" 2>&1 || die "the programs could not be built"
rm "$work/build.log"

# --- Servers ------------------------------------------------------------------------------------

# start_server COMMAND...: its process takes this shell's child, so that it can be ended by its id.
start_server() {
  "$@" >>"$work/server.log" 2>&1 </dev/null &
  server=$!
}

# await_server PROGRAM TARGET: returns once somebody answers there.
await_server() {
  local try
  for ((try = 0; try < 6000; try++)); do
    if run_client "$programs/$1" --target "$2" --ping 2>/dev/null; then return 0; fi
    kill -0 "$server" 2>/dev/null || break
    sleep 0.01
  done
  die "${1%_load} did not start"
}

# As in a crash: nothing is flushed, nothing is closed.
kill_server() {
  kill -"$end_signal" "$server"
  wait "$server" 2>/dev/null || true
  server='' end_signal=KILL
}

# In good order: what it did before is not to be done again when it comes back after a crash.
stop_server() {
  kill -TERM "$server"
  wait "$server" || true
  server='' end_signal=KILL
}

redis_at() {
  local directory=$1 sync=$2 append=yes
  if [ "$sync" = off ]; then append=no sync=no; fi
  # The log is not rewritten meanwhile, which would take the processor from the rows.
  start_server redis-server --port 0 --unixsocket "$directory/socket" --dir "$directory" --daemonize no --save '' \
    --appendonly $append --appendfsync "$sync" --auto-aof-rewrite-percentage 0
}

# It refuses to run as root.
postgres_bin=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
as_postgres() {
  if [ "$(id -u)" != 0 ]; then exec "$@"; fi
  exec setpriv --reuid postgres --regid postgres --init-groups -- "$@"
}

postgres_at() {
  end_signal=QUIT
  # What is said is what it says without being told, and what is not is a server's usual share of the memory.
  start_server as_postgres "$postgres_bin/postgres" -D "$1/data" -k "$1" -c listen_addresses= -c fsync=on \
    -c synchronous_commit=on -c full_page_writes=on -c shared_buffers=512MB
}

mariadb_at() {
  # Without the binary log, which is for replicas and would be a second sync.
  start_server mariadbd --no-defaults --user="$(id -un)" --datadir="$1/data" --socket="$1/socket" --tmpdir="$1" \
    --pid-file="$1/pid" --skip-networking --skip-log-bin --innodb-flush-log-at-trx-commit=1 \
    --innodb-buffer-pool-size=512M --max-connections=300
}

# --- Rows ---------------------------------------------------------------------------------------

failed=0
: >"$work/rows"

# run_row RIVAL LABEL PROGRAM TARGET OPTION...: measures; the result is in $work/row until add_row takes it.
run_row() {
  local rival=$1 label=$2 program=$3 target=$4 status=0
  shift 4
  # What was written before is not to reach the disk beside this row's syncs.
  sync -f "$work"
  run_client "$programs/$program" --target "$target" --race $race "$@" >"$work/result" || status=$?
  if [ $status -gt 1 ] || [ ! -s "$work/result" ]; then die "$rival, $label: could not be measured"; fi
  jq -c --arg rival "$rival" --arg what "$label" '{program: "rivals", row: "\($rival), \($what)", value, unit, clients,
    bytes_per_user: null, reload_s: null, held, rival: $rival, batch, issued, p50_us, p99_us, bytes: .bytes_per_user}' \
    "$work/result" >"$work/row"
}

# size_it: the row's bytes are those of so many users that they mean something.
size_it() {
  jq -c '.bytes_per_user = .bytes' "$work/row" >"$work/sized"
  mv "$work/sized" "$work/row"
}

# reload PROGRAM TARGET STARTER...: starts it again and waits until it answers a user of the row; its books have to
# have everybody. STARTER is what starts the server, or `true` if the program is the store itself.
reload() {
  local program=$1 target=$2 status=0 since
  shift 2
  since=${EPOCHREALTIME/[.,]/}000
  "$@"
  run_client "$programs/$program" --target "$target" --users $holders --probe --since "$since" >"$work/result" ||
    status=$?
  if [ $status -gt 1 ] || [ ! -s "$work/result" ]; then die "$program: did not come back"; fi
  jq -sc '.[0] + {reload_s: .[1].reload_s, held: (.[0].held and .[1].held)}' "$work/row" "$work/result" >"$work/again"
  mv "$work/again" "$work/row"
}

add_row() {
  jq -e .held "$work/row" >/dev/null || failed=$((failed + 1))
  jq -c 'del(.bytes)' "$work/row" | tee -a "$work/rows" >"$work/line"
  if [ -n "$json_file" ]; then cat "$work/line" >>"$json_file"; fi
  jq -r '[.row, .value, .p50_us / 1000, .p99_us / 1000, if .held then "ok" else "CHECK FAILED" end] | @tsv' \
    "$work/line" | awk -F '\t' '{ printf "%-44s %9d %10.2f %10.2f  %s\n", $1, $2, $3, $4, $5 }'
}

# timed RIVAL LABEL PROGRAM TARGET OPTION...: a row that ends with the time.
timed() {
  run_row "$@" --users $crowd --seconds $seconds
  add_row
}

# The check can fail: a user who is told twice that he got one has to be found.
check_can_fail() {
  local status=0
  mkdir "$work/planted"
  run_client "$programs/embedded_lmdb" --target "$work/planted" --users 100 --plant >"$work/result" 2>&1 || status=$?
  [ $status = 1 ] || die "a planted second coupon was not found: $(cat "$work/result")"
  rm -r "$work/planted"
}

# --- The rivals ---------------------------------------------------------------------------------

run_redis() {
  local sync at socket rival
  for sync in always everysec off; do
    at=$work/redis rival="redis lua, AOF $sync" socket=$work/redis/socket
    mkdir "$at"
    redis_at "$at" $sync
    await_server redis_load "$socket"
    timed "$rival" "1 client" redis_load "$socket"
    timed "$rival" "64 clients" redis_load "$socket" --clients 64
    if [ $quick = no ]; then
      timed "$rival" "64 clients x 64" redis_load "$socket" --clients 64 --batch 64
      timed "$rival" "64 clients x 1024" redis_load "$socket" --clients 64 --batch 1024
    fi
    # Anew, so that what is reloaded is not the log of all that.
    kill_server
    rm -r "$at"
    mkdir "$at"
    redis_at "$at" $sync
    await_server redis_load "$socket"
    run_row "$rival" "64 clients x 256" redis_load "$socket" --clients 64 --batch 256 --users $holders
    size_it
    kill_server
    if [ $sync != off ]; then
      reload redis_load "$socket" redis_at "$at" $sync
      kill_server
    fi
    add_row
    rm -r "$at"
  done
}

# run_sql RIVAL PROGRAM TARGET STARTER...: the same rows for either server.
run_sql() {
  local rival=$1 program=$2 target=$3
  shift 3
  "$@"
  await_server "$program" "$target"
  timed "$rival" "1 client" "$program" "$target"
  timed "$rival" "64 clients" "$program" "$target" --clients 64
  timed "$rival" "8 clients, 64 users per call" "$program" "$target" --clients 8 --batch 64
  stop_server
  "$@"
  await_server "$program" "$target"
  run_row "$rival" "1 client, 64 users per call" "$program" "$target" --batch 64 --users $holders
  size_it
  kill_server
  reload "$program" "$target" "$@"
  kill_server
  add_row
}

run_postgres() {
  local at=$work/postgres
  mkdir "$at"
  if [ "$(id -u)" = 0 ]; then
    # The server's user has to find its directory.
    chmod 711 "$work"
    chown postgres: "$at"
  fi
  (as_postgres "$postgres_bin/initdb" -D "$at/data" -U coupon -A trust -E UTF8 --locale=C --no-sync) \
    >"$work/initdb.log" 2>&1 || die "initdb failed"
  rm "$work/initdb.log"
  run_sql postgres postgres_load "host=$at user=coupon dbname=postgres" postgres_at "$at"
  rm -r "$at"
}

run_mariadb() {
  local at=$work/mariadb
  mkdir "$at"
  # Waited for even by a signal: it has children of its own, who would go on writing to what is being removed.
  mariadb-install-db --no-defaults --user="$(id -un)" --datadir="$at/data" --skip-test-db \
    --auth-root-authentication-method=normal </dev/null >"$work/install-db.log" 2>&1 || die "mariadb-install-db failed"
  rm "$work/install-db.log"
  run_sql mariadb mariadb_load "$at/socket" mariadb_at "$at"
  rm -r "$at"
}

# run_embedded NAME MANY: each row in a directory of its own. MANY clients have a row if there is one for them.
run_embedded() {
  local name=$1 many=$2 at=$work/embedded
  mkdir "$at"
  timed "$name" "1 per commit" "embedded_$name" "$at"
  if [ "$many" -gt 1 ]; then
    rm -r "$at"
    mkdir "$at"
    timed "$name" "1 per commit, $many threads" "embedded_$name" "$at" --clients "$many"
  fi
  rm -r "$at"
  mkdir "$at"
  run_row "$name" "1000 per commit" "embedded_$name" "$at" --batch 1000 --users $holders --abandon
  size_it
  reload "embedded_$name" "$at" true
  add_row
  rm -r "$at"
}

# --- The run ------------------------------------------------------------------------------------

echo "$(uname -sm), $(nproc) processors; $holders holders; $(redis-server --version | cut -d ' ' -f 1-3), $(
  "$postgres_bin/postgres" --version), $(mariadbd --version | sed 's/.*\(Ver [^ -]*\).*/MariaDB \1/'), LMDB $(
  pkg-config --modversion lmdb), SQLite $(pkg-config --modversion sqlite3), RocksDB $(pkg-config --modversion rocksdb)"
printf '%-44s %9s %10s %10s\n' '' 'issues/s' 'p50 ms' 'p99 ms'
check_can_fail
for name in "${names[@]}"; do
  case $name in
    redis) run_redis ;;
    postgres) run_postgres ;;
    mariadb) run_mariadb ;;
    lmdb | sqlite) run_embedded "$name" 1 ;; # more threads would only wait for each other
    rocksdb) run_embedded rocksdb 64 ;;
  esac
done

echo
printf '%-28s %10s %10s %8s %9s  %s\n' '' '1 client' 'best' 'B/user' 'reload s' 'invariants'
jq -rs 'group_by(.rival) | sort_by(.[0].rival) | .[] | [.[0].rival,
    (map(select(.clients == 1 and .batch == 1).value) | max), (map(.value) | max),
    (map(.bytes_per_user // empty) | first // "-"), (map(.reload_s // empty) | first // "-"),
    if all(.held) then "held" else "BROKEN" end] | @tsv' "$work/rows" |
  awk -F '\t' '{ printf "%-28s %10d %10d %8s %9s  %s\n", $1, $2, $3, $4, $5, $6 }'
if [ $failed -gt 0 ]; then
  echo "rivals: $failed of $(wc -l <"$work/rows") rows FAILED" >&2
  exit 1
fi
echo "$(wc -l <"$work/rows") rows checked"
