#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Puts the arm64 builds of the packages libcoupon needs into build/aarch64-sysroot, for the preset
# aarch64. Does nothing if they are there.
#
# Unpacked, not installed: Concurrency Kit cannot be installed for two architectures at once (asking apt
# for libck-dev:arm64 silently removes the native one), and its header differs between them. For the
# same reason arm64 does not become an architecture of this machine: apt works here on lists of its own.
set -euo pipefail
cd "$(dirname "$0")/.."

sysroot=$PWD/build/aarch64-sysroot
packages=(liburcu8 liburcu-dev libck0 libck-dev libxxhash-dev)
# To run with: under qemu, threads hang in the shared C library that comes with the cross compiler.
packages+=(libc6 libgcc-s1)
stamp=$sysroot/complete
[ "$(cat "$stamp" 2>/dev/null)" = "${packages[*]}" ] && exit 0

rm -rf "$sysroot"
mkdir -p "$sysroot/apt/lists/partial" "$sysroot/apt/cache/archives/partial"
: >"$sysroot/apt/status"
apt_arm64() {
  # Root keeps its name: the user apt changes to could not write into a checkout.
  apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User="$(id -un)" \
    -o Dir::State::lists="$sysroot/apt/lists" -o Dir::State::status="$sysroot/apt/status" \
    -o Dir::Cache="$sysroot/apt/cache" "$@"
}

apt_arm64 update
(cd "$sysroot/apt" && apt_arm64 download "${packages[@]}")
for package in "$sysroot"/apt/*.deb; do dpkg-deb -x "$package" "$sysroot"; done
rm -rf "$sysroot/apt"
echo "${packages[*]}" >"$stamp"
