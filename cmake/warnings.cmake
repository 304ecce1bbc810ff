# What our own targets are compiled with; not exported to consumers.
add_library(isogloss_warnings INTERFACE)
target_compile_options(isogloss_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wnon-virtual-dtor -Wold-style-cast
  -Wno-missing-field-initializers)
if("undefined" IN_LIST ISOGLOSS_SANITIZE)
  target_compile_options(isogloss_warnings INTERFACE -fsanitize=undefined
                         -fno-sanitize-recover=undefined)
endif()
