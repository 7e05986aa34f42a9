#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Pastes the README's HTTP example into a shell, as a reader would, and looks at what comes out. Only two things are
# changed: the directory is a temporary one, and the port is one that is free. scripts/check-readme.sh
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d "${TMPDIR:-/tmp}/coupon-readme.XXXXXX")
shell=''
# The shell leads a process group of its own, with the service in it.
clean_up() {
  [ -z "$shell" ] || kill -KILL -- "-$shell" 2>/dev/null || true
  rm -rf -- "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# A port that nobody listens on, of those the kernel does not hand out by itself.
free_port() {
  local port
  for port in $(shuf -i 20000-29999 -n 50); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
  return 1
}

# The first block of commands that mentions the service.
awk '/^```sh$/ { inside = 1; block = ""; next }
  /^```$/ { if (inside && block ~ /coupon-http/) { printf "%s", block; exit } inside = 0; next }
  inside { block = block $0 "\n" }' README.md >"$work/pasted"
[ -s "$work/pasted" ] || { echo "the README has no such block: this check is broken" >&2; exit 1; }
port=$(free_port)
sed -e "s#build/shop#$work/shop#g" -e "s|8080|$port|g" "$work/pasted" >"$work/commands"

# As if typed: going on after a failure.
setsid bash "$work/commands" >"$work/said" 2>"$work/errors" &
shell=$!
status=0
wait "$shell" || status=$?

count=0
expect() {
  count=$((count + 1))
  grep -qF "$1" "$work/said" && return
  { echo "this was not answered: $1"; cat "$work/said" "$work/errors"; } >&2
  exit 1
}
[ $status = 0 ] || { echo "the last command ended with status $status" >&2; cat "$work/errors" >&2; exit 1; }
expect '"data":{"state":"ready"}'
expect '"data":{"couponId":1}'
expect '"code":200,"status":"OK","message":"The coupon is yours.","data":{"couponId":1,"userId":2,"ticketNumber":1,'
expect '"code":409,"status":"CONFLICT","reason":"already_issued"'
expect '"name":"summer","description":"ten off","status":"ISSUED","discountAmount":10'
echo "$count answers checked"
