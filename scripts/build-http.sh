#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds the HTTP example as any user of libcoupon would: installs the library (build/release has to be there) to a
# prefix of its own, and builds examples/http alone, against that. The result is build/http/build/coupon-http.
# scripts/build-http.sh says little unless something goes wrong.
set -euo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f -- "$log"' EXIT
started=$SECONDS
quietly() { "$@" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }; }

prefix=$PWD/build/http/prefix
quietly cmake --install build/release --prefix "$prefix"
quietly cmake -S examples/http -B build/http/build -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo \
  -DCMAKE_PREFIX_PATH="$prefix"
quietly cmake --build build/http/build
[ -x build/http/build/coupon-http ] || { echo "build-http: there is no coupon-http" >&2; exit 1; }
echo "build: examples/http against the installed library, $((SECONDS - started)) s"
