// The languages of FLORES-200, and how users name them.
#include <algorithm>

#include "isogloss/base/error.h"
#include "isogloss/base/suggest.h"
#include "isogloss/text/text.h"

namespace isogloss {
namespace {

constexpr size_t kIso639Letters = 3;

// FLORES names individual languages ("lvs"), users the macrolanguage ("lv"), so `code` is the ISO
// 639-1 code of the macrolanguage. The rarer script of a language carries a script subtag.
constexpr LanguageInfo kLanguages[] = {
    {"ace", "ace_Latn", "Acehnese"},
    {"ace-Arab", "ace_Arab", "Acehnese (Arabic script)"},
    {"acm", "acm_Arab", "Mesopotamian Arabic"},
    {"acq", "acq_Arab", "Ta'izzi-Adeni Arabic"},
    {"aeb", "aeb_Arab", "Tunisian Arabic"},
    {"af", "afr_Latn", "Afrikaans"},
    {"ajp", "ajp_Arab", "South Levantine Arabic"},
    {"ak", "aka_Latn", "Akan"},
    {"am", "amh_Ethi", "Amharic"},
    {"apc", "apc_Arab", "North Levantine Arabic"},
    {"ar", "arb_Arab", "Arabic"},
    {"ar-Latn", "arb_Latn", "Arabic (Latin script)"},
    {"ars", "ars_Arab", "Najdi Arabic"},
    {"ary", "ary_Arab", "Moroccan Arabic"},
    {"arz", "arz_Arab", "Egyptian Arabic"},
    {"as", "asm_Beng", "Assamese"},
    {"ast", "ast_Latn", "Asturian"},
    {"awa", "awa_Deva", "Awadhi"},
    {"ay", "ayr_Latn", "Aymara"},
    {"az", "azj_Latn", "Azerbaijani"},
    {"azb", "azb_Arab", "South Azerbaijani"},
    {"ba", "bak_Cyrl", "Bashkir"},
    {"ban", "ban_Latn", "Balinese"},
    {"be", "bel_Cyrl", "Belarusian"},
    {"bem", "bem_Latn", "Bemba"},
    {"bg", "bul_Cyrl", "Bulgarian"},
    {"bho", "bho_Deva", "Bhojpuri"},
    {"bjn", "bjn_Latn", "Banjar"},
    {"bjn-Arab", "bjn_Arab", "Banjar (Arabic script)"},
    {"bm", "bam_Latn", "Bambara"},
    {"bn", "ben_Beng", "Bengali"},
    {"bo", "bod_Tibt", "Tibetan"},
    {"bs", "bos_Latn", "Bosnian"},
    {"bug", "bug_Latn", "Buginese"},
    {"ca", "cat_Latn", "Catalan"},
    {"ceb", "ceb_Latn", "Cebuano"},
    {"cjk", "cjk_Latn", "Chokwe"},
    {"ckb", "ckb_Arab", "Central Kurdish"},
    {"crh", "crh_Latn", "Crimean Tatar"},
    {"cs", "ces_Latn", "Czech"},
    {"cy", "cym_Latn", "Welsh"},
    {"da", "dan_Latn", "Danish"},
    {"de", "deu_Latn", "German"},
    {"dik", "dik_Latn", "Southwestern Dinka"},
    {"dyu", "dyu_Latn", "Dyula"},
    {"dz", "dzo_Tibt", "Dzongkha"},
    {"ee", "ewe_Latn", "Ewe"},
    {"el", "ell_Grek", "Greek"},
    {"en", "eng_Latn", "English"},
    {"eo", "epo_Latn", "Esperanto"},
    {"es", "spa_Latn", "Spanish"},
    {"et", "est_Latn", "Estonian"},
    {"eu", "eus_Latn", "Basque"},
    {"fa", "pes_Arab", "Persian"},
    {"ff", "fuv_Latn", "Fulah"},
    {"fi", "fin_Latn", "Finnish"},
    {"fj", "fij_Latn", "Fijian"},
    {"fo", "fao_Latn", "Faroese"},
    {"fon", "fon_Latn", "Fon"},
    {"fr", "fra_Latn", "French"},
    {"fur", "fur_Latn", "Friulian"},
    {"ga", "gle_Latn", "Irish"},
    {"gd", "gla_Latn", "Scottish Gaelic"},
    {"gl", "glg_Latn", "Galician"},
    {"gn", "grn_Latn", "Guarani"},
    {"gu", "guj_Gujr", "Gujarati"},
    {"ha", "hau_Latn", "Hausa"},
    {"he", "heb_Hebr", "Hebrew"},
    {"hi", "hin_Deva", "Hindi"},
    {"hne", "hne_Deva", "Chhattisgarhi"},
    {"hr", "hrv_Latn", "Croatian"},
    {"ht", "hat_Latn", "Haitian Creole"},
    {"hu", "hun_Latn", "Hungarian"},
    {"hy", "hye_Armn", "Armenian"},
    {"id", "ind_Latn", "Indonesian"},
    {"ig", "ibo_Latn", "Igbo"},
    {"ilo", "ilo_Latn", "Ilocano"},
    {"is", "isl_Latn", "Icelandic"},
    {"it", "ita_Latn", "Italian"},
    {"ja", "jpn_Jpan", "Japanese"},
    {"jv", "jav_Latn", "Javanese"},
    {"ka", "kat_Geor", "Georgian"},
    {"kab", "kab_Latn", "Kabyle"},
    {"kac", "kac_Latn", "Jingpho"},
    {"kam", "kam_Latn", "Kamba"},
    {"kbp", "kbp_Latn", "Kabiye"},
    {"kea", "kea_Latn", "Kabuverdianu"},
    {"kg", "kon_Latn", "Kongo"},
    {"ki", "kik_Latn", "Kikuyu"},
    {"kk", "kaz_Cyrl", "Kazakh"},
    {"km", "khm_Khmr", "Khmer"},
    {"kmb", "kmb_Latn", "Kimbundu"},
    {"kn", "kan_Knda", "Kannada"},
    {"ko", "kor_Hang", "Korean"},
    {"kr", "knc_Latn", "Kanuri"},
    {"kr-Arab", "knc_Arab", "Kanuri (Arabic script)"},
    {"ks", "kas_Arab", "Kashmiri"},
    {"ks-Deva", "kas_Deva", "Kashmiri (Devanagari script)"},
    {"ku", "kmr_Latn", "Kurdish"},
    {"ky", "kir_Cyrl", "Kyrgyz"},
    {"lb", "ltz_Latn", "Luxembourgish"},
    {"lg", "lug_Latn", "Ganda"},
    {"li", "lim_Latn", "Limburgish"},
    {"lij", "lij_Latn", "Ligurian"},
    {"lmo", "lmo_Latn", "Lombard"},
    {"ln", "lin_Latn", "Lingala"},
    {"lo", "lao_Laoo", "Lao"},
    {"lt", "lit_Latn", "Lithuanian"},
    {"ltg", "ltg_Latn", "Latgalian"},
    {"lua", "lua_Latn", "Luba-Kasai"},
    {"luo", "luo_Latn", "Luo"},
    {"lus", "lus_Latn", "Mizo"},
    {"lv", "lvs_Latn", "Latvian"},
    {"mag", "mag_Deva", "Magahi"},
    {"mai", "mai_Deva", "Maithili"},
    {"mg", "plt_Latn", "Malagasy"},
    {"mi", "mri_Latn", "Maori"},
    {"min", "min_Latn", "Minangkabau"},
    {"min-Arab", "min_Arab", "Minangkabau (Arabic script)"},
    {"mk", "mkd_Cyrl", "Macedonian"},
    {"ml", "mal_Mlym", "Malayalam"},
    {"mn", "khk_Cyrl", "Mongolian"},
    {"mni", "mni_Beng", "Meitei"},
    {"mos", "mos_Latn", "Mossi"},
    {"mr", "mar_Deva", "Marathi"},
    {"ms", "zsm_Latn", "Malay"},
    {"mt", "mlt_Latn", "Maltese"},
    {"my", "mya_Mymr", "Burmese"},
    {"nb", "nob_Latn", "Norwegian Bokmål"},
    {"ne", "npi_Deva", "Nepali"},
    {"nl", "nld_Latn", "Dutch"},
    {"nn", "nno_Latn", "Norwegian Nynorsk"},
    {"nso", "nso_Latn", "Northern Sotho"},
    {"nus", "nus_Latn", "Nuer"},
    {"ny", "nya_Latn", "Nyanja"},
    {"oc", "oci_Latn", "Occitan"},
    {"om", "gaz_Latn", "Oromo"},
    {"or", "ory_Orya", "Odia"},
    {"pa", "pan_Guru", "Punjabi"},
    {"pag", "pag_Latn", "Pangasinan"},
    {"pap", "pap_Latn", "Papiamento"},
    {"pl", "pol_Latn", "Polish"},
    {"prs", "prs_Arab", "Dari"},
    {"ps", "pbt_Arab", "Pashto"},
    {"pt", "por_Latn", "Portuguese"},
    {"qu", "quy_Latn", "Quechua"},
    {"rn", "run_Latn", "Rundi"},
    {"ro", "ron_Latn", "Romanian"},
    {"ru", "rus_Cyrl", "Russian"},
    {"rw", "kin_Latn", "Kinyarwanda"},
    {"sa", "san_Deva", "Sanskrit"},
    {"sat", "sat_Olck", "Santali"},
    {"sc", "srd_Latn", "Sardinian"},
    {"scn", "scn_Latn", "Sicilian"},
    {"sd", "snd_Arab", "Sindhi"},
    {"sg", "sag_Latn", "Sango"},
    {"shn", "shn_Mymr", "Shan"},
    {"si", "sin_Sinh", "Sinhala"},
    {"sk", "slk_Latn", "Slovak"},
    {"sl", "slv_Latn", "Slovenian"},
    {"sm", "smo_Latn", "Samoan"},
    {"sn", "sna_Latn", "Shona"},
    {"so", "som_Latn", "Somali"},
    {"sq", "als_Latn", "Albanian"},
    {"sr", "srp_Cyrl", "Serbian"},
    {"ss", "ssw_Latn", "Swati"},
    {"st", "sot_Latn", "Southern Sotho"},
    {"su", "sun_Latn", "Sundanese"},
    {"sv", "swe_Latn", "Swedish"},
    {"sw", "swh_Latn", "Swahili"},
    {"szl", "szl_Latn", "Silesian"},
    {"ta", "tam_Taml", "Tamil"},
    {"taq", "taq_Latn", "Tamasheq"},
    {"taq-Tfng", "taq_Tfng", "Tamasheq (Tifinagh script)"},
    {"te", "tel_Telu", "Telugu"},
    {"tg", "tgk_Cyrl", "Tajik"},
    {"th", "tha_Thai", "Thai"},
    {"ti", "tir_Ethi", "Tigrinya"},
    {"tk", "tuk_Latn", "Turkmen"},
    {"tl", "tgl_Latn", "Tagalog"},
    {"tn", "tsn_Latn", "Tswana"},
    {"tpi", "tpi_Latn", "Tok Pisin"},
    {"tr", "tur_Latn", "Turkish"},
    {"ts", "tso_Latn", "Tsonga"},
    {"tt", "tat_Cyrl", "Tatar"},
    {"tum", "tum_Latn", "Tumbuka"},
    {"tw", "twi_Latn", "Twi"},
    {"tzm", "tzm_Tfng", "Central Atlas Tamazight"},
    {"ug", "uig_Arab", "Uyghur"},
    {"uk", "ukr_Cyrl", "Ukrainian"},
    {"umb", "umb_Latn", "Umbundu"},
    {"ur", "urd_Arab", "Urdu"},
    {"uz", "uzn_Latn", "Uzbek"},
    {"vec", "vec_Latn", "Venetian"},
    {"vi", "vie_Latn", "Vietnamese"},
    {"war", "war_Latn", "Waray"},
    {"wo", "wol_Latn", "Wolof"},
    {"xh", "xho_Latn", "Xhosa"},
    {"yi", "ydd_Hebr", "Yiddish"},
    {"yo", "yor_Latn", "Yoruba"},
    {"yue", "yue_Hant", "Cantonese"},
    {"zh", "zho_Hans", "Chinese (Simplified)"},
    {"zh-Hant", "zho_Hant", "Chinese (Traditional)"},
    {"zu", "zul_Latn", "Zulu"},
};

struct Alias {
  std::string_view alias;
  std::string_view code;
};

// Macrolanguages of ISO 639-3 and other spellings in use; NTREX-128 files are named by these.
constexpr Alias kAliases[] = {
    {"ara", "ar"},    {"aym", "ay"},         {"aze", "az"},     {"aze-Latn", "az"},
    {"cmn", "zh"},    {"fas", "fa"},         {"fil", "tl"},     {"ful", "ff"},
    {"kau", "kr"},    {"kur", "ku"},         {"lav", "lv"},     {"mlg", "mg"},
    {"mon", "mn"},    {"msa", "ms"},         {"nep", "ne"},     {"no", "nb"},
    {"nor", "nb"},    {"ori", "or"},         {"orm", "om"},     {"pus", "ps"},
    {"que", "qu"},    {"sqi", "sq"},         {"swa", "sw"},     {"uzb", "uz"},
    {"yid", "yi"},    {"zh-CN", "zh"},       {"zh-Hans", "zh"}, {"zh-TW", "zh-Hant"},
    {"zho-CN", "zh"}, {"zho-TW", "zh-Hant"},
};

char fold(char letter) {
  if (letter == '_') return '-';
  return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
}

// Case and the kind of dash are ignored: zh_hant is zh-Hant.
bool same_code(std::string_view left, std::string_view right) {
  return std::ranges::equal(left, right, {}, fold, fold);
}

std::string_view without_alias(std::string_view code) {
  for (const Alias& alias : kAliases) {
    if (same_code(alias.alias, code)) return alias.code;
  }
  return code;
}

std::vector<std::string> known_codes() {
  std::vector<std::string> codes;
  for (const LanguageInfo& language : kLanguages) {
    codes.emplace_back(language.code);
    codes.emplace_back(language.flores);
    codes.emplace_back(language.flores.substr(0, kIso639Letters));
  }
  return codes;
}

}  // namespace

std::span<const LanguageInfo> known_languages() {
  return kLanguages;
}

const LanguageInfo* find_language(std::string_view code) {
  code = without_alias(code);
  for (const LanguageInfo& language : kLanguages) {
    if (same_code(language.code, code) || same_code(language.flores, code)) return &language;
  }
  for (const LanguageInfo& language : kLanguages) {
    if (same_code(language.flores.substr(0, kIso639Letters), code)) return &language;
  }
  return nullptr;
}

const LanguageInfo& get_language(std::string_view code) {
  if (const LanguageInfo* language = find_language(code)) return *language;
  fail(ErrorCode::kNotFound,
       "unknown language '{}'{}; give BCP-47 (de), FLORES (deu_Latn) or ISO 639-3 (deu)", code,
       did_you_mean(code, known_codes()));
}

}  // namespace isogloss
