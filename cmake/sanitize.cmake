# Sanitizers for all that is built, ggml included. "undefined" is for the targets that ask for it:
# llama.cpp's codecs read packed blocks through misaligned pointers on purpose.
if("address" IN_LIST ISOGLOSS_SANITIZE)
  add_compile_options(-fsanitize=address -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address)
endif()
if("thread" IN_LIST ISOGLOSS_SANITIZE)
  add_compile_options(-fsanitize=thread)
  add_link_options(-fsanitize=thread)
endif()
if("undefined" IN_LIST ISOGLOSS_SANITIZE)
  add_link_options(-fsanitize=undefined)
  set(ISOGLOSS_UNDEFINED -fsanitize=undefined -fno-sanitize-recover=undefined)
endif()
