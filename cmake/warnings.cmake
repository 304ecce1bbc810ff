# What our own targets are compiled with; not exported to consumers. GCC 12 warns about its own
# std::string (GCC bug 105651).
add_library(isogloss_warnings INTERFACE)
target_compile_options(isogloss_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wnon-virtual-dtor -Wold-style-cast
  -Wno-missing-field-initializers "$<$<CXX_COMPILER_ID:GNU>:-Wno-restrict;-Wno-stringop-overflow>")
