// Sweep: which parts of a model hurt which language when they are quantized, found by intervention
// and not by correlation. RESTORE quantizes everything but a unit, DAMAGE nothing but it; the two
// answer different questions (sufficiency and necessity; Heimersheim & Nanda 2024, arXiv
// 2404.15255), so a claim needs both. Definitions: docs/sweep.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "isogloss/measure/kl_histogram.h"
#include "isogloss/measure/measure.h"
#include "isogloss/sweep/team.h"

namespace isogloss {

enum class SweepMode { kRestore, kDamage, kBoth, kSubsets, kShapley, kSets, kPatch };
SweepMode parse_sweep_mode(std::string_view name);  // throws Error(kBadArgument)
std::string_view to_string(SweepMode mode);
std::vector<std::string> sweep_mode_names();

enum class UnitKind { kLayer, kHalf, kTensor };
UnitKind parse_unit_kind(std::string_view name);  // throws Error(kBadArgument)
std::string_view to_string(UnitKind kind);

// A part of a model that is quantized or restored as a whole.
struct SweepUnit {
  std::string name;          // as unit sets name it
  TensorSet tensors;         // those of it that are quantized
  uint64_t extra_bytes = 0;  // by which a file grows when it is restored
};

// Layers, halves of layers or tensors, then "embeddings", "head", "biases" and "norms"; those of
// which `quantized` quantizes something. Groups overlap with the others.
std::vector<SweepUnit> sweep_units(const Model& model, const Assignment& quantized, UnitKind kind);

// The unit that a unit set names; it may cover nothing that is quantized. Throws
// Error(kBadArgument) for a name that is none.
SweepUnit make_unit(const Model& model, const Assignment& quantized, const std::string& unit_set);

// The schemes of `quantized` for the tensors of a set, and the model's own for the others.
Assignment quantize_only(const Assignment& quantized, const TensorSet& set);

struct SweepRequest {
  AssignmentRequest quantize;  // everything that is quantized
  SweepMode mode = SweepMode::kBoth;
  UnitKind unit = UnitKind::kLayer;
  size_t max_size = static_cast<size_t>(-1);  // kSubsets: layers restored at once
  std::vector<std::string> sets;              // kSets: unit sets to restore
  size_t random_sets = 0;                     // kSets: others of the same bytes, for each
  size_t max_permutations = 512;              // kShapley, in pairs of an order and its reverse
  double tolerance = 0.01;  // kShapley: half width of an interval, as a share of the loss
};

struct SweepOptions : AuditOptions {
  double search_positions = 1;  // kSubsets, kShapley: share of positions for the search
};

// A number with the two-sided bootstrap test that it is 0, and what is left of the test after
// Benjamini & Hochberg over all cells of a matrix.
struct Effect {
  Measured value;
  double p_value = 1;
  double q_value = 1;
};
inline constexpr double kFalseDiscoveryRate = 0.05;

// Place among the units by size of effect, 1 the largest; with the interval of its bootstrap, and
// the share of draws in which the unit is first.
struct Rank {
  double rank = 0;
  double lo = 0, hi = 0;
  double first_frequency = 0;
};

// What is said of a language in a configuration: ratio_metrics(), then `excess_ppl` (growth of the
// perplexity), `rho` and `ln_rho` (excess nats, relative to the reference language's; parallel
// texts only) and `seed_disparity` (the published study's). `equal` is the value where nothing is
// lost, or as much as by the reference language.
struct CellMetric {
  std::string_view name;  // in JSON and CSV
  double equal = 0;
};
std::span<const CellMetric> cell_metrics();

// In the order of cell_metrics(). The test of a difference between two configurations is that it is
// 0, that of a single configuration that the metric is `equal`.
using MetricEffects = std::vector<Effect>;

// One intervention, one unit, one language. `share` is of what quantizing everything costs the
// language in KL; `interaction` is the share minus its mean over languages.
struct CellEffect {
  MetricEffects metrics;
  KlQuantiles kl_quantiles;  // per token, with the intervention: no difference
  Effect share;
  Effect interaction;
  Rank rank;  // by KL
};

struct UnitLanguage {
  std::optional<CellEffect> restore;  // won back: everything quantized, minus all but the unit
  std::optional<CellEffect> damage;   // lost: nothing but the unit quantized
  // Do the interactions of both have the same sign? Meaningless unless both are there.
  bool signs_agree = false;
  // The restore interaction is not 0 after Benjamini & Hochberg, its sign agrees with that of the
  // damage interaction, and the quantized model works (Regime::kNormal).
  bool critical = false;
};

// Over languages: of KL per unit (per byte when not parallel).
struct SummaryEffect {
  Effect effect;
  Rank rank;
};

// How unequally languages lose: largest minus smallest KL and its Gini coefficient, and the study's
// disparity, its mean over the languages other than the reference.
struct DisparityEffects {
  Effect gap, gini, seed_disparity;
};

struct UnitResult {
  SweepUnit unit;
  std::vector<UnitLanguage> languages;  // in the order of the corpus
  std::optional<SummaryEffect> restore_mean, restore_worst, damage_mean, damage_worst;
  std::optional<DisparityEffects> restore_disparity, damage_disparity;
  // Most hurt by the unit alone, or helped by restoring it where only that was measured.
  std::string worst_language;
  double sign_agreement = 0;  // share of the languages whose interactions agree in sign
};

// The quantized model itself.
struct Baseline {
  Regime regime = Regime::kNormal;
  std::string worst_language;
  std::vector<std::vector<Measured>> languages;  // [language][metric], of cell_metrics()
  std::vector<double> ppl_reference;             // by language
  std::vector<KlQuantiles> kl_quantiles;         // by language; none where no matrix is measured
  Measured gap, gini, seed_disparity;            // as DisparityEffects
  ModelSize size;
};

struct InterventionMatrix {
  std::vector<UnitResult> units;
};

// A set of units that is restored while all others stay quantized.
struct SetResult {
  std::string name;
  std::vector<std::string> units;
  uint64_t extra_bytes = 0;
  std::vector<Measured> loss;  // by language, KL per unit (per byte when not parallel)
  std::string worst_language;
  Measured worst_loss;
  Measured mean_loss;
  Measured seed_disparity;  // mean over the languages other than the reference
};

// The best set of a size, each judged on every position whatever the search saw.
struct BestSet {
  std::string objective;  // "worst_loss", "mean_loss", "seed_disparity"
  size_t size = 0;
  SetResult set;
  std::string runner_up;  // by the same objective; "": there is no other set
  Effect lead;            // runner-up's loss minus this one's
};

// Shapley values of restoring layers: shares of the loss of the quantized model that add up to what
// restoring all of them wins back.
struct ShapleyValues {
  std::vector<std::string> players;
  std::vector<std::vector<Effect>> values;  // [language][player]
  std::vector<Effect> mean;                 // [player], over languages
};

// Of two layers: the Shapley interaction index, and the plain contrast where no other layer and
// where every other layer is restored.
struct PairInteraction {
  size_t first = 0, second = 0;  // players
  Effect index, at_none, at_all;
};

struct SubsetsResult {
  std::vector<std::string> players;
  size_t max_size = 0;
  size_t sets = 0;
  double positions = 1;  // share that the search saw
  std::vector<BestSet> best;
  std::optional<ShapleyValues> shapley;                    // only where every subset was measured
  std::vector<std::vector<PairInteraction>> interactions;  // [language][pair]; as above
  std::vector<PairInteraction>
      contrasts_at_none;  // of the mean over languages; sets of two at most
};

struct SampledShapleyResult {
  ShapleyValues shapley;
  size_t permutations = 0;
  bool precise = false;  // the tolerance was reached
};

// A set beside random ones of the same bytes.
struct ComparedSet {
  SetResult set;
  size_t random_sets = 0;     // fewer than asked for where there are no more
  size_t different_sets = 0;  // that there are of the same bytes, as far as was looked
  // Share of the random sets that are worse (larger loss), ties counted half; 1: it beats all.
  double worst_loss_percentile = 0;
  double mean_loss_percentile = 0;
  std::vector<SetResult> random;
};

// Of one block. The hidden state after it, written over by the other model's; and how the block
// treats the error that reaches it.
struct PatchedBlock {
  std::string name;
  // By language, as a share of the loss of the quantized model: what goes when the state is the
  // reference's, and what comes when, in the reference, it is the quantized model's.
  std::vector<Effect> restored, damaged;
  // By language, geometric means over positions. `gain` is the relative error (the norm of the
  // difference of hidden states over the reference's norm) after the block over that before it, the
  // block unquantized: above 1 it amplifies what reaches it. `own_error` is the relative error that
  // its own quantization adds to a clean state.
  std::vector<Measured> gain, own_error;
  // By language: ln gain minus its mean over languages, as it is and at equal covariates.
  std::vector<Effect> gain_effect, adjusted_gain_effect;
};

// What quantizing `block` alone does to a language through a later one: the share of its loss that
// goes when the later block adds what it adds in the reference.
struct Mediation {
  size_t block = 0, through = 0;
  std::vector<Effect> share;  // by language
};

struct PatchResult {
  std::vector<std::string> covariates;  // of a position, that gains are adjusted for
  std::vector<PatchedBlock> blocks;
  std::vector<Mediation> mediations;        // one block, one later block
  std::vector<std::vector<Effect>> direct;  // [block][language]: with every later block frozen,
                                            // what is left of its loss
};

struct SweepResult {
  NoiseFloor noise_floor;
  std::string reference_language;
  bool parallel = true;
  uint64_t seed = 0;
  size_t draws = 0;
  size_t half_blocks = 0, naive_half_blocks = 0;  // planned for one pass over the text
  std::vector<std::string> languages;
  std::vector<size_t> units;  // of the corpus, by language
  Baseline baseline;
  std::optional<InterventionMatrix> matrix;
  std::optional<SubsetsResult> subsets;
  std::optional<SampledShapleyResult> shapley;
  std::vector<ComparedSet> sets;
  std::optional<PatchResult> patch;
};

// What a sweep will do, known before any of it: --explain.
struct SweepPlan {
  size_t units = 0;
  size_t configurations = 0;
  size_t half_blocks = 0, naive_half_blocks = 0;
  double multiply_adds = 0;        // over the corpus
  double naive_multiply_adds = 0;  // as plain audits, each with its reference and noise floor
  uint64_t hidden_bytes = 0;       // hidden states held at once
  size_t slices = 0;
};

SweepPlan plan_sweep(const Model& model, const TokenizedCorpus& corpus, const SweepRequest& request,
                     const SweepOptions& options);

// Multiply-adds a second that scoring takes here, by the first sequences of the corpus: what a
// plan's are to be divided by. Takes a second or so.
double measure_speed(Engine& engine, const Model& model, const TokenizedCorpus& corpus,
                     const ScoringOptions& options);

// A directory in which measurements are kept as they are made, so that a later process can go on
// where one was stopped: run.json says of what they are, journal.jsonl has them.
class RunDirectory {
 public:
  // `run` is an object of what measurements depend on ("inputs", "settings"), and of what is only
  // noted ("notes"). Without `resume` the directory is made, and must not hold a run; with it, a
  // run that is there must have the same inputs and settings, or Error(kMismatch) says which
  // differ.
  RunDirectory(const std::filesystem::path& directory, const nlohmann::json& run, bool resume);
  ~RunDirectory();
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }
  size_t recorded() const;  // entries of earlier processes

  struct Impl;  // measurer_impl.h
  Impl& impl() { return *impl_; }

 private:
  std::filesystem::path path_;
  std::unique_ptr<Impl> impl_;
};

// Measures and analyses. `directory` may be nullptr: then nothing is kept; of a team only rank 0
// has one, and only its result counts. Throws Error(kBadArgument) for what cannot be swept: unknown
// units, too many layers for every subset, nothing that is quantized.
SweepResult sweep(Engine& engine, const Model& model, const TokenizedCorpus& corpus,
                  const SweepRequest& request, const SweepOptions& options, Team& team,
                  RunDirectory* directory, const Progress& progress);

}  // namespace isogloss
