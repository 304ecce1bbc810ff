// Plan: a scheme for every tensor of a model, as a file that people can read and change.
//
//   {"isogloss_plan": 1,
//    "model": {"family": "gpt2", "layers": 12, "parameters": 13768704},
//    "tensors": {"blk.0.attn_qkv.weight": "q4_k", "blk.0.ffn_up.weight": "q6_k"}}
//
// Tensors that it does not name stay as they are stored.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "isogloss/quantize/quantize.h"

namespace isogloss {

struct Plan {
  std::string family;  // as GGUF names it
  size_t layers = 0;
  uint64_t parameters = 0;
  std::map<std::string, Scheme> schemes;  // by the GGUF name of the tensor

  bool operator==(const Plan&) const = default;
};

// What `assignment` does to `model`.
Plan make_plan(const Model& model, const Assignment& assignment);

// Throws Error that names the file: kCorrupt for what is no plan, kBadArgument for a scheme that
// does not exist, with near matches.
Plan read_plan(const std::filesystem::path& path);

void write_plan(const Plan& plan, const std::filesystem::path& path);  // Error(kIo)

// The plan on a model; `origin` names it in messages. Schemes that a row's length does not allow
// fall back as in assign(). Throws Error(kMismatch) where the plan was made for another model or
// names a tensor that this one lacks, with near matches.
Assignment assign(const Model& model, const Plan& plan, const std::string& origin);

}  // namespace isogloss
