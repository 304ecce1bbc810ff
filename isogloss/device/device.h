// Device: where products are computed, with how many threads, in what precision.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace isogloss {

// Precision of the products over weights; everything between them is F32.
enum class ComputeType { kF32, kBf16 };
std::string_view to_string(ComputeType type);
ComputeType parse_compute_type(std::string_view name);  // "f32", "bf16"; throws Error(kBadArgument)

// An opened device. Not thread-safe: one graph runs at a time. Opening one sets the number of
// OpenMP threads of the calling thread, since products and everything between them share one pool.
class Device {
 public:
  // `name` is one of device_names(); `threads` 0 takes every core this process may use.
  // Throws Error(kBadArgument) for a device that is not there, naming those that are.
  Device(std::string_view name, size_t threads);
  ~Device();
  Device(Device&&) noexcept;
  Device& operator=(Device&&) noexcept;

  const std::string& name() const;
  const std::string& description() const;  // of the hardware, as ggml reports it
  size_t threads() const;

  struct Impl;  // device_impl.h
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

// Devices that can compute: "cpu".
std::vector<std::string> device_names();

// Memory that could be taken now without swapping, in bytes (MemAvailable on Linux, within the
// process's control group); 0 when the system does not say.
uint64_t available_memory();

}  // namespace isogloss
