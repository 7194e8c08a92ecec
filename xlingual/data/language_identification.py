"""Which language a text is in, as a small model says that comes with its library.

The model is py3langid's (Lui and Baldwin, 2012, langid.py, ACL demonstrations; retrained since): no
network, no file to fetch, about a hundred languages, far below a millisecond a sentence. It knows
languages, not scripts or regions; a code of ours is compared as its macrolanguage.
"""

import dataclasses
import functools
from typing import Any

from xlingual.errors import ConfigError

_MACROLANGUAGES = {
    "als": "sq", "arb": "ar", "azj": "az", "ekk": "et", "fil": "tl", "gaz": "om", "iw": "he",
    "khk": "mn", "kmr": "ku", "lvs": "lv", "nb": "no", "npi": "ne", "ory": "or", "pbt": "ps",
    "pes": "fa", "plt": "mg", "quy": "qu", "swh": "sw", "uzn": "uz", "zsm": "ms", "gn": "gug",
    "ki": "kik", "prs": "fa",
}  # fmt: skip
"""Code of an individual language, or one that the model names otherwise -> the model's code."""
_ISO_639_3 = {
    "afr": "af", "amh": "am", "arb": "ar", "asm": "as", "azj": "az", "bak": "ba", "bel": "be",
    "ben": "bn", "bos": "bs", "bre": "br", "bul": "bg", "cat": "ca", "ces": "cs", "cym": "cy",
    "dan": "da", "deu": "de", "dzo": "dz", "ell": "el", "eng": "en", "epo": "eo", "est": "et",
    "eus": "eu", "fao": "fo", "fin": "fi", "fra": "fr", "fry": "fy", "gla": "gd", "gle": "ga",
    "glg": "gl", "grn": "gug", "guj": "gu", "hat": "ht", "hau": "ha", "heb": "he", "hin": "hi",
    "hrv": "hr", "hun": "hu", "hye": "hy", "ibo": "ig", "ind": "id", "isl": "is", "ita": "it",
    "jav": "jv", "jpn": "ja", "kan": "kn", "kat": "ka", "kaz": "kk", "khm": "km", "kin": "rw",
    "kir": "ky", "kor": "ko", "lao": "lo", "lat": "la", "lin": "ln", "lit": "lt", "ltz": "lb",
    "lug": "lg", "mal": "ml", "mar": "mr", "mkd": "mk", "mlt": "mt", "mya": "my", "nld": "nl",
    "nno": "nn", "nob": "no", "oci": "oc", "pan": "pa", "pol": "pl", "por": "pt", "ron": "ro",
    "rus": "ru", "san": "sa", "sin": "si", "slk": "sk", "slv": "sl", "sna": "sn", "som": "so",
    "sot": "st", "spa": "es", "srp": "sr", "swe": "sv", "tam": "ta", "tat": "tt", "tel": "te",
    "tgk": "tg", "tgl": "tl", "tha": "th", "tuk": "tk", "tur": "tr", "uig": "ug", "ukr": "uk",
    "urd": "ur", "vie": "vi", "wln": "wa", "xho": "xh", "yor": "yo", "zho": "zh", "zul": "zu",
}  # fmt: skip
"""ISO 639-3, as file names have it -> the model's code."""


@dataclasses.dataclass(frozen=True)
class Guess:
    """What the model says of a text.

    Attributes:
      language: its code.
      probability: of that language, in [0, 1].
      declared: probability of the language that the text is said to be in; 0 if it is unknown.
    """

    language: str
    probability: float
    declared: float


def model_code(language: str) -> str | None:
    """Returns the model's code of a language such as `de`, `zh-Hant` or `deu_Latn`; None for none.

    >>> model_code("zho_Hans"), model_code("arb"), model_code("xx")
    ('zh', 'ar', None)

    Raises:
      ConfigError: the library is not installed.
    """
    base = language.replace("_", "-").split("-")[0]
    for code in (base, _MACROLANGUAGES.get(base), _ISO_639_3.get(base)):
        if code in _codes():
            return code
    return None


def identify(text: str, declared: str | None = None) -> Guess:
    """Returns the most probable language of a text.

    Args:
      text: a sentence or more; of a word or two, the model knows little.
      declared: code of the model that the text is said to be in, from `model_code`.

    Raises:
      ConfigError: the library is not installed.
    """
    if declared is None:
        language, probability = _identifier().classify(text)
        return Guess(str(language), float(probability), 0.0)
    ranked = _identifier().rank(text)
    language, probability = ranked[0]
    own = sum(float(share) for code, share in ranked if code == declared)
    return Guess(str(language), float(probability), own)


@functools.cache
def _codes() -> frozenset[str]:
    return frozenset(str(code) for code in _identifier().nb_classes)


@functools.cache
def _identifier() -> Any:
    try:
        from py3langid import langid
    except ImportError as error:
        raise ConfigError(
            f"language identification needs py3langid ({error}); run: "
            "pip install 'xlingual[corpus]'"
        ) from error
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
