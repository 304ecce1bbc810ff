// What the readers of a tokenizer.json share. An object's path names it as
// "FILE: pre_tokenizer.pretokenizers[1]".
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "isogloss/base/json.h"
#include "isogloss/tokens/pipeline_impl.h"

namespace isogloss {


// Throws Error(kUnsupported): "PATH.KEY is VALUE; UNDERSTOOD".
[[noreturn]] void refuse(const JsonObject& object, const char* key, std::string_view understood);

// Refuses an object that has a key besides "type" and the known ones.
void check_keys(const JsonObject& object, std::initializer_list<std::string_view> known);

// "PATH.KEY"
std::string member(const JsonObject& object, const char* key);

// The objects in a list that may be absent, named "NAME[i]".
std::vector<JsonObject> list_of_objects(const JsonObject& object, const char* key,
                                        const std::string& name);

// The scores of a Unigram model, from the text of a valid file whose model.vocab is a list of pairs
// of a token and a number.
std::vector<double> read_unigram_scores(std::string_view text);

std::vector<Normalizer> read_normalizers(const JsonObject& normalizer);
std::vector<PreTokenizer> read_pre_tokenizers(const JsonObject& pre_tokenizer);

}  // namespace isogloss
