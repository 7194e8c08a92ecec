"""English: subject, verb, object; place; time. Auxiliaries agree in number."""

from tasks.toy_meaning import OBJECTS as OBJECT_CONCEPTS
from tasks.toy_meaning import PLURAL, SUBJECTS, VERBS, Meaning
from tasks.toy_tables.columns import capitalise, join_words, read_columns, read_numerals

# concept, singular, plural
NOUNS = read_columns(
    """
    teacher      teacher      teachers
    doctor       doctor       doctors
    farmer       farmer       farmers
    student      student      students
    neighbour    neighbour    neighbours
    cook         cook         cooks
    driver       driver       drivers
    child        child        children
    woman        woman        women
    girl         girl         girls
    grandmother  grandmother  grandmothers
    tourist      tourist      tourists
    soldier      soldier      soldiers
    painter      painter      painters
    queen        queen        queens
    guest        guest        guests
    book         book         books
    letter       letter       letters
    newspaper    newspaper    newspapers
    apple        apple        apples
    cake         cake         cakes
    egg          egg          eggs
    shirt        shirt        shirts
    hat          hat          hats
    cup          cup          cups
    plate        plate        plates
    table        table        tables
    lamp         lamp         lamps
    key          key          keys
    picture      picture      pictures
    car          car          cars
    bicycle      bicycle      bicycles
    flower       flower       flowers
    box          box          boxes
    map          map          maps
    umbrella     umbrella     umbrellas
    """,
    SUBJECTS + OBJECT_CONCEPTS,
)
# concept, past, present participle, infinitive
VERB_FORMS = read_columns(
    """
    buy         bought      buying      buy
    sell        sold        selling     sell
    measure     measured    measuring   measure
    look_at     looked_at   looking_at  look_at
    touch       touched     touching    touch
    choose      chose       choosing    choose
    hide        hid         hiding      hide
    wrap        wrapped     wrapping    wrap
    steal       stole       stealing    steal
    look_for    looked_for  looking_for look_for
    send        sent        sending     send
    order       ordered     ordering    order
    throw_away  threw_away  throwing_away throw_away
    inspect     inspected   inspecting  inspect
    wash        washed      washing     wash
    repair      repaired    repairing   repair
    read        read        reading     read
    eat         ate         eating      eat
    """,
    VERBS,
)
NUMERALS = read_numerals("two three four five six seven eight nine ten")


def render(meaning: Meaning) -> str:
    """Returns the English sentence of a meaning."""
    return (
        capitalise(
            join_words(
                "the",
                meaning.subject_adjective or "",
                NOUNS[meaning.subject][meaning.subject_plural],
                _verb(meaning),
                _object(meaning),
                _place(meaning),
                (meaning.time or "").replace("_", " "),
            )
        )
        + "."
    )


def _verb(meaning: Meaning) -> str:
    past, participle, infinitive = VERB_FORMS[meaning.verb]
    if meaning.tense == "past":
        return past
    if meaning.tense == "future":
        return f"will {infinitive}"
    return f"{'are' if meaning.subject_plural else 'is'} {participle}"


def _object(meaning: Meaning) -> str:
    number = meaning.object_number
    determiner = "the" if number in (1, PLURAL) else NUMERALS[number]
    noun = NOUNS[meaning.object][number != 1]
    return join_words(determiner, meaning.object_adjective or "", noun)


def _place(meaning: Meaning) -> str:
    if meaning.place is None or meaning.preposition is None:
        return ""
    return f"{meaning.preposition.replace('_', ' ')} the {meaning.place}"
