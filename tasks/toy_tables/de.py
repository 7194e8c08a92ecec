"""German: verb second, participles, infinitives and separable particles at the end.

Three genders; adjectives take the weak endings after an article and the strong ones after a
numeral; the object is accusative and the place dative. A time stands first and inverts.
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
from tasks.toy_tables.columns import capitalise, join_words, read_columns, read_numerals

# concept, gender, nominative (= accusative) singular, plural
NOUNS = read_columns(
    """
    teacher      m  Lehrer        Lehrer
    doctor       m  Arzt          Ärzte
    farmer       m  Bauer         Bauern
    student      m  Student       Studenten
    neighbour    m  Nachbar       Nachbarn
    cook         m  Koch          Köche
    driver       m  Fahrer        Fahrer
    child        n  Kind          Kinder
    woman        f  Frau          Frauen
    girl         n  Mädchen       Mädchen
    grandmother  f  Großmutter    Großmütter
    tourist      m  Tourist       Touristen
    soldier      m  Soldat        Soldaten
    painter      m  Maler         Maler
    queen        f  Königin       Königinnen
    guest        m  Gast          Gäste
    book         n  Buch          Bücher
    letter       m  Brief         Briefe
    newspaper    f  Zeitung       Zeitungen
    apple        m  Apfel         Äpfel
    cake         m  Kuchen        Kuchen
    egg          n  Ei            Eier
    shirt        n  Hemd          Hemden
    hat          m  Hut           Hüte
    cup          f  Tasse         Tassen
    plate        m  Teller        Teller
    table        m  Tisch         Tische
    lamp         f  Lampe         Lampen
    key          m  Schlüssel     Schlüssel
    picture      n  Bild          Bilder
    car          n  Auto          Autos
    bicycle      n  Fahrrad       Fahrräder
    flower       f  Blume         Blumen
    box          f  Kiste         Kisten
    map          f  Karte         Karten
    umbrella     m  Regenschirm   Regenschirme
    """,
    SUBJECTS + OBJECT_CONCEPTS,
)
# concept, stem
ADJECTIVES = read_columns(
    """
    young jung
    happy glücklich
    tired müd
    kind nett
    clever klug
    quiet ruhig
    famous berühmt
    rich reich
    red rot
    white weiß
    black schwarz
    big groß
    small klein
    new neu
    old alt
    beautiful schön
    cheap billig
    """,
    SUBJECT_ADJECTIVES + OBJECT_ADJECTIVES,
)
# concept, present singular, present plural, participle, infinitive, separated particle
VERB_FORMS = read_columns(
    """
    buy         kauft       kaufen      gekauft       kaufen       -
    sell        verkauft    verkaufen   verkauft      verkaufen    -
    measure     misst       messen      gemessen      messen       -
    look_at     sieht       sehen       angesehen     ansehen      an
    touch       berührt     berühren    berührt       berühren     -
    choose      wählt       wählen      ausgewählt    auswählen    aus
    hide        versteckt   verstecken  versteckt     verstecken   -
    wrap        packt       packen      eingepackt    einpacken    ein
    steal       stiehlt     stehlen     gestohlen     stehlen      -
    look_for    sucht       suchen      gesucht       suchen       -
    send        schickt     schicken    geschickt     schicken     -
    order       bestellt    bestellen   bestellt      bestellen    -
    throw_away  wirft       werfen      weggeworfen   wegwerfen    weg
    inspect     prüft       prüfen      geprüft       prüfen       -
    wash        wäscht      waschen     gewaschen     waschen      -
    repair      repariert   reparieren  repariert     reparieren   -
    read        liest       lesen       gelesen       lesen        -
    eat         isst        essen       gegessen      essen        -
    """,
    VERBS,
)
# concept, "in ..." phrase, dative article, noun
PLACE_FORMS = read_columns(
    """
    school    in_der_Schule       der  Schule
    garden    im_Garten           dem  Garten
    market    auf_dem_Markt       dem  Markt
    museum    im_Museum           dem  Museum
    park      im_Park             dem  Park
    hospital  im_Krankenhaus      dem  Krankenhaus
    station   im_Bahnhof          dem  Bahnhof
    forest    im_Wald             dem  Wald
    village   im_Dorf             dem  Dorf
    hotel     im_Hotel            dem  Hotel
    shop      im_Laden            dem  Laden
    library   in_der_Bibliothek   der  Bibliothek
    """,
    PLACES,
)
PREPOSITIONS = {"next_to": "neben", "behind": "hinter", "in_front_of": "vor"}
TIMES = {
    "yesterday": "gestern",
    "last_week": "letzte Woche",
    "now": "jetzt",
    "today": "heute",
    "tomorrow": "morgen",
    "next_week": "nächste Woche",
}
NUMERALS = read_numerals("zwei drei vier fünf sechs sieben acht neun zehn")
_NOMINATIVE = {"m": "der", "f": "die", "n": "das"}
_ACCUSATIVE = {"m": "den", "f": "die", "n": "das"}


def render(meaning: Meaning) -> str:
    """Returns the German sentence of a meaning."""
    finite, final = _verb(meaning)
    front = [_subject(meaning), finite]
    if meaning.time is not None:
        front = [TIMES[meaning.time], finite, _subject(meaning)]
    return capitalise(join_words(*front, _place(meaning), _object(meaning), final)) + "."


def _verb(meaning: Meaning) -> tuple[str, str]:
    forms = VERB_FORMS[meaning.verb]
    if meaning.tense == "past":
        return ("haben" if meaning.subject_plural else "hat"), forms[2]
    if meaning.tense == "future":
        return ("werden" if meaning.subject_plural else "wird"), forms[3]
    return forms[meaning.subject_plural], forms[4]


def _subject(meaning: Meaning) -> str:
    gender, singular, plural = NOUNS[meaning.subject]
    if meaning.subject_plural:
        return join_words("die", _adjective(meaning.subject_adjective, "en"), plural)
    return join_words(_NOMINATIVE[gender], _adjective(meaning.subject_adjective, "e"), singular)


def _object(meaning: Meaning) -> str:
    gender, singular, plural = NOUNS[meaning.object]
    adjective, number = meaning.object_adjective, meaning.object_number
    if number == 1:
        ending = "en" if gender == "m" else "e"
        return join_words(_ACCUSATIVE[gender], _adjective(adjective, ending), singular)
    if number == PLURAL:
        return join_words("die", _adjective(adjective, "en"), plural)
    return join_words(NUMERALS[number], _adjective(adjective, "e"), plural)


def _adjective(concept: str | None, ending: str) -> str:
    return ADJECTIVES[concept][0] + ending if concept else ""


def _place(meaning: Meaning) -> str:
    if meaning.place is None or meaning.preposition is None:
        return ""
    inside, article, noun = PLACE_FORMS[meaning.place]
    if meaning.preposition == "in":
        return inside
    return f"{PREPOSITIONS[meaning.preposition]} {article} {noun}"
