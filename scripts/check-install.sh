#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs a build into a temporary directory and builds the quickstart against it as four strangers would:
# through pkg-config and through the CMake package, with the shared and with the static library. A fifth copies the program
# of the README and follows the line below it.
# scripts/check-install.sh [BUILD_DIRECTORY]
set -euo pipefail
cd "$(dirname "$0")/.."

build=${1:-build/release}
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
prefix=$work/prefix

# Not the prefix it was configured for: what is installed may be moved.
cmake --install "$build" --prefix "$prefix" >"$work/log" || { cat "$work/log" >&2; exit 1; }
libdir=$(dirname "$(find "$prefix" -name libcoupon.so)")
export PKG_CONFIG_PATH=$libdir/pkgconfig

# The words of pkg-config's answer are meant to be split.
# shellcheck disable=SC2046
${CC:-gcc} -std=c11 examples/quickstart.c -o "$work/pkgconfig_shared" $(pkg-config --cflags --libs coupon)
# shellcheck disable=SC2046
${CC:-gcc} -std=c11 -static examples/quickstart.c -o "$work/pkgconfig_static" \
  $(pkg-config --static --cflags --libs coupon)

awk '/^```c$/ { inside = 1; next } /^```$/ { inside = 0 } inside' README.md >"$work/first.c"
# shellcheck disable=SC2016 # the backquotes are the README's
command=$(sed -nE 's/^`(cc first\.c [^`]*)`.*/\1/p' README.md)
if [ ! -s "$work/first.c" ] || [ -z "$command" ]; then
  echo "the README has no first program: this check is broken" >&2
  exit 1
fi
(cd "$work" && eval "$command -Wall -Wextra -Werror -o readme_shared")

{
  cmake -S tests/consumer -B "$work/build" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" && cmake --build "$work/build"
} >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }

count=0
for program in "$work"/readme_shared "$work"/pkgconfig_{shared,static} "$work"/build/consumer_{shared,static}; do
  name=${program##*/}
  needs=$(readelf -d "$program" | grep -c 'NEEDED.*libcoupon' || true)
  case $name in *_shared) expected=1 ;; *) expected=0 ;; esac
  [ "$needs" = $expected ] || { echo "$name: linked with the wrong libcoupon" >&2; exit 1; }
  said=$(LD_LIBRARY_PATH=$libdir "$program" "$work/data-$name")
  [ "$said" = "coupon number 1" ] || { echo "$name said: $said" >&2; exit 1; }
  # Where there is no directory to be made there is no coupon, and the caller can tell.
  if LD_LIBRARY_PATH=$libdir "$program" "$work/first.c/data" >"$work/log" 2>&1; then
    echo "$name ends well without a coupon" >&2
    exit 1
  fi
  count=$((count + 1))
done

# The tool finds the library it was installed with.
env -u LD_LIBRARY_PATH "$prefix/bin/coupon" --help >/dev/null
# Also where a distribution says in which directory libraries stay. Nothing is built for that: what would be installed is told.
cmake -S . -B "$work/absolute" -G Ninja -DCOUPON_TESTS=OFF -DCMAKE_INSTALL_LIBDIR="$work/elsewhere" >"$work/log" 2>&1 ||
  { cat "$work/log" >&2; exit 1; }
if ! grep -qF "RPATH \"$work/elsewhere\"" "$work/absolute/cmake_install.cmake" ||
  ! grep -qxF "libdir=$work/elsewhere" "$work/absolute/coupon.pc"; then
  echo "with an absolute directory for libraries they are not looked for there" >&2
  exit 1
fi
echo "$((count + 1)) programs checked"
