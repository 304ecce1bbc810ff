#include "isogloss/device/device.h"

#include <ggml-cpu.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include <algorithm>
#include <fstream>
#include <thread>

#include "isogloss/base/error.h"
#include "isogloss/base/suggest.h"
#include "isogloss/device/device_impl.h"

namespace isogloss {
namespace {

size_t usable_cores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return static_cast<size_t>(CPU_COUNT(&set));
  return std::max(1U, std::thread::hardware_concurrency());
}

uint64_t mem_available() {
  std::ifstream meminfo("/proc/meminfo");
  std::string key;
  uint64_t kilobytes = 0;
  while (meminfo >> key >> kilobytes) {
    if (key == "MemAvailable:") return kilobytes * 1024;
    meminfo.ignore(256, '\n');
  }
  return 0;
}

// What the control group still allows; nullopt without a limit.
std::optional<uint64_t> control_group_room() {
  uint64_t limit = 0;
  uint64_t used = 0;
  std::ifstream max_file("/sys/fs/cgroup/memory.max");
  std::ifstream current_file("/sys/fs/cgroup/memory.current");
  if (!(max_file >> limit) || !(current_file >> used)) return std::nullopt;
  return limit > used ? limit - used : 0;
}

}  // namespace

std::string_view to_string(ComputeType type) {
  return type == ComputeType::kF32 ? "f32" : "bf16";
}

ComputeType parse_compute_type(std::string_view name) {
  for (const ComputeType type : {ComputeType::kF32, ComputeType::kBf16}) {
    if (name == to_string(type)) return type;
  }
  fail(ErrorCode::kBadArgument, "compute type '{}' is not known; known are f32 and bf16", name);
}

Device::Impl::~Impl() {
  if (backend) ggml_backend_free(backend);
}

Device::Device(std::string_view name, size_t threads) : impl_(std::make_unique<Impl>()) {
  const auto names = device_names();
  if (std::ranges::find(names, name) == names.end()) {
    fail(ErrorCode::kBadArgument, "device '{}' is not here{}; this build has {}", name,
         did_you_mean(name, names), fmt::join(names, ", "));
  }
  constexpr size_t kMostThreads = 512;  // ggml's own limit
  impl_->name = name;
  impl_->threads = std::clamp<size_t>(threads == 0 ? usable_cores() : threads, 1, kMostThreads);
  impl_->backend = ggml_backend_cpu_init();
  ISOGLOSS_ASSERT(impl_->backend != nullptr);
  ggml_backend_cpu_set_n_threads(impl_->backend, static_cast<int>(impl_->threads));
#ifdef _OPENMP
  omp_set_num_threads(static_cast<int>(impl_->threads));  // ours and ggml's are one pool
#endif
  impl_->description = ggml_backend_dev_description(ggml_backend_get_device(impl_->backend));
}

Device::~Device() = default;
Device::Device(Device&&) noexcept = default;
Device& Device::operator=(Device&&) noexcept = default;

const std::string& Device::name() const {
  return impl_->name;
}
const std::string& Device::description() const {
  return impl_->description;
}
size_t Device::threads() const {
  return impl_->threads;
}

std::vector<std::string> device_names() {
  return {"cpu"};
}

uint64_t available_memory() {
  const uint64_t system = mem_available();
  const auto group = control_group_room();
  return group ? std::min(system, *group) : system;
}

}  // namespace isogloss
