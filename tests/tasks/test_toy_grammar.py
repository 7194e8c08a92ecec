"""The sentences of the toy corpus: right, repeatable, invertible, and split by meaning."""

import unicodedata

import pytest

from tasks import toy_grammar, toy_meaning
from tasks.toy_meaning import PLURAL, Meaning
from tasks.toy_tables import columns

_SCRIPTS = {
    "en": {"LATIN"},
    "de": {"LATIN"},
    "fr": {"LATIN"},
    "ru": {"CYRILLIC"},
    "tr": {"LATIN"},
    "hi": {"DEVANAGARI"},
    "ja": {"HIRAGANA", "KATAKANA", "CJK"},
    "ar": {"ARABIC"},
    "zh": {"CJK"},
}
# Read and checked word by word: agreement, case, order, tense, numerals, places.
_GOLDEN = [
    (
        Meaning("queen", False, "young", "buy", "past", "book", 3, "red", "behind", "school", None),
        {
            "en": "The young queen bought three red books behind the school.",
            "de": "Die junge Königin hat hinter der Schule drei rote Bücher gekauft.",
            "fr": "La jeune reine a acheté trois livres rouges derrière l'école.",
            "ru": "Молодая королева купила три красные книги за школой.",
            "tr": "Genç kraliçe okulun arkasında üç kırmızı kitap satın aldı.",
            "hi": "युवा रानी ने स्कूल के पीछे तीन लाल किताबें खरीदीं।",
            "ja": "若い女王は学校の後ろで三冊の赤い本を買いました。",
            "ar": "اشترت الملكة الشابة ثلاثة كتب حمراء خلف المدرسة.",
            "zh": "年轻的女王在学校后面买了三本红色的书。",
        },
    ),
    (
        Meaning(
            "teacher", True, "tired", "look_at", "present", "key", 2, "new", "in", "market", "now"
        ),
        {
            "en": "The tired teachers are looking at two new keys in the market now.",
            "de": "Jetzt sehen die müden Lehrer auf dem Markt zwei neue Schlüssel an.",
            "fr": "Maintenant, les professeurs fatigués regardent deux nouvelles clés au marché.",
            "ru": "Сейчас усталые учителя смотрят на два новых ключа на рынке.",
            "tr": "Yorgun öğretmenler şimdi pazarda iki yeni anahtara bakıyor.",
            "hi": "अभी थके हुए शिक्षक बाज़ार में दो नई चाबियाँ देख रहे हैं।",
            "ja": "今疲れた先生たちは市場で二本の新しい鍵を見ています。",
            "ar": "ينظر المعلمون المتعبون إلى مفتاحين جديدين في السوق الآن.",
            "zh": "疲惫的老师们现在正在市场里看两把新钥匙。",
        },
    ),
    (
        Meaning(
            "child",
            True,
            None,
            "throw_away",
            "future",
            "egg",
            PLURAL,
            "old",
            "next_to",
            "hotel",
            "tomorrow",
        ),
        {
            "en": "The children will throw away the old eggs next to the hotel tomorrow.",
            "de": "Morgen werden die Kinder neben dem Hotel die alten Eier wegwerfen.",
            "fr": "Demain, les enfants jetteront les vieux œufs à côté de l'hôtel.",
            "ru": "Завтра дети выбросят старые яйца рядом с гостиницей.",
            "tr": "Çocuklar yarın otelin yanında eski yumurtaları atacak.",
            "hi": "कल बच्चे होटल के बगल में वे पुराने अंडे फेंकेंगे।",
            "ja": "明日子供たちはホテルの隣でそれらの古い卵を捨てます。",
            "ar": "سيرمي الأطفال البيضات القديمة بجانب الفندق غدا.",
            "zh": "孩子们明天会在酒店旁边扔那些旧鸡蛋。",
        },
    ),
    (
        Meaning(
            "doctor", False, "happy", "wrap", "past", "car", 1, "white", "in", "forest", "last_week"
        ),
        {
            "en": "The happy doctor wrapped the white car in the forest last week.",
            "de": "Letzte Woche hat der glückliche Arzt im Wald das weiße Auto eingepackt.",
            "fr": "La semaine dernière, le médecin heureux a emballé la voiture blanche "
            "dans la forêt.",
            "ru": "На прошлой неделе счастливый врач упаковал белую машину в лесу.",
            "tr": "Mutlu doktor geçen hafta ormanda beyaz arabayı paketledi.",
            "hi": "पिछले हफ़्ते खुश डॉक्टर ने जंगल में वह सफ़ेद गाड़ी लपेटी।",
            "ja": "先週幸せな医者は森でその白い車を包みました。",
            "ar": "غلف الطبيب السعيد السيارة البيضاء في الغابة الأسبوع الماضي.",
            "zh": "快乐的医生上周在森林里包装了那辆白色的汽车。",
        },
    ),
    (
        Meaning(
            "girl", False, "clever", "look_for", "future", "umbrella", 7, "big", None, None, None
        ),
        {
            "en": "The clever girl will look for seven big umbrellas.",
            "de": "Das kluge Mädchen wird sieben große Regenschirme suchen.",
            "fr": "La fille intelligente cherchera sept grands parapluies.",
            "ru": "Умная девочка будет искать семь больших зонтов.",
            "tr": "Akıllı kız yedi büyük şemsiye arayacak.",
            "hi": "होशियार लड़की सात बड़े छाते खोजेगी।",
            "ja": "賢い女の子は七本の大きい傘を探します。",
            "ar": "ستبحث الفتاة الذكية عن سبع مظلات كبيرة.",
            "zh": "聪明的女孩会找七把大雨伞。",
        },
    ),
]


@pytest.mark.parametrize(
    "meaning, sentences", _GOLDEN, ids=lambda value: getattr(value, "verb", "")
)
def test_golden_sentences(meaning, sentences):
    found = {language: render(meaning) for language, render in toy_grammar.RENDERERS.items()}
    assert found == sentences


def test_french_elides_and_uses_forms_before_vowels():
    meaning = Meaning("guest", False, None, "hide", "past", "egg", 1, "old", None, None, None)
    assert toy_grammar.RENDERERS["fr"](meaning) == "L'invité a caché le vieil œuf."


def test_turkish_softens_drops_and_harmonises():
    sentences = [
        toy_grammar.RENDERERS["tr"](
            Meaning("cook", False, None, "touch", "past", thing, 1, None, None, None, None)
        )
        for thing in ("book", "picture", "flower", "table", "plate")
    ]
    assert [sentence.split()[1] for sentence in sentences] == [
        "kitaba",
        "resme",
        "çiçeğe",
        "masaya",
        "tabağa",
    ]


def test_hindi_past_agrees_with_the_object():
    verbs = [
        toy_grammar.RENDERERS["hi"](
            Meaning("woman", True, None, "buy", "past", thing, number, None, None, None, None)
        ).split()[-1]
        for thing, number in (("umbrella", 1), ("umbrella", 4), ("hat", 1), ("hat", PLURAL))
    ]
    assert verbs == ["खरीदा।", "खरीदे।", "खरीदी।", "खरीदीं।"]


def test_records_depend_on_their_place_only():
    first = [toy_grammar.parallel_record("train", 5, index) for index in range(20)]
    again = [toy_grammar.parallel_record("train", 5, index) for index in reversed(range(20))]
    assert first == again[::-1]
    assert toy_grammar.parallel_record("train", 5, 0)["texts"]["en"] == (
        "The kind teacher touched the big cake."
    )
    assert len({record["id"] for record in first}) == 20
    other = toy_grammar.parallel_record("train", 6, 0)
    assert other["texts"] != first[0]["texts"]


def test_any_index_has_a_record_and_languages_can_be_chosen():
    record = toy_grammar.parallel_record("test", 0, 10**30, languages=("ja", "en"))
    assert set(record["texts"]) == {"ja", "en"}
    assert record != toy_grammar.parallel_record("test", 0, 10**30 + 2**64, languages=("ja", "en"))


def test_splits_share_no_meaning_and_no_sentence():
    seen = {
        split: {toy_grammar.draw_split_meaning(split, 0, index) for index in range(count)}
        for split, count in (("train", 3000), ("validation", 300), ("test", 300))
    }
    assert all(len(meanings) > 290 for meanings in seen.values())
    for split, meanings in seen.items():
        for other in set(seen) - {split}:
            assert not meanings & seen[other]
        for meaning in meanings:
            assert toy_meaning.split_of(toy_meaning.meaning_hash(meaning)) == split


def test_splits_have_the_declared_sizes():
    hashes = [toy_meaning.meaning_hash(toy_meaning.draw_meaning(1, i)) for i in range(3000)]
    splits = [toy_meaning.split_of(hash_) for hash_ in hashes]
    assert splits.count("train") / 3000 == pytest.approx(0.90, abs=0.025)
    assert splits.count("test") / 3000 == pytest.approx(0.05, abs=0.02)
    slices = [toy_meaning.slice_of(hash_, 8) for hash_ in hashes]
    assert min(slices.count(index) for index in range(8)) > 300


@pytest.mark.parametrize("language", toy_grammar.LANGUAGES)
def test_distinct_meanings_have_distinct_sentences(language):
    """Nothing a translation needs is lost in any language."""
    render = toy_grammar.RENDERERS[language]
    # A full factor of one field at a time around random meanings, and random pairs.
    meanings = {toy_meaning.draw_meaning(2, index) for index in range(1500)}
    meanings |= {variant for index in range(12) for variant in _variants(index)}
    sentences = {render(meaning) for meaning in meanings}
    assert len(meanings) > 2500
    assert len(sentences) == len(meanings)


def _variants(index: int) -> list[Meaning]:
    """Every meaning that differs from a drawn one in the verb and object, number, or tense."""
    base = toy_meaning.draw_meaning(3, index)
    variants = [
        Meaning(
            subject,
            plural,
            base.subject_adjective,
            base.verb,
            tense,
            base.object,
            number,
            base.object_adjective,
            base.preposition,
            base.place,
            None,
        )
        for subject in toy_meaning.SUBJECTS[index : index + 3]
        for plural in (False, True)
        for tense in toy_meaning.TENSES
        for number in toy_meaning.OBJECT_NUMBERS
    ]
    return variants


@pytest.mark.parametrize("language", toy_grammar.LANGUAGES)
def test_scripts_and_normal_form(language):
    for index in range(100):
        sentence = toy_grammar.parallel_record("train", 0, index, languages=(language,))
        text = sentence["texts"][language]
        names = {unicodedata.name(letter).split()[0] for letter in text if letter.isalpha()}
        assert names - {"KATAKANA-HIRAGANA"} <= _SCRIPTS[language], text
        assert unicodedata.normalize("NFKC", text) == text
        assert text == " ".join(text.split())
        assert text[-1] in ".।。"


def test_english_length_scripts_and_orders_are_varied():
    lengths = [
        len(toy_grammar.parallel_record("train", 0, index)["texts"]["en"].split())
        for index in range(300)
    ]
    assert 8 <= sum(lengths) / 300 <= 12
    assert min(lengths) >= 5 and max(lengths) <= 17
    assert len({frozenset(scripts) for scripts in _SCRIPTS.values()}) >= 4
    assert set(toy_grammar.WORD_ORDERS.values()) == {"SVO", "SOV", "VSO"}


@pytest.mark.parametrize("language", toy_grammar.LANGUAGES)
def test_word_order_is_the_declared_one(language):
    meaning = Meaning("teacher", False, None, "read", "present", "book", 3, None, None, None, None)
    words = {
        "en": ("teacher", "reading", "books"),
        "de": ("Lehrer", "liest", "Bücher"),
        "fr": ("professeur", "lit", "livres"),
        "ru": ("чител", "читает", "книги"),
        "tr": ("ğretmen", "okuyor", "kitap"),
        "hi": ("शिक्षक", "पढ़", "किताबें"),
        "ja": ("先生", "読んで", "本を"),
        "ar": ("المعلم", "يقرأ", "كتب"),
        "zh": ("老师", "读", "书"),
    }[language]
    sentence = toy_grammar.RENDERERS[language](meaning)
    places = dict(zip("SVO", (sentence.index(word) for word in words), strict=True))
    assert "".join(sorted(places, key=places.__getitem__)) == toy_grammar.WORD_ORDERS[language]


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"split must be one of .* found 'dev'"):
        toy_grammar.parallel_record("dev", 0, 0)
    with pytest.raises(ValueError, match=r"index must be >= 0, found -1"):
        toy_grammar.parallel_record("train", 0, -1)
    with pytest.raises(ValueError, match=r"counter must be >= 0, found -2"):
        toy_grammar.parallel_record("train", -2, 0)


def test_word_tables_must_be_complete():
    assert columns.read_columns("a x_y -\nb z w", ("a", "b")) == {"a": ("x y", ""), "b": ("z", "w")}
    with pytest.raises(ValueError, match=r"differ in \['b'\]"):
        columns.read_columns("a x", ("a", "b"))
    with pytest.raises(ValueError, match=r"two rows for 'a'"):
        columns.read_columns("a x\na y", ("a",))
    with pytest.raises(ValueError, match=r"rows of \[1, 2\] forms"):
        columns.read_columns("a x\nb y z", ("a", "b"))
