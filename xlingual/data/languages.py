"""Language codes and their English names: the one table behind prompts, tags and messages.

Natural languages have short BCP-47 codes (`en`, `de`, `zh-Hant`); programming languages have the
lower-case names that files use (`python`, `cpp`). The table covers the 101 languages of mT5
(Xue et al., 2021, NAACL), its six romanised variants, and the languages of FLORES-200 and Tatoeba.
"""

from collections.abc import Iterable

from xlingual.errors import ConfigError, nearest

_MT5 = """
    af am ar az be bg bn ca ceb co cs cy da de el en eo es et eu fa fi fil fr fy ga gd gl gu ha haw
    hi hmn ht hu hy id ig is it iw ja jv ka kk km kn ko ku ky la lb lo lt lv mg mi mk ml mn mr ms mt
    my ne nl no ny pa pl ps pt ro ru sd si sk sl sm sn so sq sr st su sv sw ta te tg th tr uk ur uz
    vi xh yi yo zh zu
"""
MT5_LANGUAGES = tuple(_MT5.split())
"""The languages of mT5, by the codes of its repository (Hebrew is `iw`)."""

PROGRAMMING_LANGUAGES = {
    "bash": "Bash",
    "c": "C",
    "clojure": "Clojure",
    "cpp": "C++",
    "csharp": "C#",
    "go": "Go",
    "haskell": "Haskell",
    "java": "Java",
    "javascript": "JavaScript",
    "julia": "Julia",
    "kotlin": "Kotlin",
    "lisp": "Lisp",
    "perl": "Perl",
    "php": "PHP",
    "python": "Python",
    "r": "R",
    "ruby": "Ruby",
    "rust": "Rust",
    "scala": "Scala",
    "shell": "Shell",
    "sql": "SQL",
    "swift": "Swift",
    "typescript": "TypeScript",
}

_NATURAL = """
    ab Abkhazian; ace Acehnese; acm Mesopotamian Arabic; acq Ta'izzi-Adeni Arabic;
    aeb Tunisian Arabic; af Afrikaans; ajp South Levantine Arabic; ak Akan; als Tosk Albanian;
    am Amharic; ang Old English; apc North Levantine Arabic; ar Arabic; arb Standard Arabic;
    arq Algerian Arabic; ars Najdi Arabic; ary Moroccan Arabic; arz Egyptian Arabic; as Assamese;
    ast Asturian; awa Awadhi; ayr Central Aymara; az Azerbaijani; azb South Azerbaijani;
    azj North Azerbaijani; ba Bashkir; ban Balinese; bas Basaa; bbc Batak Toba; bbj Ghomala;
    be Belarusian; bem Bemba; ber Berber languages; bg Bulgarian;
    bg-Latn Bulgarian (Latin script); bho Bhojpuri; bjn Banjar; bm Bambara; bn Bangla; bo Tibetan;
    br Breton; bs Bosnian; bug Buginese; bzd Bribri; ca Catalan; cbk Chavacano; ceb Cebuano;
    ch Chamorro; chr Cherokee; cjk Chokwe; ckb Central Kurdish; cnh Hakha Chin; cni Asháninka;
    co Corsican; cop Coptic; crh Crimean Tatar; cs Czech; csb Kashubian; cv Chuvash; cy Welsh;
    da Danish; de German; dik Southwestern Dinka; dsb Lower Sorbian; dtp Central Dusun; dv Divehi;
    dyu Dyula; dz Dzongkha; ee Ewe; el Greek; el-Latn Greek (Latin script); en English;
    eo Esperanto; es Spanish; et Estonian; eu Basque; fa Persian; fa-AF Dari; ff Fulah;
    fi Finnish; fil Filipino; fj Fijian; fo Faroese; fon Fon; fr French; fur Friulian;
    fuv Nigerian Fulfulde; fy Western Frisian; ga Irish; gaz West Central Oromo;
    gd Scottish Gaelic; gl Galician; gn Guarani; gsw Swiss German; gu Gujarati; ha Hausa;
    haw Hawaiian; hch Huichol; he Hebrew; hi Hindi; hi-Latn Hindi (Latin script); hmn Hmong;
    hne Chhattisgarhi; hr Croatian; hsb Upper Sorbian; ht Haitian Creole; hu Hungarian;
    hy Armenian; ia Interlingua; id Indonesian; ie Interlingue; ig Igbo; ilo Iloko; io Ido;
    is Icelandic; it Italian; iw Hebrew; ja Japanese; ja-Latn Japanese (Latin script);
    jv Javanese; ka Georgian; kab Kabyle; kac Kachin; kam Kamba; kbp Kabiyè; kea Kabuverdianu;
    kg Kongo; khk Halh Mongolian; ki Kikuyu; kk Kazakh; kl Greenlandic; km Khmer; kmb Kimbundu;
    kmr Northern Kurdish; kn Kannada; knc Central Kanuri; ko Korean; ks Kashmiri; ku Kurdish;
    kw Cornish; ky Kyrgyz; la Latin; lb Luxembourgish; lfn Lingua Franca Nova; lg Ganda;
    li Limburgish; lij Ligurian; lmo Lombard; ln Lingala; lo Lao; lt Lithuanian; ltg Latgalian;
    lua Luba-Lulua; luo Luo; lus Mizo; lv Latvian; lvs Standard Latvian; mad Madurese; mag Magahi;
    mai Maithili; max North Moluccan Malay; mg Malagasy; mhr Eastern Mari; mi Māori;
    min Minangkabau; mk Macedonian; ml Malayalam; mn Mongolian; mni Manipuri; mos Mossi;
    mr Marathi; ms Malay; mt Maltese; my Burmese; nah Nahuatl languages; nb Norwegian Bokmål;
    nds Low German; ne Nepali; nij Ngaju; nl Dutch; nn Norwegian Nynorsk; no Norwegian;
    nov Novial; npi Nepali; nqo N'Ko; nso Northern Sotho; nus Nuer; ny Nyanja; oc Occitan;
    oj Ojibwa; om Oromo; or Odia; orv Old Russian; ory Odia; oto Otomian languages; pa Punjabi;
    pag Pangasinan; pam Pampanga; pap Papiamento; pbt Southern Pashto; pcm Nigerian Pidgin;
    pes Iranian Persian; pl Polish; plt Plateau Malagasy; pms Piedmontese; ps Pashto;
    pt Portuguese; qu Quechua; quc Kʼicheʼ; quy Ayacucho Quechua; rm Romansh; rn Rundi;
    ro Romanian; ru Russian; ru-Latn Russian (Latin script); rw Kinyarwanda; sa Sanskrit;
    sah Yakut; sat Santali; sc Sardinian; scn Sicilian; sd Sindhi; sg Sango; shn Shan;
    shp Shipibo-Conibo; si Sinhala; sk Slovak; sl Slovenian; sm Samoan; sn Shona; so Somali;
    sq Albanian; sr Serbian; sr-Latn Serbian (Latin script); ss Swati; st Southern Sotho;
    su Sundanese; sv Swedish; sw Swahili; swg Swabian; swh Swahili; syc Classical Syriac;
    szl Silesian; ta Tamil; taq Tamasheq; tar Central Tarahumara; te Telugu; tg Tajik; th Thai;
    ti Tigrinya; tk Turkmen; tl Tagalog; tn Tswana; to Tongan; tpi Tok Pisin; tr Turkish;
    ts Tsonga; tt Tatar; tum Tumbuka; tw Twi; ty Tahitian; tzl Talossan;
    tzm Central Atlas Tamazight; ug Uyghur; uk Ukrainian; umb Umbundu; ur Urdu; uz Uzbek;
    uzn Northern Uzbek; vec Venetian; vi Vietnamese; vot Votic; war Waray; wo Wolof;
    wuu Wu Chinese; xh Xhosa; ydd Eastern Yiddish; yi Yiddish; yo Yoruba; yue Cantonese;
    zh Chinese; zh-Hans Simplified Chinese; zh-Hant Traditional Chinese;
    zh-Latn Chinese (Latin script); zsm Standard Malay; zu Zulu;
"""

NATURAL_LANGUAGES: dict[str, str] = dict(
    entry.strip().split(" ", 1) for entry in _NATURAL.split(";") if entry.strip()
)


def language_name(code: str) -> str:
    """Returns the English name of a natural or programming language, e.g. `German`.

    >>> language_name("zh-Hant")
    'Traditional Chinese'

    Raises:
      ConfigError: the code is in neither table; the message names the nearest codes.
    """
    if code in PROGRAMMING_LANGUAGES:
        return PROGRAMMING_LANGUAGES[code]
    if code in NATURAL_LANGUAGES:
        return NATURAL_LANGUAGES[code]
    known = [*NATURAL_LANGUAGES, *PROGRAMMING_LANGUAGES]
    raise ConfigError(
        f"language {code!r} is unknown; expected a BCP-47 code such as 'de'; "
        f"{nearest(code, known, 3)}"
    )


def language_names(codes: Iterable[str]) -> dict[str, str]:
    """Returns code -> English name for each code.

    Raises:
      ConfigError: a code is unknown.
    """
    return {code: language_name(code) for code in codes}


def is_programming_language(code: str) -> bool:
    """Returns whether the code names a programming language; unknown codes are not."""
    return code in PROGRAMMING_LANGUAGES
