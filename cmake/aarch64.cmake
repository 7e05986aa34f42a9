# SPDX-License-Identifier: Apache-2.0
#
# Cross compiling for aarch64 and running what was built under qemu; `scripts/bootstrap.sh ci` installs the
# tools and unpacks the libraries. qemu translates faithfully but does not weaken the memory model: it
# shows that the code builds, lays its bytes out alike and counts right there, not that its orderings suffice.
set(sysroot ${CMAKE_CURRENT_LIST_DIR}/../build/aarch64-sysroot)
get_filename_component(sysroot ${sysroot} ABSOLUTE)

set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
# First in line: the cross compiler looks into /usr/include as well, where the native Concurrency Kit
# has the same file names and the memory model of x86.
set(CMAKE_C_FLAGS_INIT "-isystem ${sysroot}/usr/include -isystem ${sysroot}/usr/include/aarch64-linux-gnu")
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L ${sysroot})

# Otherwise pkg-config would answer for the machine that builds.
set(ENV{PKG_CONFIG_LIBDIR} ${sysroot}/usr/lib/aarch64-linux-gnu/pkgconfig)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${sysroot})
