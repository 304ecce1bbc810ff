// libFuzzer harness: any bytes as a GGUF file. Build with clang,
// -fsanitize=fuzzer,address,undefined, isogloss/base, isogloss/tokens and isogloss/model; anything
// thrown but Error is a finding.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "isogloss/base/error.h"
#include "isogloss/model/model.h"
#include "isogloss/tokens/tokens.h"

namespace {

// A file that lies in memory only.
class MemoryFile {
 public:
  MemoryFile(const uint8_t* data, size_t size) : fd_(memfd_create("fuzz", MFD_CLOEXEC)) {
    if (write(fd_, data, size) != static_cast<ssize_t>(size)) std::abort();
  }
  ~MemoryFile() { close(fd_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const MemoryFile file(data, size);
  try {
    const isogloss::Model model = isogloss::read_model(file.path());
    for (const auto& tensor : model.tensors()) {
      std::vector<float> numbers(tensor.count());
      isogloss::decode(tensor, numbers);
    }
    const isogloss::Tokenizer tokenizer(model.vocabulary(), file.path());
    tokenizer.encode("abcd a  b\n");
  } catch (const isogloss::Error&) {
  }
  return 0;
}
