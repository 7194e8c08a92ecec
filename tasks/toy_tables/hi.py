"""Hindi: verb last, postpositions, and a past tense that agrees with the object.

The subject of a past verb takes the ergative `ने` and the oblique case; the verb then agrees with
the object in gender and number, otherwise with the subject. A demonstrative (`वह`, `वे`) tells one
definite object from several, because many nouns have one form for both.
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

# concept, gender, direct singular, direct plural, oblique singular, oblique plural
SUBJECT_FORMS = read_columns(
    """
    teacher      m  शिक्षक    शिक्षक     शिक्षक    शिक्षकों
    doctor       m  डॉक्टर    डॉक्टर     डॉक्टर    डॉक्टरों
    farmer       m  किसान    किसान     किसान    किसानों
    student      m  छात्र     छात्र      छात्र     छात्रों
    neighbour    m  पड़ोसी    पड़ोसी     पड़ोसी    पड़ोसियों
    cook         m  रसोइया   रसोइये    रसोइये   रसोइयों
    driver       m  ड्राइवर   ड्राइवर    ड्राइवर   ड्राइवरों
    child        m  बच्चा     बच्चे      बच्चे     बच्चों
    woman        f  औरत      औरतें      औरत      औरतों
    girl         f  लड़की     लड़कियाँ    लड़की     लड़कियों
    grandmother  f  दादी      दादियाँ     दादी      दादियों
    tourist      m  पर्यटक    पर्यटक     पर्यटक    पर्यटकों
    soldier      m  सैनिक     सैनिक      सैनिक     सैनिकों
    painter      m  चित्रकार   चित्रकार    चित्रकार   चित्रकारों
    queen        f  रानी      रानियाँ     रानी      रानियों
    guest        m  मेहमान    मेहमान     मेहमान    मेहमानों
    """,
    SUBJECTS,
)
# concept, gender, direct singular, direct plural
OBJECT_FORMS = read_columns(
    """
    book       f  किताब     किताबें
    letter     f  चिट्ठी     चिट्ठियाँ
    newspaper  m  अख़बार    अख़बार
    apple      m  सेब       सेब
    cake       m  केक       केक
    egg        m  अंडा      अंडे
    shirt      f  कमीज़     कमीज़ें
    hat        f  टोपी      टोपियाँ
    cup        m  प्याला     प्याले
    plate      f  थाली      थालियाँ
    table      f  मेज़       मेज़ें
    lamp       m  लैंप       लैंप
    key        f  चाबी      चाबियाँ
    picture    f  तस्वीर     तस्वीरें
    car        f  गाड़ी      गाड़ियाँ
    bicycle    f  साइकिल   साइकिलें
    flower     m  फूल       फूल
    box        m  डिब्बा     डिब्बे
    map        m  नक्शा     नक्शे
    umbrella   m  छाता      छाते
    """,
    OBJECT_CONCEPTS,
)
# concept, masculine direct singular, other masculine, feminine
ADJECTIVES = read_columns(
    """
    young      युवा      युवा      युवा
    happy      खुश       खुश       खुश
    tired      थका_हुआ   थके_हुए   थकी_हुई
    kind       दयालु     दयालु     दयालु
    clever     होशियार   होशियार   होशियार
    quiet      शांत      शांत      शांत
    famous     मशहूर     मशहूर     मशहूर
    rich       अमीर     अमीर     अमीर
    red        लाल      लाल      लाल
    white      सफ़ेद     सफ़ेद     सफ़ेद
    black      काला     काले     काली
    big        बड़ा      बड़े      बड़ी
    small      छोटा     छोटे     छोटी
    new        नया      नए       नई
    old        पुराना    पुराने    पुरानी
    beautiful  सुंदर     सुंदर     सुंदर
    cheap      सस्ता     सस्ते     सस्ती
    """,
    SUBJECT_ADJECTIVES + OBJECT_ADJECTIVES,
)
# concept, past masculine singular, masculine plural, feminine singular, feminine plural, root,
# future masculine singular, masculine plural, feminine singular, feminine plural
VERB_FORMS = read_columns(
    """
    buy         खरीदा खरीदे खरीदी खरीदीं  खरीद  खरीदेगा खरीदेंगे खरीदेगी खरीदेंगी
    sell        बेचा बेचे बेची बेचीं  बेच  बेचेगा बेचेंगे बेचेगी बेचेंगी
    measure     नापा नापे नापी नापीं  नाप  नापेगा नापेंगे नापेगी नापेंगी
    look_at     देखा देखे देखी देखीं  देख  देखेगा देखेंगे देखेगी देखेंगी
    touch       छुआ छुए छुई छुईं  छू  छुएगा छुएँगे छुएगी छुएँगी
    choose      चुना चुने चुनी चुनीं  चुन  चुनेगा चुनेंगे चुनेगी चुनेंगी
    hide        छिपाया छिपाए छिपाई छिपाईं  छिपा  छिपाएगा छिपाएँगे छिपाएगी छिपाएँगी
    wrap        लपेटा लपेटे लपेटी लपेटीं  लपेट  लपेटेगा लपेटेंगे लपेटेगी लपेटेंगी
    steal       चुराया चुराए चुराई चुराईं  चुरा  चुराएगा चुराएँगे चुराएगी चुराएँगी
    look_for    खोजा खोजे खोजी खोजीं  खोज  खोजेगा खोजेंगे खोजेगी खोजेंगी
    send        भेजा भेजे भेजी भेजीं  भेज  भेजेगा भेजेंगे भेजेगी भेजेंगी
    order       मँगवाया मँगवाए मँगवाई मँगवाईं  मँगवा  मँगवाएगा मँगवाएँगे मँगवाएगी मँगवाएँगी
    throw_away  फेंका फेंके फेंकी फेंकीं  फेंक  फेंकेगा फेंकेंगे फेंकेगी फेंकेंगी
    inspect     जाँचा जाँचे जाँची जाँचीं  जाँच  जाँचेगा जाँचेंगे जाँचेगी जाँचेंगी
    wash        धोया धोए धोई धोईं  धो  धोएगा धोएँगे धोएगी धोएँगी
    repair      ठीक_किया ठीक_किए ठीक_की ठीक_कीं  ठीक_कर  ठीक_करेगा ठीक_करेंगे ठीक_करेगी ठीक_करेंगी
    read        पढ़ा पढ़े पढ़ी पढ़ीं  पढ़  पढ़ेगा पढ़ेंगे पढ़ेगी पढ़ेंगी
    eat         खाया खाए खाई खाईं  खा  खाएगा खाएँगे खाएगी खाएँगी
    """,
    VERBS,
)
# concept, oblique
PLACE_FORMS = read_columns(
    """
    school    स्कूल
    garden    बगीचे
    market    बाज़ार
    museum    संग्रहालय
    park      पार्क
    hospital  अस्पताल
    station   स्टेशन
    forest    जंगल
    village   गाँव
    hotel     होटल
    shop      दुकान
    library   पुस्तकालय
    """,
    PLACES,
)
POSTPOSITIONS = {
    "in": "में",
    "next_to": "के बगल में",
    "behind": "के पीछे",
    "in_front_of": "के सामने",
}
TIMES = {
    "yesterday": "कल",
    "last_week": "पिछले हफ़्ते",
    "now": "अभी",
    "today": "आज",
    "tomorrow": "कल",
    "next_week": "अगले हफ़्ते",
}
NUMERALS = read_numerals("दो तीन चार पाँच छह सात आठ नौ दस")
_PROGRESSIVE = ("रहा है", "रहे हैं", "रही है", "रही हैं")


def render(meaning: Meaning) -> str:
    """Returns the Hindi sentence of a meaning."""
    words = join_words(
        TIMES[meaning.time] if meaning.time else "",
        _subject(meaning),
        _place(meaning),
        _object(meaning),
        _verb(meaning),
    )
    return words + "।"


def _subject(meaning: Meaning) -> str:
    gender, *forms = SUBJECT_FORMS[meaning.subject]
    plural, past = meaning.subject_plural, meaning.tense == "past"
    adjective = _adjective(meaning.subject_adjective, gender, plural or past)
    return join_words(adjective, forms[2 * past + plural], "ने" if past else "")


def _object(meaning: Meaning) -> str:
    gender, singular, plural = OBJECT_FORMS[meaning.object]
    number = meaning.object_number
    determiner = {1: "वह", PLURAL: "वे"}.get(number) or NUMERALS[number]
    adjective = _adjective(meaning.object_adjective, gender, number != 1)
    return join_words(determiner, adjective, singular if number == 1 else plural)


def _adjective(concept: str | None, gender: str, marked: bool) -> str:
    """Returns the agreeing form; `marked` means plural or oblique."""
    if concept is None:
        return ""
    return ADJECTIVES[concept][2 if gender == "f" else marked]


def _verb(meaning: Meaning) -> str:
    forms = VERB_FORMS[meaning.verb]
    if meaning.tense == "past":
        feminine = OBJECT_FORMS[meaning.object][0] == "f"
        return forms[2 * feminine + (meaning.object_number != 1)]
    agreement = 2 * (SUBJECT_FORMS[meaning.subject][0] == "f") + meaning.subject_plural
    if meaning.tense == "present":
        return f"{forms[4]} {_PROGRESSIVE[agreement]}"
    return forms[5 + agreement]


def _place(meaning: Meaning) -> str:
    if meaning.place is None or meaning.preposition is None:
        return ""
    return f"{PLACE_FORMS[meaning.place][0]} {POSTPOSITIONS[meaning.preposition]}"
