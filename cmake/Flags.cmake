# SPDX-License-Identifier: Apache-2.0
#
# Warnings, hardening, sanitizers and coverage: coupon_flags(TARGET) gives a target all of them. A
# function, not an interface library, so that nothing of this leaks into the installed package.

# Keeps the flags of LIST that the compiler knows: gcc and clang, x86-64 and aarch64 differ in a few.
function(coupon_known_flags out)
  set(known "")
  foreach(flag IN LISTS ARGN)
    string(MAKE_C_IDENTIFIER "HAVE${flag}" variable)
    # clang only warns about a flag of another architecture; with -Werror that is a no, as it should be.
    set(CMAKE_REQUIRED_FLAGS "-Werror")
    check_c_compiler_flag(${flag} ${variable})
    if(${variable})
      list(APPEND known ${flag})
    endif()
  endforeach()
  set(${out} ${known} PARENT_SCOPE)
endfunction()

set(coupon_compile_flags -Wall -Wextra -Wpedantic -Wconversion -Wshadow)
set(coupon_link_flags "")
if(COUPON_WERROR)
  list(APPEND coupon_compile_flags -Werror)
endif()

if(COUPON_SANITIZE)
  # A finding ends the program, so that no test can pass over one.
  list(APPEND coupon_compile_flags -fsanitize=${COUPON_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  list(APPEND coupon_link_flags -fsanitize=${COUPON_SANITIZE})
elseif(COUPON_HARDENING AND NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
  # Not beside a sanitizer: fortified calls hide from it what it would have reported.
  coupon_known_flags(coupon_hardening -fstack-protector-strong -fstack-clash-protection -fcf-protection)
  # Undefined first: some compilers bring their own level, and a second definition would be a warning.
  list(APPEND coupon_compile_flags ${coupon_hardening} -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
  list(APPEND coupon_link_flags -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack)
endif()

if(COUPON_COVERAGE)
  list(APPEND coupon_compile_flags --coverage)
  list(APPEND coupon_link_flags --coverage)
endif()

function(coupon_flags target)
  target_compile_options(${target} PRIVATE ${coupon_compile_flags})
  target_link_options(${target} PRIVATE ${coupon_link_flags})
  # The value is empty so that a file may say `#define _GNU_SOURCE` itself without a warning.
  target_compile_definitions(${target} PRIVATE _GNU_SOURCE=)
endfunction()
