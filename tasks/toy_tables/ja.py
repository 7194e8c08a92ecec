"""Japanese: verb last, particles, counters that follow the shape of the thing counted.

No articles and no obligatory plural: `たち` marks several persons, `その` and `それらの` tell one
definite thing from several, and tense and aspect stand on the verb.
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
from tasks.toy_tables.columns import read_columns, read_numerals

SUBJECT_FORMS = read_columns(
    """
    teacher      先生
    doctor       医者
    farmer       農夫
    student      学生
    neighbour    隣人
    cook         料理人
    driver       運転手
    child        子供
    woman        女の人
    girl         女の子
    grandmother  おばあさん
    tourist      観光客
    soldier      兵士
    painter      画家
    queen        女王
    guest        お客さん
    """,
    SUBJECTS,
)
# concept, noun, counter
OBJECT_FORMS = read_columns(
    """
    book       本       冊
    letter     手紙     通
    newspaper  新聞     部
    apple      りんご   個
    cake       ケーキ   個
    egg        卵       個
    shirt      シャツ   枚
    hat        帽子     個
    cup        カップ   個
    plate      皿       枚
    table      テーブル 台
    lamp       ランプ   個
    key        鍵       本
    picture    絵       枚
    car        車       台
    bicycle    自転車   台
    flower     花       本
    box        箱       個
    map        地図     枚
    umbrella   傘       本
    """,
    OBJECT_CONCEPTS,
)
ADJECTIVES = read_columns(
    """
    young      若い
    happy      幸せな
    tired      疲れた
    kind       親切な
    clever     賢い
    quiet      静かな
    famous     有名な
    rich       裕福な
    red        赤い
    white      白い
    black      黒い
    big        大きい
    small      小さい
    new        新しい
    old        古い
    beautiful  美しい
    cheap      安い
    """,
    SUBJECT_ADJECTIVES + OBJECT_ADJECTIVES,
)
# concept, particle, past, progressive, future (non-past)
VERB_FORMS = read_columns(
    """
    buy         を  買いました    買っています    買います
    sell        を  売りました    売っています    売ります
    measure     を  測りました    測っています    測ります
    look_at     を  見ました      見ています      見ます
    touch       に  触りました    触っています    触ります
    choose      を  選びました    選んでいます    選びます
    hide        を  隠しました    隠しています    隠します
    wrap        を  包みました    包んでいます    包みます
    steal       を  盗みました    盗んでいます    盗みます
    look_for    を  探しました    探しています    探します
    send        を  送りました    送っています    送ります
    order       を  注文しました  注文しています  注文します
    throw_away  を  捨てました    捨てています    捨てます
    inspect     を  調べました    調べています    調べます
    wash        を  洗いました    洗っています    洗います
    repair      を  修理しました  修理しています  修理します
    read        を  読みました    読んでいます    読みます
    eat         を  食べました    食べています    食べます
    """,
    VERBS,
)
PLACE_FORMS = read_columns(
    """
    school    学校
    garden    庭
    market    市場
    museum    博物館
    park      公園
    hospital  病院
    station   駅
    forest    森
    village   村
    hotel     ホテル
    shop      店
    library   図書館
    """,
    PLACES,
)
POSTPOSITIONS = {
    "in": "で",
    "next_to": "の隣で",
    "behind": "の後ろで",
    "in_front_of": "の前で",
}
TIMES = {
    "yesterday": "昨日",
    "last_week": "先週",
    "now": "今",
    "today": "今日",
    "tomorrow": "明日",
    "next_week": "来週",
}
NUMERALS = read_numerals("二 三 四 五 六 七 八 九 十")


def render(meaning: Meaning) -> str:
    """Returns the Japanese sentence of a meaning, without spaces."""
    place = ""
    if meaning.place is not None and meaning.preposition is not None:
        place = PLACE_FORMS[meaning.place][0] + POSTPOSITIONS[meaning.preposition]
    return (
        (TIMES[meaning.time] if meaning.time else "")
        + _adjective(meaning.subject_adjective)
        + SUBJECT_FORMS[meaning.subject][0]
        + ("たちは" if meaning.subject_plural else "は")
        + place
        + _object(meaning)
        + VERB_FORMS[meaning.verb][("past", "present", "future").index(meaning.tense) + 1]
        + "。"
    )


def _object(meaning: Meaning) -> str:
    noun, counter = OBJECT_FORMS[meaning.object]
    number = meaning.object_number
    if number in (1, PLURAL):
        determiner = "その" if number == 1 else "それらの"
    else:
        determiner = f"{NUMERALS[number]}{counter}の"
    particle = VERB_FORMS[meaning.verb][0]
    return determiner + _adjective(meaning.object_adjective) + noun + particle


def _adjective(concept: str | None) -> str:
    return ADJECTIVES[concept][0] if concept else ""
