# llama.cpp (libllama and ggml), built as static libraries from the pinned source.
if(NOT EXISTS "${ISOGLOSS_LLAMA_SOURCE}/CMakeLists.txt")
  message(FATAL_ERROR
    "llama.cpp's source is not at ${ISOGLOSS_LLAMA_SOURCE}; run scripts/setup, which fetches the "
    "pinned version, or set ISOGLOSS_LLAMA_SOURCE")
endif()
set(BUILD_SHARED_LIBS OFF)
set(GGML_NATIVE ${ISOGLOSS_NATIVE} CACHE BOOL "" FORCE)
set(GGML_OPENMP ${ISOGLOSS_OPENMP} CACHE BOOL "" FORCE)
set(GGML_CCACHE OFF CACHE BOOL "" FORCE)
set(LLAMA_BUILD_COMMON ${ISOGLOSS_LLAMA_TOOLS} CACHE BOOL "" FORCE)
set(LLAMA_BUILD_TOOLS ${ISOGLOSS_LLAMA_TOOLS} CACHE BOOL "" FORCE)
foreach(part TESTS EXAMPLES SERVER APP)
  set(LLAMA_BUILD_${part} OFF CACHE BOOL "" FORCE)
endforeach()
set(LLAMA_OPENSSL OFF CACHE BOOL "" FORCE)
# Out of "all" and without its warnings: only what is linked is built.
add_subdirectory("${ISOGLOSS_LLAMA_SOURCE}" "${CMAKE_BINARY_DIR}/llama.cpp" EXCLUDE_FROM_ALL SYSTEM)
# What we give to ggml's operations is watched; libllama's own code is not, and nothing of it is
# slow but compiling it.
if("address" IN_LIST ISOGLOSS_SANITIZE)
  target_compile_options(llama PRIVATE -fno-sanitize=address -O0)
endif()
# Command lines and chat templates of its tools: what they compute is in libllama, ggml and the
# tools themselves, and these take longer to compile than all of libllama.
if(ISOGLOSS_LLAMA_TOOLS)
  foreach(target llama-common cpp-httplib)
    target_compile_options(${target} PRIVATE -O0)
  endforeach()
endif()
# As its users have it, in every build type: its debug assertions stop the process on weights that
# the same code takes in a release.
foreach(target ggml-base ggml-cpu ggml llama)
  target_compile_definitions(${target} PRIVATE NDEBUG)
endforeach()
