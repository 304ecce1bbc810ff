// The paired cluster bootstrap: which units are drawn, and their totals.
#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <utility>

#include "isogloss/base/error.h"
#include "isogloss/measure/statistics.h"

namespace isogloss {
namespace {

// xoshiro256** 1.0, its state filled by SplitMix64 (Blackman & Vigna 2018, prng.di.unimi.it).
class Generator {
 public:
  explicit Generator(uint64_t seed) {
    for (uint64_t& word : state_) {
      seed += 0x9e3779b97f4a7c15ULL;
      uint64_t z = seed;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
      z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
      word = z ^ (z >> 31);
    }
  }

  // Uniform in [0, bound), without bias (Lemire 2019, "Fast random integer generation in an
  // interval"), from the upper half of each word.
  uint32_t below(uint32_t bound) {
    uint64_t product = (next() >> 32) * bound;
    if (static_cast<uint32_t>(product) < bound) {
      const uint32_t rejected = (0U - bound) % bound;
      while (static_cast<uint32_t>(product) < rejected) product = (next() >> 32) * bound;
    }
    return static_cast<uint32_t>(product >> 32);
  }

 private:
  uint64_t next() {
    const uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    const uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

  std::array<uint64_t, 4> state_;
};

// Columns summed together: a panel of this width over some hundred units stays in the cache, and
// its running sums in the nearest one.
constexpr size_t kPanelColumns = 64;
// Draws whose unit ids are held at once, so that a panel is reused while it is in the cache.
constexpr size_t kTileDraws = 64;

// The columns first .. first + width of every unit, row-major.
struct Panel {
  size_t first;
  size_t width;
  std::vector<double> values;

  const double* row(size_t unit) const { return values.data() + unit * width; }
};

std::vector<Panel> cut_into_panels(const UnitSums& sums) {
  std::vector<Panel> panels;
  for (size_t first = 0; first < sums.columns; first += kPanelColumns) {
    Panel panel{first, std::min(kPanelColumns, sums.columns - first), {}};
    panel.values.reserve(sums.units * panel.width);
    for (size_t unit = 0; unit < sums.units; ++unit) {
      const double* row = sums.values.data() + unit * sums.columns + first;
      panel.values.insert(panel.values.end(), row, row + panel.width);
    }
    panels.push_back(std::move(panel));
  }
  return panels;
}

// Writes the sum of the drawn rows to `totals`. A row is added once for each time it was drawn, not
// multiplied by its count: there is then no multiply-add that some compilers and processors would
// fuse and others round twice.
void sum_rows(const Panel& panel, std::span<const uint32_t> unit_ids, double* totals) {
  std::array<double, kPanelColumns> sum{};
  size_t i = 0;
  for (; i + 4 <= unit_ids.size(); i += 4) {
    const double* a = panel.row(unit_ids[i]);
    const double* b = panel.row(unit_ids[i + 1]);
    const double* c = panel.row(unit_ids[i + 2]);
    const double* d = panel.row(unit_ids[i + 3]);
    for (size_t column = 0; column < panel.width; ++column) {
      sum[column] = sum[column] + a[column] + b[column] + c[column] + d[column];
    }
  }
  for (; i < unit_ids.size(); ++i) {
    const double* row = panel.row(unit_ids[i]);
    for (size_t column = 0; column < panel.width; ++column) sum[column] += row[column];
  }
  std::copy_n(sum.begin(), panel.width, totals);
}

}  // namespace

struct BootstrapStream::Impl {
  Impl(const UnitSums& sums, uint64_t seed)
      : units(sums.units),
        columns(sums.columns),
        panels(cut_into_panels(sums)),
        generator(seed),
        unit_ids(kTileDraws * units) {}

  // At most kTileDraws draws, to `rows` [draws][columns].
  void draw_tile(size_t draws, double* rows) {
    for (size_t i = 0; i < draws * units; ++i) {
      unit_ids[i] = generator.below(static_cast<uint32_t>(units));
    }
    for (const Panel& panel : panels) {
      for (size_t draw = 0; draw < draws; ++draw) {
        sum_rows(panel, {unit_ids.data() + draw * units, units},
                 rows + draw * columns + panel.first);
      }
    }
  }

  size_t units;
  size_t columns;
  std::vector<Panel> panels;
  Generator generator;
  std::vector<uint32_t> unit_ids;  // of a tile, [draw][units]
  std::vector<double> totals;      // of the last call of next()
};

BootstrapStream::BootstrapStream(const UnitSums& sums, uint64_t seed) {
  ISOGLOSS_ASSERT(sums.values.size() == sums.units * sums.columns);
  ISOGLOSS_ASSERT(sums.units <= std::numeric_limits<uint32_t>::max());
  if (sums.units == 0) {
    fail(ErrorCode::kBadArgument, "bootstrap: 0 units to draw from, expected at least 1");
  }
  impl_ = std::make_unique<Impl>(sums, seed);
}

BootstrapStream::~BootstrapStream() = default;
BootstrapStream::BootstrapStream(BootstrapStream&&) noexcept = default;
BootstrapStream& BootstrapStream::operator=(BootstrapStream&&) noexcept = default;

size_t BootstrapStream::columns() const {
  return impl_->columns;
}

std::span<const double> BootstrapStream::next(size_t draws) {
  impl_->totals.resize(draws * impl_->columns);
  for (size_t first = 0; first < draws; first += kTileDraws) {
    impl_->draw_tile(std::min(kTileDraws, draws - first),
                     impl_->totals.data() + first * impl_->columns);
  }
  return impl_->totals;
}

BootstrapTotals::BootstrapTotals(const UnitSums& sums, size_t draws, uint64_t seed)
    : draws_(draws), columns_(sums.columns) {
  BootstrapStream stream(sums, seed);
  if (draws == 0) fail(ErrorCode::kBadArgument, "bootstrap: 0 draws, expected at least 1");
  totals_.reserve(draws_ * columns_);
  // A tile at a time, so that the totals are not held twice.
  for (size_t first = 0; first < draws; first += kTileDraws) {
    const std::span<const double> rows = stream.next(std::min(kTileDraws, draws - first));
    totals_.insert(totals_.end(), rows.begin(), rows.end());
  }
}

}  // namespace isogloss
