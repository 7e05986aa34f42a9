# SPDX-License-Identifier: Apache-2.0
#
# What `cmake --install` puts where, for pkg-config (coupon) and for find_package(coupon).
include(CMakePackageConfigHelpers)

install(DIRECTORY include/coupon DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")

# Two export sets, so that a user of the shared library need not have what only the static one asks for.
install(TARGETS coupon EXPORT coupon-shared
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} NAMELINK_COMPONENT development)
install(TARGETS coupon_static EXPORT coupon-static ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
# The tool finds the library beside it, wherever the two are moved; unless a distribution has said where libraries stay.
if(IS_ABSOLUTE ${CMAKE_INSTALL_LIBDIR})
  set_target_properties(coupon_tool PROPERTIES INSTALL_RPATH "${CMAKE_INSTALL_LIBDIR}")
else()
  set_target_properties(coupon_tool PROPERTIES INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")
endif()
install(TARGETS coupon_tool RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})

set(coupon_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/coupon)
foreach(set shared static)
  install(EXPORT coupon-${set} NAMESPACE coupon:: FILE coupon-${set}-targets.cmake DESTINATION ${coupon_package_dir})
endforeach()
configure_package_config_file(cmake/coupon-config.cmake.in ${PROJECT_BINARY_DIR}/coupon-config.cmake
  INSTALL_DESTINATION ${coupon_package_dir})
# Before 1.0 a minor version may change the interface.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/coupon-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/coupon-config.cmake ${PROJECT_BINARY_DIR}/coupon-config-version.cmake
  DESTINATION ${coupon_package_dir})

# Found relative to coupon.pc itself, so that the tree may be installed under another prefix, or moved; a
# distribution may ask for absolute directories.
foreach(kind LIBDIR INCLUDEDIR)
  if(IS_ABSOLUTE ${CMAKE_INSTALL_${kind}})
    set(COUPON_PC_${kind} ${CMAKE_INSTALL_${kind}})
  else()
    set(COUPON_PC_${kind} "\${prefix}/${CMAKE_INSTALL_${kind}}")
  endif()
endforeach()
if(IS_ABSOLUTE ${CMAKE_INSTALL_LIBDIR})
  set(COUPON_PC_PREFIX ${CMAKE_INSTALL_PREFIX})
else()
  file(RELATIVE_PATH up /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
  string(REGEX REPLACE "/$" "" up ${up})
  set(COUPON_PC_PREFIX "\${pcfiledir}/${up}")
endif()
# liburcu's own file names common before bp, which needs it: the wrong order for archives, so once more.
set(COUPON_PC_LIBS_PRIVATE "")
set(libraries ${URCU_BP_STATIC_LIBRARIES} urcu-common ${CK_STATIC_LIBRARIES})
foreach(library IN LISTS libraries)
  string(APPEND COUPON_PC_LIBS_PRIVATE "-l${library} ")
endforeach()
string(APPEND COUPON_PC_LIBS_PRIVATE -pthread)
configure_file(pkgconfig/coupon.pc.in ${PROJECT_BINARY_DIR}/coupon.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/coupon.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
foreach(section 1 3 5 7)
  if(EXISTS ${PROJECT_SOURCE_DIR}/docs/man/man${section})
    install(DIRECTORY docs/man/man${section} DESTINATION ${CMAKE_INSTALL_MANDIR})
  endif()
endforeach()
if(EXISTS ${PROJECT_SOURCE_DIR}/tools/coupon.1)
  install(FILES tools/coupon.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
endif()
