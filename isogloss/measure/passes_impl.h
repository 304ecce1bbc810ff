// Variants on their way through the blocks of a model.
#pragma once

#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "isogloss/measure/schedule_impl.h"
#include "isogloss/measure/scores.h"
#include "isogloss/measure/slices_impl.h"

namespace isogloss {

// A position of a slice that is scored.
struct Position {
  size_t sequence = 0;  // in the slice
  size_t offset = 0;    // of the token that predicts
};

// A configuration's hidden states before the head, batch by batch.
struct Pass {
  Configuration what;
  const Packing* packing = nullptr;
  size_t head_rows = 0;  // rows the head takes at once
  std::vector<HiddenStates> hidden;

  std::span<const float> row(const Position& position) const {
    const Packing::Place& place = packing->places[position.sequence];
    return hidden[place.batch].row(place.row + position.offset);
  }
};

// Multiply-adds a token: of a half-block, and of the head.
double half_work(const Model& model, size_t half);
double head_work(const Model& model);

// Stages are the embedding, then each half-block: every one of them over all batches before the
// next, so that its weights are made once. The head is not among them.
Pass run_stages(Pass pass, Engine& engine, Meter& meter);

// The reference, then every configuration.
std::vector<Configuration> with_reference(const Variant& reference,
                                          std::span<const Configuration> configurations);

// What each configuration computes its stages with, for a schedule.
std::vector<StageIds> stage_ids(std::span<const Configuration> configurations);

// Calls finish(configuration, hidden states) for every pass, in the order of the schedule, in which
// the reference, pass 0, comes first: frozen blocks add what it adds.
using Finish = std::function<void(size_t configuration, const std::vector<HiddenStates>& hidden)>;
void run_schedule(const Schedule& schedule, std::span<const Pass> passes, Engine& engine,
                  Meter& meter, const Finish& finish);

// Multiply-adds a token of all computed stages.
double schedule_work(const Schedule& schedule, std::span<const Configuration> configurations);

// Whether any block of any configuration is frozen.
bool freezes_blocks(std::span<const Configuration> configurations);

}  // namespace isogloss
