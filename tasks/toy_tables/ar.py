"""Arabic, unvocalised: verb first, gender agreement, a dual, broken plurals, polar numerals.

A verb before its subject is singular and agrees in gender; plurals of things take feminine
singular adjectives; three to ten take the gender opposite to the noun's.
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

# concept, gender, singular, plural
SUBJECT_FORMS = read_columns(
    """
    teacher      m  معلم     معلمون
    doctor       m  طبيب     أطباء
    farmer       m  مزارع    مزارعون
    student      m  طالب     طلاب
    neighbour    m  جار      جيران
    cook         m  طباخ     طباخون
    driver       m  سائق     سائقون
    child        m  طفل      أطفال
    woman        f  مرأة     نساء
    girl         f  فتاة     فتيات
    grandmother  f  جدة      جدات
    tourist      m  سائح     سياح
    soldier      m  جندي     جنود
    painter      m  رسام     رسامون
    queen        f  ملكة     ملكات
    guest        m  ضيف      ضيوف
    """,
    SUBJECTS,
)
# concept, masculine, feminine, masculine plural, feminine plural
SUBJECT_ADJECTIVE_FORMS = read_columns(
    """
    young   شاب     شابة     شباب      شابات
    happy   سعيد    سعيدة    سعداء     سعيدات
    tired   متعب    متعبة    متعبون    متعبات
    kind    لطيف    لطيفة    لطفاء     لطيفات
    clever  ذكي     ذكية     أذكياء    ذكيات
    quiet   هادئ    هادئة    هادئون    هادئات
    famous  مشهور   مشهورة   مشهورون   مشهورات
    rich    غني     غنية     أغنياء    غنيات
    """,
    SUBJECT_ADJECTIVES,
)
# concept, gender, singular, dual (accusative and genitive), plural
OBJECT_FORMS = read_columns(
    """
    book       m  كتاب     كتابين     كتب
    letter     f  رسالة    رسالتين    رسائل
    newspaper  f  صحيفة    صحيفتين    صحف
    apple      f  تفاحة    تفاحتين    تفاحات
    cake       f  كعكة     كعكتين     كعكات
    egg        f  بيضة     بيضتين     بيضات
    shirt      m  قميص     قميصين     قمصان
    hat        f  قبعة     قبعتين     قبعات
    cup        m  كوب      كوبين      أكواب
    plate      m  طبق      طبقين      أطباق
    table      f  طاولة    طاولتين    طاولات
    lamp       m  مصباح    مصباحين    مصابيح
    key        m  مفتاح    مفتاحين    مفاتيح
    picture    f  صورة     صورتين     صور
    car        f  سيارة    سيارتين    سيارات
    bicycle    f  دراجة    دراجتين    دراجات
    flower     f  زهرة     زهرتين     زهور
    box        m  صندوق    صندوقين    صناديق
    map        f  خريطة    خريطتين    خرائط
    umbrella   f  مظلة     مظلتين     مظلات
    """,
    OBJECT_CONCEPTS,
)
# concept, masculine, feminine, masculine dual, feminine dual (accusative and genitive)
OBJECT_ADJECTIVE_FORMS = read_columns(
    """
    red        أحمر    حمراء    أحمرين    حمراوين
    white      أبيض    بيضاء    أبيضين    بيضاوين
    black      أسود    سوداء    أسودين    سوداوين
    big        كبير    كبيرة    كبيرين    كبيرتين
    small      صغير    صغيرة    صغيرين    صغيرتين
    new        جديد    جديدة    جديدين    جديدتين
    old        قديم    قديمة    قديمين    قديمتين
    beautiful  جميل    جميلة    جميلين    جميلتين
    cheap      رخيص    رخيصة    رخيصين    رخيصتين
    """,
    OBJECT_ADJECTIVES,
)
# concept, past masculine, past feminine, present masculine, present feminine, preposition
VERB_FORMS = read_columns(
    """
    buy         اشترى   اشترت    يشتري   تشتري   -
    sell        باع     باعت     يبيع    تبيع    -
    measure     قاس     قاست     يقيس    تقيس    -
    look_at     نظر     نظرت     ينظر    تنظر    إلى
    touch       لمس     لمست     يلمس    تلمس    -
    choose      اختار   اختارت   يختار   تختار   -
    hide        أخفى    أخفت     يخفي    تخفي    -
    wrap        غلف     غلفت     يغلف    تغلف    -
    steal       سرق     سرقت     يسرق    تسرق    -
    look_for    بحث     بحثت     يبحث    تبحث    عن
    send        أرسل    أرسلت    يرسل    ترسل    -
    order       طلب     طلبت     يطلب    تطلب    -
    throw_away  رمى     رمت      يرمي    ترمي    -
    inspect     فحص     فحصت     يفحص    تفحص    -
    wash        غسل     غسلت     يغسل    تغسل    -
    repair      أصلح    أصلحت    يصلح    تصلح    -
    read        قرأ     قرأت     يقرأ    تقرأ    -
    eat         أكل     أكلت     يأكل    تأكل    -
    """,
    VERBS,
)
PLACE_FORMS = read_columns(
    """
    school    المدرسة
    garden    الحديقة
    market    السوق
    museum    المتحف
    park      المتنزه
    hospital  المستشفى
    station   المحطة
    forest    الغابة
    village   القرية
    hotel     الفندق
    shop      المتجر
    library   المكتبة
    """,
    PLACES,
)
PREPOSITIONS = {"in": "في", "next_to": "بجانب", "behind": "خلف", "in_front_of": "أمام"}
TIMES = {
    "yesterday": "أمس",
    "last_week": "الأسبوع الماضي",
    "now": "الآن",
    "today": "اليوم",
    "tomorrow": "غدا",
    "next_week": "الأسبوع القادم",
}
# The forms before masculine and before feminine nouns.
NUMERALS = {
    "m": read_numerals("ثلاثة أربعة خمسة ستة سبعة ثمانية تسعة عشرة", start=3),
    "f": read_numerals("ثلاث أربع خمس ست سبع ثماني تسع عشر", start=3),
}


def render(meaning: Meaning) -> str:
    """Returns the Arabic sentence of a meaning, in logical order."""
    words = join_words(
        _verb(meaning),
        _subject(meaning),
        VERB_FORMS[meaning.verb][4],
        _object(meaning),
        _place(meaning),
        TIMES[meaning.time] if meaning.time else "",
    )
    return words + "."


def _verb(meaning: Meaning) -> str:
    forms = VERB_FORMS[meaning.verb]
    feminine = SUBJECT_FORMS[meaning.subject][0] == "f"
    if meaning.tense == "past":
        return forms[feminine]
    return ("س" if meaning.tense == "future" else "") + forms[2 + feminine]


def _subject(meaning: Meaning) -> str:
    gender, *forms = SUBJECT_FORMS[meaning.subject]
    noun = _definite(forms[meaning.subject_plural])
    if meaning.subject_adjective is None:
        return noun
    adjectives = SUBJECT_ADJECTIVE_FORMS[meaning.subject_adjective]
    return f"{noun} {_definite(adjectives[2 * meaning.subject_plural + (gender == 'f')])}"


def _object(meaning: Meaning) -> str:
    gender, singular, dual, plural = OBJECT_FORMS[meaning.object]
    adjectives: tuple[str, ...] = ("",) * 4
    if meaning.object_adjective is not None:
        adjectives = OBJECT_ADJECTIVE_FORMS[meaning.object_adjective]
    number = meaning.object_number
    if number == 1:
        return join_words(_definite(singular), _definite(adjectives[gender == "f"]))
    if number == PLURAL:
        return join_words(_definite(plural), _definite(adjectives[1]))
    if number == 2:
        return join_words(dual, adjectives[2 + (gender == "f")])
    return join_words(NUMERALS[gender][number], plural, adjectives[1])


def _definite(word: str) -> str:
    return f"ال{word}" if word else ""


def _place(meaning: Meaning) -> str:
    if meaning.place is None or meaning.preposition is None:
        return ""
    return f"{PREPOSITIONS[meaning.preposition]} {PLACE_FORMS[meaning.place][0]}"
