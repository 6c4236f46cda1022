# Language level, warnings and sanitizers, carried by two INTERFACE targets so that no global flag is set.
#   bitdial_options   every target of ours links it
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

find_program(BITDIAL_CCACHE ccache)
if(BITDIAL_CCACHE)
  # Paths relative to the tree, so that a second clone finds what the first one compiled.
  set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${BITDIAL_CCACHE})
endif()

add_library(bitdial_options INTERFACE)
target_include_directories(bitdial_options INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(bitdial_options INTERFACE -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(bitdial_options INTERFACE -Wno-restrict)  # false alarms on std::string (GCC bug 105651)
endif()
if(BITDIAL_WERROR)
  target_compile_options(bitdial_options INTERFACE -Werror)
endif()
if(BITDIAL_SANITIZE)
  target_compile_options(bitdial_options INTERFACE
    -fsanitize=${BITDIAL_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(bitdial_options INTERFACE -fsanitize=${BITDIAL_SANITIZE})
endif()
if(BITDIAL_FUZZ)
  # Coverage for the code under test; each fuzz target adds -fsanitize=fuzzer itself.
  target_compile_options(bitdial_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
