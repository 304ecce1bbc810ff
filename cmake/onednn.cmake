# oneDNN 2, where it is installed. Not by its own package file: Debian's demands OpenCL.
find_path(ISOGLOSS_ONEDNN_INCLUDE dnnl.hpp)
find_library(ISOGLOSS_ONEDNN_LIBRARY dnnl)
set(ISOGLOSS_HAS_ONEDNN OFF)
if(ISOGLOSS_ONEDNN AND ISOGLOSS_OPENMP AND ISOGLOSS_ONEDNN_INCLUDE AND ISOGLOSS_ONEDNN_LIBRARY)
  file(STRINGS "${ISOGLOSS_ONEDNN_INCLUDE}/oneapi/dnnl/dnnl_version.h" version_line
       REGEX "define DNNL_VERSION_MAJOR 2$")
  if(version_line)
    set(ISOGLOSS_HAS_ONEDNN ON)  # version 3 has another interface
  endif()
endif()
message(STATUS "Products over weights by oneDNN: ${ISOGLOSS_HAS_ONEDNN}")
