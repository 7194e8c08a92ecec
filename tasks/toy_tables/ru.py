"""Russian: three genders, cases, aspect, and numerals that govern the genitive.

The object is accusative (inanimate: like the nominative but for feminines); after two to four the
noun is genitive singular, after five to ten genitive plural; places are prepositional or
instrumental. There are no articles.
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

# concept, gender, nominative singular, plural
SUBJECT_FORMS = read_columns(
    """
    teacher      m  учитель    учителя
    doctor       m  врач       врачи
    farmer       m  фермер     фермеры
    student      m  студент    студенты
    neighbour    m  сосед      соседи
    cook         m  повар      повара
    driver       m  водитель   водители
    child        m  ребёнок    дети
    woman        f  женщина    женщины
    girl         f  девочка    девочки
    grandmother  f  бабушка    бабушки
    tourist      m  турист     туристы
    soldier      m  солдат     солдаты
    painter      m  художник   художники
    queen        f  королева   королевы
    guest        m  гость      гости
    """,
    SUBJECTS,
)
# concept, masculine, feminine, plural (nominative)
SUBJECT_ADJECTIVE_FORMS = read_columns(
    """
    young   молодой     молодая     молодые
    happy   счастливый  счастливая  счастливые
    tired   усталый     усталая     усталые
    kind    добрый      добрая      добрые
    clever  умный       умная       умные
    quiet   тихий       тихая       тихие
    famous  знаменитый  знаменитая  знаменитые
    rich    богатый     богатая     богатые
    """,
    SUBJECT_ADJECTIVES,
)
# concept, gender, accusative singular, accusative plural, genitive singular, genitive plural
OBJECT_FORMS = read_columns(
    """
    book       f  книгу      книги       книги       книг
    letter     n  письмо     письма      письма      писем
    newspaper  f  газету     газеты      газеты      газет
    apple      n  яблоко     яблоки      яблока      яблок
    cake       m  торт       торты       торта       тортов
    egg        n  яйцо       яйца        яйца        яиц
    shirt      f  рубашку    рубашки     рубашки     рубашек
    hat        f  шляпу      шляпы       шляпы       шляп
    cup        f  чашку      чашки       чашки       чашек
    plate      f  тарелку    тарелки     тарелки     тарелок
    table      m  стол       столы       стола       столов
    lamp       f  лампу      лампы       лампы       ламп
    key        m  ключ       ключи       ключа       ключей
    picture    f  картину    картины     картины     картин
    car        f  машину     машины      машины      машин
    bicycle    m  велосипед  велосипеды  велосипеда  велосипедов
    flower     m  цветок     цветы       цветка      цветов
    box        f  коробку    коробки     коробки     коробок
    map        f  карту      карты       карты       карт
    umbrella   m  зонт       зонты       зонта       зонтов
    """,
    OBJECT_CONCEPTS,
)
# concept, accusative masculine, feminine, neuter, plural, genitive plural
OBJECT_ADJECTIVE_FORMS = read_columns(
    """
    red        красный    красную    красное    красные    красных
    white      белый      белую      белое      белые      белых
    black      чёрный     чёрную     чёрное     чёрные     чёрных
    big        большой    большую    большое    большие    больших
    small      маленький  маленькую  маленькое  маленькие  маленьких
    new        новый      новую      новое      новые      новых
    old        старый     старую     старое     старые     старых
    beautiful  красивый   красивую   красивое   красивые   красивых
    cheap      дешёвый    дешёвую    дешёвое    дешёвые    дешёвых
    """,
    OBJECT_ADJECTIVES,
)
# concept, past masculine, feminine, plural, present singular, plural, future singular, plural,
# preposition
VERB_FORMS = read_columns(
    """
    buy         купил     купила     купили     покупает    покупают    купит      купят       -
    sell        продал    продала    продали    продаёт     продают     продаст    продадут    -
    measure     измерил   измерила   измерили   измеряет    измеряют    измерит    измерят     -
    look_at     посмотрел посмотрела посмотрели смотрит     смотрят     посмотрит  посмотрят   на
    touch       потрогал  потрогала  потрогали  трогает     трогают     потрогает  потрогают   -
    choose      выбрал    выбрала    выбрали    выбирает    выбирают    выберет    выберут     -
    hide        спрятал   спрятала   спрятали   прячет      прячут      спрячет    спрячут     -
    wrap        упаковал  упаковала  упаковали  упаковывает упаковывают упакует    упакуют     -
    steal       украл     украла     украли     крадёт      крадут      украдёт    украдут     -
    look_for    искал     искала     искали     ищет        ищут        будет_искать будут_искать -
    send        отправил  отправила  отправили  отправляет  отправляют  отправит   отправят    -
    order       заказал   заказала   заказали   заказывает  заказывают  закажет    закажут     -
    throw_away  выбросил  выбросила  выбросили  выбрасывает выбрасывают выбросит   выбросят    -
    inspect     осмотрел  осмотрела  осмотрели  осматривает осматривают осмотрит   осмотрят    -
    wash        вымыл     вымыла     вымыли     моет        моют        вымоет     вымоют      -
    repair      починил   починила   починили   чинит       чинят       починит    починят     -
    read        прочитал  прочитала  прочитали  читает      читают      прочитает  прочитают   -
    eat         съел      съела      съели      ест         едят        съест      съедят      -
    """,
    VERBS,
)
# concept, "in ..." phrase, instrumental
PLACE_FORMS = read_columns(
    """
    school    в_школе       школой
    garden    в_саду        садом
    market    на_рынке      рынком
    museum    в_музее       музеем
    park      в_парке       парком
    hospital  в_больнице    больницей
    station   на_вокзале    вокзалом
    forest    в_лесу        лесом
    village   в_деревне     деревней
    hotel     в_гостинице   гостиницей
    shop      в_магазине    магазином
    library   в_библиотеке  библиотекой
    """,
    PLACES,
)
TIMES = {
    "yesterday": "вчера",
    "last_week": "на прошлой неделе",
    "now": "сейчас",
    "today": "сегодня",
    "tomorrow": "завтра",
    "next_week": "на следующей неделе",
}
NUMERALS = read_numerals("три четыре пять шесть семь восемь девять десять", start=3)


def render(meaning: Meaning) -> str:
    """Returns the Russian sentence of a meaning."""
    words = join_words(
        TIMES[meaning.time] if meaning.time else "",
        _subject(meaning),
        _verb(meaning),
        VERB_FORMS[meaning.verb][7],
        _object(meaning),
        _place(meaning),
    )
    return capitalise(words) + "."


def _subject(meaning: Meaning) -> str:
    gender, singular, plural = SUBJECT_FORMS[meaning.subject]
    adjective = ""
    if meaning.subject_adjective is not None:
        masculine, feminine, many = SUBJECT_ADJECTIVE_FORMS[meaning.subject_adjective]
        adjective = feminine if gender == "f" else masculine
        if meaning.subject_plural:
            adjective = many
    return join_words(adjective, plural if meaning.subject_plural else singular)


def _verb(meaning: Meaning) -> str:
    forms = VERB_FORMS[meaning.verb]
    if meaning.tense == "past":
        feminine = SUBJECT_FORMS[meaning.subject][0] == "f"
        return forms[2] if meaning.subject_plural else forms[feminine]
    return forms[(3 if meaning.tense == "present" else 5) + meaning.subject_plural]


def _object(meaning: Meaning) -> str:
    gender, accusative, many, genitive, genitive_many = OBJECT_FORMS[meaning.object]
    adjectives: tuple[str, ...] = ("",) * 5
    if meaning.object_adjective is not None:
        adjectives = OBJECT_ADJECTIVE_FORMS[meaning.object_adjective]
    number = meaning.object_number
    if number == 1:
        return join_words(adjectives["mfn".index(gender)], accusative)
    if number == PLURAL:
        return join_words(adjectives[3], many)
    if number >= 5:
        return join_words(NUMERALS[number], adjectives[4], genitive_many)
    numeral = ("две" if gender == "f" else "два") if number == 2 else NUMERALS[number]
    return join_words(numeral, adjectives[3 if gender == "f" else 4], genitive)


def _place(meaning: Meaning) -> str:
    if meaning.place is None or meaning.preposition is None:
        return ""
    inside, instrumental = PLACE_FORMS[meaning.place]
    if meaning.preposition == "in":
        return inside
    if meaning.preposition == "next_to":
        return f"рядом {'со' if meaning.place == 'school' else 'с'} {instrumental}"
    return f"{'за' if meaning.preposition == 'behind' else 'перед'} {instrumental}"
