#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs the Debian packages that are missing: scripts/bootstrap.sh [base|perf|rivals|crowd|ci]
#   base   what building and testing needs (the default)
#   perf   base, and what scripts/perf.sh draws with
#   rivals perf, and the servers and libraries that scripts/rivals.sh measures. Debian starts a service of its own for
#          two of the servers, where services are started at all; the script neither uses nor stops those
#   crowd  base, and what the demonstration over HTTP loads the service with
#   ci     crowd, and what .ci/run needs: clang and its tools, the aarch64 cross compiler, qemu
# If nothing is missing, nothing is asked of the network and no rights are needed.
set -euo pipefail
cd "$(dirname "$0")/.."

base=(
  cmake ninja-build gcc libc6-dev pkg-config
  liburcu-dev libck-dev libxxhash-dev
  libcriterion-dev # unit tests
  jq               # the scripts read the tool's JSON
  libh2o-evloop-dev libssl-dev libyajl-dev libcrypt-dev uthash-dev # examples/http
)
perf=(
  gnuplot-nox
)
rivals=(
  redis-server
  postgresql libpq-dev
  # The server without a service, accounts or a data directory of its own; of the client, what makes such a directory.
  mariadb-server-core mariadb-client-core libmariadb-dev
  liblmdb-dev libsqlite3-dev librocksdb-dev
)
crowd=(
  wrk    # saturation
  nodejs # virtual users
  curl   # the README's example
)
ci=(
  g++ clang              # the header alone, in C11 and C++17, with both compilers
  clang-format clang-tidy
  libclang-rt-14-dev     # clang's sanitizers
  gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
)

case ${1:-base} in
  base) packages=("${base[@]}") ;;
  perf) packages=("${base[@]}" "${perf[@]}") ;;
  rivals) packages=("${base[@]}" "${perf[@]}" "${rivals[@]}") ;;
  crowd) packages=("${base[@]}" "${crowd[@]}") ;;
  ci) packages=("${base[@]}" "${crowd[@]}" "${ci[@]}") ;;
  *) sed -n '4,11s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
if [ ${#missing[@]} -gt 0 ]; then
  echo "bootstrap: installing ${missing[*]}"
  as_root apt-get -qq update
  # Without recommended packages, which would triple what a clean machine has to fetch. The packages'
  # own chatter is shown only if something goes wrong.
  log=$(mktemp)
  trap 'rm -f -- "$log"' EXIT
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq install -y --no-install-recommends "${missing[@]}" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
fi

if [ "${1:-base}" = ci ]; then scripts/aarch64-sysroot.sh; fi
