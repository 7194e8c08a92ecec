"""Chinese: no inflection; classifiers, aspect words, and the place before the verb.

`了` tells the past, `正在` the present (it absorbs the `在` of a place), `会` the future; `们`
marks several persons; `那` with a classifier and `那些` tell one definite thing from several.
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
    teacher      老师
    doctor       医生
    farmer       农民
    student      学生
    neighbour    邻居
    cook         厨师
    driver       司机
    child        孩子
    woman        女人
    girl         女孩
    grandmother  奶奶
    tourist      游客
    soldier      士兵
    painter      画家
    queen        女王
    guest        客人
    """,
    SUBJECTS,
)
# concept, noun, classifier
OBJECT_FORMS = read_columns(
    """
    book       书     本
    letter     信     封
    newspaper  报纸   份
    apple      苹果   个
    cake       蛋糕   个
    egg        鸡蛋   个
    shirt      衬衫   件
    hat        帽子   顶
    cup        杯子   个
    plate      盘子   个
    table      桌子   张
    lamp       灯     盏
    key        钥匙   把
    picture    画     幅
    car        汽车   辆
    bicycle    自行车 辆
    flower     花     朵
    box        箱子   个
    map        地图   张
    umbrella   雨伞   把
    """,
    OBJECT_CONCEPTS,
)
ADJECTIVES = read_columns(
    """
    young      年轻的
    happy      快乐的
    tired      疲惫的
    kind       善良的
    clever     聪明的
    quiet      安静的
    famous     有名的
    rich       富有的
    red        红色的
    white      白色的
    black      黑色的
    big        大
    small      小
    new        新
    old        旧
    beautiful  漂亮的
    cheap      便宜的
    """,
    SUBJECT_ADJECTIVES + OBJECT_ADJECTIVES,
)
VERB_FORMS = read_columns(
    """
    buy         买
    sell        卖
    measure     测量
    look_at     看
    touch       摸
    choose      挑选
    hide        藏
    wrap        包装
    steal       偷
    look_for    找
    send        寄
    order       订购
    throw_away  扔
    inspect     检查
    wash        洗
    repair      修理
    read        读
    eat         吃
    """,
    VERBS,
)
PLACE_FORMS = read_columns(
    """
    school    学校
    garden    花园
    market    市场
    museum    博物馆
    park      公园
    hospital  医院
    station   车站
    forest    森林
    village   村子
    hotel     酒店
    shop      商店
    library   图书馆
    """,
    PLACES,
)
POSTPOSITIONS = {"in": "里", "next_to": "旁边", "behind": "后面", "in_front_of": "前面"}
TIMES = {
    "yesterday": "昨天",
    "last_week": "上周",
    "now": "现在",
    "today": "今天",
    "tomorrow": "明天",
    "next_week": "下周",
}
NUMERALS = read_numerals("两 三 四 五 六 七 八 九 十")


def render(meaning: Meaning) -> str:
    """Returns the Chinese sentence of a meaning, without spaces."""
    place = ""
    if meaning.place is not None and meaning.preposition is not None:
        place = PLACE_FORMS[meaning.place][0] + POSTPOSITIONS[meaning.preposition]
    before_place = "在" if place else ""
    if meaning.tense == "present":
        before_place = "正在"
    if meaning.tense == "future":
        before_place = "会" + before_place
    return (
        _adjective(meaning.subject_adjective)
        + SUBJECT_FORMS[meaning.subject][0]
        + ("们" if meaning.subject_plural else "")
        + (TIMES[meaning.time] if meaning.time else "")
        + before_place
        + place
        + VERB_FORMS[meaning.verb][0]
        + ("了" if meaning.tense == "past" else "")
        + _object(meaning)
        + "。"
    )


def _object(meaning: Meaning) -> str:
    noun, classifier = OBJECT_FORMS[meaning.object]
    number = meaning.object_number
    determiner = "那些" if number == PLURAL else f"{NUMERALS.get(number, '那')}{classifier}"
    return determiner + _adjective(meaning.object_adjective) + noun


def _adjective(concept: str | None) -> str:
    return ADJECTIVES[concept][0] if concept else ""
