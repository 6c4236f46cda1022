# Every outside library, found in one place. Nothing is downloaded at configure time:
# scripts/install_deps.sh brings the Debian packages and builds SentencePiece under deps/.
find_package(Threads REQUIRED)
find_package(absl CONFIG REQUIRED)
find_package(fmt CONFIG REQUIRED)
find_package(spdlog CONFIG REQUIRED)
find_package(nlohmann_json CONFIG REQUIRED)

if(BITDIAL_SERVER)
  find_package(CLI11 CONFIG REQUIRED)
  find_package(Protobuf CONFIG QUIET)  # newer releases; Debian 12's has only the module
  if(NOT Protobuf_FOUND)
    find_package(Protobuf REQUIRED)
  endif()
  find_package(gRPC CONFIG REQUIRED)
  find_package(OpenSSL REQUIRED)
  find_package(prometheus-cpp CONFIG REQUIRED)
  find_package(PkgConfig REQUIRED)
  pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)

  set(default_deps_dir ${CMAKE_SOURCE_DIR}/deps)
  if(DEFINED ENV{BITDIAL_DEPS_DIR})
    set(default_deps_dir $ENV{BITDIAL_DEPS_DIR})
  endif()
  set(BITDIAL_DEPS_DIR ${default_deps_dir} CACHE PATH "Where scripts/install_deps.sh put SentencePiece")
  find_library(SENTENCEPIECE_LIBRARY libsentencepiece.a PATHS ${BITDIAL_DEPS_DIR}/sentencepiece/lib NO_DEFAULT_PATH)
  find_path(SENTENCEPIECE_INCLUDE_DIR sentencepiece_processor.h
            PATHS ${BITDIAL_DEPS_DIR}/sentencepiece/include NO_DEFAULT_PATH)
  if(NOT SENTENCEPIECE_LIBRARY OR NOT SENTENCEPIECE_INCLUDE_DIR)
    message(FATAL_ERROR "SentencePiece not found under ${BITDIAL_DEPS_DIR}: run ./scripts/install_deps.sh first")
  endif()
endif()

if(BITDIAL_TESTS)
  find_package(GTest CONFIG REQUIRED)
  find_package(Python3 COMPONENTS Interpreter REQUIRED)
endif()
if(BITDIAL_BENCH)
  find_package(benchmark CONFIG REQUIRED)
endif()

if(BITDIAL_CUDA)
  # The architectures of every build that names none; CMake 3.25's own default (5.2) is gone from nvcc 13.
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80 90)
  endif()
  enable_language(CUDA)
  # CMake 3.25 does not know how nvcc spells C++20, and then drops to C++17: tell it.
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
  endif()
endif()
