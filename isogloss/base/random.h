// The project's only source of chance: small, seeded, and the same on every machine.
#pragma once

#include <cstdint>

namespace isogloss {

// SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators"): 64 bits
// of state, every seed a good one.
class Random {
  __extension__ typedef unsigned __int128 Wide;

 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

  // Uniform in [0, bound), without bias (Lemire 2019, "Fast random integer generation in an
  // interval"). `bound` is at least 1.
  uint64_t below(uint64_t bound) {
    Wide product = static_cast<Wide>(next()) * bound;
    if (static_cast<uint64_t>(product) < bound) {
      const uint64_t threshold = (0 - bound) % bound;
      while (static_cast<uint64_t>(product) < threshold) {
        product = static_cast<Wide>(next()) * bound;
      }
    }
    return static_cast<uint64_t>(product >> 64);
  }

  // Uniform in [0, 1), 53 bits.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

 private:
  uint64_t state_;
};

}  // namespace isogloss
