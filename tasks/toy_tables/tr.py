"""Turkish: verb last; case and number by suffixes that harmonise with the last vowel.

A definite object takes the accusative (a few verbs govern the dative), a counted one stays bare
and singular; places are locative, or genitive before a possessed noun. There are no articles.
"""

from tasks.toy_meaning import (
    OBJECT_ADJECTIVES,
    PLACES,
    PLURAL,
    SUBJECT_ADJECTIVES,
    SUBJECTS,
    VERBS,
    Meaning,
)
from tasks.toy_meaning import OBJECTS as OBJECT_CONCEPTS
from tasks.toy_tables.columns import join_words, read_columns, read_numerals

# concept, noun, stem before a vowel
NOUNS = read_columns(
    """
    teacher      öğretmen   öğretmen
    doctor       doktor     doktor
    farmer       çiftçi     çiftçi
    student      öğrenci    öğrenci
    neighbour    komşu      komşu
    cook         aşçı       aşçı
    driver       şoför      şoför
    child        çocuk      çocuğ
    woman        kadın      kadın
    girl         kız        kız
    grandmother  büyükanne  büyükanne
    tourist      turist     turist
    soldier      asker      asker
    painter      ressam     ressam
    queen        kraliçe    kraliçe
    guest        misafir    misafir
    book         kitap      kitab
    letter       mektup     mektub
    newspaper    gazete     gazete
    apple        elma       elma
    cake         pasta      pasta
    egg          yumurta    yumurta
    shirt        gömlek     gömleğ
    hat          şapka      şapka
    cup          fincan     fincan
    plate        tabak      tabağ
    table        masa       masa
    lamp         lamba      lamba
    key          anahtar    anahtar
    picture      resim      resm
    car          araba      araba
    bicycle      bisiklet   bisiklet
    flower       çiçek      çiçeğ
    box          kutu       kutu
    map          harita     harita
    umbrella     şemsiye    şemsiye
    """,
    SUBJECTS + OBJECT_CONCEPTS,
)
ADJECTIVES = read_columns(
    """
    young genç
    happy mutlu
    tired yorgun
    kind nazik
    clever akıllı
    quiet sessiz
    famous ünlü
    rich zengin
    red kırmızı
    white beyaz
    black siyah
    big büyük
    small küçük
    new yeni
    old eski
    beautiful güzel
    cheap ucuz
    """,
    SUBJECT_ADJECTIVES + OBJECT_ADJECTIVES,
)
# concept, governed case, past, present, future
VERB_FORMS = read_columns(
    """
    buy         acc  satın_aldı     satın_alıyor     satın_alacak
    sell        acc  sattı          satıyor          satacak
    measure     acc  ölçtü          ölçüyor          ölçecek
    look_at     dat  baktı          bakıyor          bakacak
    touch       dat  dokundu        dokunuyor        dokunacak
    choose      acc  seçti          seçiyor          seçecek
    hide        acc  sakladı        saklıyor         saklayacak
    wrap        acc  paketledi      paketliyor       paketleyecek
    steal       acc  çaldı          çalıyor          çalacak
    look_for    acc  aradı          arıyor           arayacak
    send        acc  gönderdi       gönderiyor       gönderecek
    order       acc  sipariş_etti   sipariş_ediyor   sipariş_edecek
    throw_away  acc  attı           atıyor           atacak
    inspect     acc  inceledi       inceliyor        inceleyecek
    wash        acc  yıkadı         yıkıyor          yıkayacak
    repair      acc  tamir_etti     tamir_ediyor     tamir_edecek
    read        acc  okudu          okuyor           okuyacak
    eat         acc  yedi           yiyor            yiyecek
    """,
    VERBS,
)
PLACE_FORMS = read_columns(
    """
    school okul
    garden bahçe
    market pazar
    museum müze
    park park
    hospital hastane
    station istasyon
    forest orman
    village köy
    hotel otel
    shop mağaza
    library kütüphane
    """,
    PLACES,
)
PREPOSITIONS = {"next_to": "yanında", "behind": "arkasında", "in_front_of": "önünde"}
TIMES = {
    "yesterday": "dün",
    "last_week": "geçen hafta",
    "now": "şimdi",
    "today": "bugün",
    "tomorrow": "yarın",
    "next_week": "gelecek hafta",
}
NUMERALS = read_numerals("iki üç dört beş altı yedi sekiz dokuz on")
_VOWELS = "aıoueiöü"
_HIGH = {"a": "ı", "ı": "ı", "o": "u", "u": "u", "e": "i", "i": "i", "ö": "ü", "ü": "ü"}
_VOICELESS = "fstkçşhp"


def render(meaning: Meaning) -> str:
    """Returns the Turkish sentence of a meaning."""
    words = join_words(
        _subject(meaning),
        TIMES[meaning.time] if meaning.time else "",
        _place(meaning),
        _object(meaning),
        VERB_FORMS[meaning.verb][("past", "present", "future").index(meaning.tense) + 1],
    )
    first = "İ" if words[0] == "i" else words[0].upper()
    return f"{first}{words[1:]}."


def _subject(meaning: Meaning) -> str:
    noun = NOUNS[meaning.subject][0]
    if meaning.subject_plural:
        noun = _plural(noun)
    return join_words(_adjective(meaning.subject_adjective), noun)


def _object(meaning: Meaning) -> str:
    noun, stem = NOUNS[meaning.object]
    adjective, number = _adjective(meaning.object_adjective), meaning.object_number
    case = VERB_FORMS[meaning.verb][0]
    if number not in (1, PLURAL):
        counted = _case(noun, stem, case) if case == "dat" else noun
        return join_words(NUMERALS[number], adjective, counted)
    if number == PLURAL:
        noun = stem = _plural(noun)
    return join_words(adjective, _case(noun, stem, case))


def _adjective(concept: str | None) -> str:
    return ADJECTIVES[concept][0] if concept else ""


def _place(meaning: Meaning) -> str:
    if meaning.place is None or meaning.preposition is None:
        return ""
    (noun,) = PLACE_FORMS[meaning.place]
    if meaning.preposition == "in":
        return f"{noun}{'t' if noun[-1] in _VOICELESS else 'd'}{_low_vowel(noun)}"
    link = "n" if noun[-1] in _VOWELS else ""
    return f"{noun}{link}{_high_vowel(noun)}n {PREPOSITIONS[meaning.preposition]}"


def _plural(noun: str) -> str:
    return f"{noun}l{_low_vowel(noun)}r"


def _case(noun: str, stem: str, case: str) -> str:
    """Returns the accusative or dative; the vowel harmonises with the unsuffixed noun."""
    vowel = _high_vowel(noun) if case == "acc" else _low_vowel(noun)
    return f"{stem}{'y' if stem[-1] in _VOWELS else ''}{vowel}"


def _low_vowel(noun: str) -> str:
    return "a" if _last_vowel(noun) in "aıou" else "e"


def _high_vowel(noun: str) -> str:
    return _HIGH[_last_vowel(noun)]


def _last_vowel(noun: str) -> str:
    return next(letter for letter in reversed(noun) if letter in _VOWELS)
