# SPDX-License-Identifier: Apache-2.0
# nokv_module(NAME SOURCES a.c b.c [DEPS module...] [LIBS lib...]) - one layer of the engine as its own target.
#
# Makes the static library nokv_NAME, and linkcheck_NAME: a shared object of NAME and its dependencies alone, linked
# with -z defs, so that a call into a layer that NAME does not depend on fails the build.
#
# nokv_test(NAME MODULE... ) - see tests/CMakeLists.txt.

find_package(Threads REQUIRED)

add_library(nokv_flags INTERFACE)
target_include_directories(nokv_flags INTERFACE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include)
target_compile_definitions(nokv_flags INTERFACE _GNU_SOURCE)
target_compile_options(nokv_flags INTERFACE
  -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wcast-qual -Wvla
  -Wwrite-strings -Wundef -Wno-format-truncation -fno-strict-aliasing -fno-omit-frame-pointer -fvisibility=hidden -g)
target_link_libraries(nokv_flags INTERFACE Threads::Threads)
if(NOKV_SANITIZE)
  target_compile_options(nokv_flags INTERFACE -fsanitize=${NOKV_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(nokv_flags INTERFACE -fsanitize=${NOKV_SANITIZE})
endif()

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
  if(NOT NOKV_SANITIZE)
    file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/empty.c "")
    add_library(linkcheck_${name} MODULE ${CMAKE_CURRENT_BINARY_DIR}/empty.c)
    target_link_libraries(linkcheck_${name} PRIVATE
      -Wl,--whole-archive $<TARGET_FILE:nokv_${name}> -Wl,--no-whole-archive nokv_${name} -Wl,-z,defs)
    add_dependencies(linkcheck_${name} nokv_${name})
  endif()
endfunction()
