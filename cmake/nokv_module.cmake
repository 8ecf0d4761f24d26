# SPDX-License-Identifier: Apache-2.0
# nokv_module(NAME SOURCES a.c b.c [DEPS module...] [LIBS lib...]) - one layer of the engine as its own target.
#
# Makes the static library nokv_NAME, and linkcheck_NAME: a shared object of NAME and its dependencies alone, linked
# with -z defs, so that a call into a layer that NAME does not depend on fails the build. Appends to the global
# properties NOKV_MODULES and NOKV_LIBS, from which src/CMakeLists.txt makes libnokv.
#
# Interface targets: nokv_warnings (compiler flags and sanitizers, for everything that we compile) and nokv_flags (the
# same, and the engine's own headers: modules and their tests; tools take nokv_warnings and see include/ only).

find_package(Threads REQUIRED)

add_library(nokv_warnings INTERFACE)
target_compile_definitions(nokv_warnings INTERFACE _GNU_SOURCE)
# -Wno-format-truncation: gcc warns of each snprintf that could cut a text. Names of files are made by functions that
# check for it (lsm/names.c), and a message that is cut is meant to be.
target_compile_options(nokv_warnings INTERFACE
  -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wcast-qual -Wvla
  -Wwrite-strings -Wundef $<$<C_COMPILER_ID:GNU>:-Wno-format-truncation>
  -fno-strict-aliasing -fno-omit-frame-pointer -fvisibility=hidden -g
  -fmacro-prefix-map=${PROJECT_SOURCE_DIR}/=) # error messages name src/..., wherever it was built
target_link_libraries(nokv_warnings INTERFACE Threads::Threads)
if(NOKV_SANITIZE)
  target_compile_options(nokv_warnings INTERFACE -fsanitize=${NOKV_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(nokv_warnings INTERFACE -fsanitize=${NOKV_SANITIZE})
endif()
if(NOKV_COVERAGE STREQUAL "mcdc") # clang 19 or newer, whose warnings are not ours
  target_compile_options(nokv_warnings INTERFACE -fprofile-instr-generate -fcoverage-mapping -fcoverage-mcdc
    -fprofile-update=atomic -Wno-error)
  set(NOKV_COVERAGE_LINK -fprofile-instr-generate)
elseif(NOKV_COVERAGE)
  target_compile_options(nokv_warnings INTERFACE --coverage -fprofile-update=atomic)
  set(NOKV_COVERAGE_LINK --coverage)
endif()
target_link_options(nokv_warnings INTERFACE ${NOKV_COVERAGE_LINK})

# Hardening of what is installed, as far as it costs no measurable instructions (./dev instructions). Debug builds do not
# optimize, which the checked functions of the C library need, and sanitizers check more than these.
#   checked functions  memcpy, read and the like know the size of what they write to where the compiler does: costs nothing
#   full RELRO         the table of library functions is read-only from the start, symbols are bound when it is loaded
#   PIE                programs are position independent: Debian's default of gcc, asked for where it is not
#   stack protector    in the tools only (nokv_hardened), which read what comes from outside: in the engine it costs 3 to
#                      5 % of a get, a put and a seek, whose frames have arrays of candidates and jump buffers
# Not taken: -fcf-protection, 1.5 % of everything, which is void as soon as one library of the process is without it.
add_library(nokv_hardened INTERFACE)
if(CMAKE_BUILD_TYPE STREQUAL "Release")
  target_compile_options(nokv_warnings INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
  target_compile_options(nokv_hardened INTERFACE -fstack-protector-strong)
  set(NOKV_HARDENED_LINK -Wl,-z,relro -Wl,-z,now)
  target_link_options(nokv_warnings INTERFACE ${NOKV_HARDENED_LINK})
  include(CheckPIESupported)
  check_pie_supported()
  set(CMAKE_POSITION_INDEPENDENT_CODE ON)
endif()

add_library(nokv_flags INTERFACE)
target_include_directories(nokv_flags INTERFACE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include)
target_link_libraries(nokv_flags INTERFACE nokv_warnings)

# What gcc's analyzer is not to say of the files of this folder (cmake/suppressions.txt has the reasons).
function(nokv_analyzer_suppressions)
  file(RELATIVE_PATH folder ${PROJECT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR})
  file(STRINGS ${PROJECT_SOURCE_DIR}/cmake/suppressions.txt lines REGEX "^analyzer [a-z-]+ ${folder}/")
  foreach(line ${lines})
    string(REGEX REPLACE "^analyzer ([a-z-]+) ${folder}/(.*)$" "\\1;\\2" parts "${line}")
    list(GET parts 0 what)
    list(GET parts 1 file)
    set_property(SOURCE ${file} APPEND PROPERTY COMPILE_OPTIONS -Wno-analyzer-${what})
  endforeach()
endfunction()

function(nokv_module name)
  cmake_parse_arguments(M "" "" "SOURCES;DEPS;LIBS" ${ARGN})
  add_library(nokv_${name} STATIC ${M_SOURCES})
  set_target_properties(nokv_${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)
  target_link_libraries(nokv_${name} PUBLIC nokv_flags ${M_LIBS})
  foreach(dep ${M_DEPS})
    if(NOT TARGET nokv_${dep})
      message(FATAL_ERROR "module ${name} depends on ${dep}, which is not below it")
    endif()
    target_link_libraries(nokv_${name} PUBLIC nokv_${dep})
  endforeach()
  set_property(GLOBAL APPEND PROPERTY NOKV_MODULES ${name})
  set_property(GLOBAL APPEND PROPERTY NOKV_LIBS ${M_LIBS})
  if(NOT NOKV_SANITIZE)
    file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/empty.c "")
    add_library(linkcheck_${name} MODULE ${CMAKE_CURRENT_BINARY_DIR}/empty.c)
    target_link_libraries(linkcheck_${name} PRIVATE
      -Wl,--whole-archive $<TARGET_FILE:nokv_${name}> -Wl,--no-whole-archive nokv_${name} -Wl,-z,defs)
    add_dependencies(linkcheck_${name} nokv_${name})
  endif()
endfunction()
