"""What a toy program does, as an imperative sentence in nine natural languages.

Each language has nouns, and templates for what to keep, how to change each number and what to
return. `{noun}` is the plural of the thing listed, `{n}` a number in digits; templates that agree
in gender come as "masculine/feminine" and are chosen by the noun.
"""

import dataclasses
from collections.abc import Mapping

# concept (also the name of a variable), English plural (also an identifier)
_ENGLISH = {
    "price": "prices",
    "grade": "grades",
    "distance": "distances",
    "weight": "weights",
    "length": "lengths",
    "temperature": "temperatures",
    "number": "numbers",
    "speed": "speeds",
    "height": "heights",
    "salary": "salaries",
}
NOUNS = tuple(_ENGLISH)
FILTERS = ("all", "even", "odd", "positive", "negative", "above", "below", "divisible")
TRANSFORMS = ("none", "square", "add", "subtract", "multiply")
AGGREGATES = ("sum", "product", "count", "largest", "smallest", "list")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phrases:
    """The words of one language.

    Attributes:
        nouns: concept to plural noun; a prefix "f:" marks the second gender, an
            underscore stands for a space.
        filters: one template per `FILTERS`.
        transforms: one template per `TRANSFORMS` but "none".
        aggregates: one phrase per `AGGREGATES`.
        short: the sentence without a transform, over `{filter}` and `{aggregate}`.
        long: the sentence with `{transform}` too.
        ablative: number to its suffixed form, where a language suffixes digits: `{n_from}`.
        dative: likewise: `{n_to}`.
    """

    nouns: str
    filters: tuple[str, ...]
    transforms: tuple[str, ...]
    aggregates: tuple[str, ...]
    short: str
    long: str
    ablative: str = ""
    dative: str = ""


_PHRASES: Mapping[str, Phrases] = {
    "en": Phrases(
        nouns="prices grades distances weights lengths temperatures numbers speeds heights "
        "salaries",
        filters=(
            "all {noun}",
            "the even {noun}",
            "the odd {noun}",
            "the positive {noun}",
            "the negative {noun}",
            "the {noun} above {n}",
            "the {noun} below {n}",
            "the {noun} divisible by {n}",
        ),
        transforms=(
            "square each one",
            "add {n} to each one",
            "subtract {n} from each one",
            "multiply each one by {n}",
        ),
        aggregates=(
            "the sum",
            "the product",
            "the count",
            "the largest value",
            "the smallest value",
            "the list",
        ),
        short="Take {filter} and return {aggregate}.",
        long="Take {filter}, {transform} and return {aggregate}.",
    ),
    "de": Phrases(
        nouns="Preise Noten Entfernungen Gewichte Längen Temperaturen Zahlen "
        "Geschwindigkeiten Höhen Gehälter",
        filters=(
            "alle {noun}",
            "die geraden {noun}",
            "die ungeraden {noun}",
            "die positiven {noun}",
            "die negativen {noun}",
            "die {noun} über {n}",
            "die {noun} unter {n}",
            "die durch {n} teilbaren {noun}",
        ),
        transforms=(
            "quadriere sie",
            "addiere jeweils {n}",
            "subtrahiere jeweils {n}",
            "multipliziere sie mit {n}",
        ),
        aggregates=(
            "die Summe",
            "das Produkt",
            "die Anzahl",
            "den größten Wert",
            "den kleinsten Wert",
            "die Liste",
        ),
        short="Nimm {filter} und gib {aggregate} zurück.",
        long="Nimm {filter}, {transform} und gib {aggregate} zurück.",
    ),
    "fr": Phrases(
        nouns="prix f:notes f:distances poids f:longueurs f:températures nombres f:vitesses "
        "f:hauteurs salaires",
        filters=(
            "tous les {noun}/toutes les {noun}",
            "les {noun} pairs/les {noun} paires",
            "les {noun} impairs/les {noun} impaires",
            "les {noun} positifs/les {noun} positives",
            "les {noun} négatifs/les {noun} négatives",
            "les {noun} supérieurs à {n}/les {noun} supérieures à {n}",
            "les {noun} inférieurs à {n}/les {noun} inférieures à {n}",
            "les {noun} divisibles par {n}",
        ),
        transforms=(
            "élève-les au carré",
            "ajoute {n} à chacun/ajoute {n} à chacune",
            "soustrais {n} de chacun/soustrais {n} de chacune",
            "multiplie-les par {n}",
        ),
        aggregates=(
            "la somme",
            "le produit",
            "le nombre d'éléments",
            "la plus grande valeur",
            "la plus petite valeur",
            "la liste",
        ),
        short="Prends {filter} et renvoie {aggregate}.",
        long="Prends {filter}, {transform} et renvoie {aggregate}.",
    ),
    "ru": Phrases(
        nouns="цены оценки расстояния веса длины температуры числа скорости высоты зарплаты",
        filters=(
            "все {noun}",
            "чётные {noun}",
            "нечётные {noun}",
            "положительные {noun}",
            "отрицательные {noun}",
            "{noun} больше {n}",
            "{noun} меньше {n}",
            "кратные {n} {noun}",
        ),
        transforms=(
            "возведи их в квадрат",
            "прибавь к ним {n}",
            "вычти из них {n}",
            "умножь их на {n}",
        ),
        aggregates=(
            "сумму",
            "произведение",
            "количество",
            "наибольшее значение",
            "наименьшее значение",
            "список",
        ),
        short="Возьми {filter} и верни {aggregate}.",
        long="Возьми {filter}, {transform} и верни {aggregate}.",
    ),
    "tr": Phrases(
        nouns="fiyatları notları uzaklıkları ağırlıkları uzunlukları sıcaklıkları sayıları "
        "hızları yükseklikleri maaşları",
        filters=(
            "Tüm {noun}",
            "Çift {noun}",
            "Tek {noun}",
            "Pozitif {noun}",
            "Negatif {noun}",
            "{n_from} büyük {noun}",
            "{n_from} küçük {noun}",
            "{n_to} bölünebilen {noun}",
        ),
        transforms=(
            "her birinin karesini al",
            "her birine {n} ekle",
            "her birinden {n} çıkar",
            "her birini {n} ile çarp",
        ),
        aggregates=(
            "toplamı",
            "çarpımı",
            "sayıyı",
            "en büyük değeri",
            "en küçük değeri",
            "listeyi",
        ),
        short="{filter} al ve {aggregate} döndür.",
        long="{filter} al, {transform} ve {aggregate} döndür.",
        ablative="3'ten 4'ten 5'ten 6'dan 7'den 8'den 9'dan 10'dan 11'den 12'den",
        dative="3'e 4'e 5'e 6'ya 7'ye 8'e 9'a 10'a 11'e 12'ye",
    ),
    "hi": Phrases(
        nouns="f:कीमतें अंक f:दूरियाँ वज़न f:लंबाइयाँ तापमान f:संख्याएँ f:गतियाँ f:ऊँचाइयाँ वेतन",
        filters=(
            "सभी {noun}",
            "सम {noun}",
            "विषम {noun}",
            "धनात्मक {noun}",
            "ऋणात्मक {noun}",
            "{n} से बड़े {noun}/{n} से बड़ी {noun}",
            "{n} से छोटे {noun}/{n} से छोटी {noun}",
            "{n} से विभाज्य {noun}",
        ),
        transforms=(
            "हर एक का वर्ग करो",
            "हर एक में {n} जोड़ो",
            "हर एक में से {n} घटाओ",
            "हर एक को {n} से गुणा करो",
        ),
        aggregates=("योग", "गुणनफल", "गिनती", "सबसे बड़ा मान", "सबसे छोटा मान", "सूची"),
        short="{filter} लो और {aggregate} लौटाओ।",
        long="{filter} लो, {transform} और {aggregate} लौटाओ।",
    ),
    "ja": Phrases(
        nouns="価格 点数 距離 重さ 長さ 温度 数 速度 高さ 給料",
        filters=(
            "すべての{noun}",
            "偶数の{noun}",
            "奇数の{noun}",
            "正の{noun}",
            "負の{noun}",
            "{n}より大きい{noun}",
            "{n}より小さい{noun}",
            "{n}で割り切れる{noun}",
        ),
        transforms=(
            "それぞれを二乗し",
            "それぞれに{n}を足し",
            "それぞれから{n}を引き",
            "それぞれに{n}を掛け",
        ),
        aggregates=("合計", "積", "個数", "最大値", "最小値", "リスト"),
        short="{filter}を取り、{aggregate}を返す。",
        long="{filter}を取り、{transform}、{aggregate}を返す。",
    ),
    "ar": Phrases(
        nouns="الأسعار العلامات المسافات الأوزان الأطوال درجات_الحرارة الأعداد السرعات الارتفاعات "
        "الرواتب",
        filters=(
            "كل {noun}",
            "{noun} الزوجية",
            "{noun} الفردية",
            "{noun} الموجبة",
            "{noun} السالبة",
            "{noun} الأكبر من {n}",
            "{noun} الأصغر من {n}",
            "{noun} القابلة للقسمة على {n}",
        ),
        transforms=(
            "وربع كلا منها",
            "وأضف {n} إلى كل منها",
            "واطرح {n} من كل منها",
            "واضرب كلا منها في {n}",
        ),
        aggregates=(
            "المجموع",
            "حاصل الضرب",
            "العدد",
            "أكبر قيمة",
            "أصغر قيمة",
            "القائمة",
        ),
        short="خذ {filter} ثم أعد {aggregate}.",
        long="خذ {filter} {transform} ثم أعد {aggregate}.",
    ),
    "zh": Phrases(
        nouns="价格 分数 距离 重量 长度 温度 数字 速度 高度 工资",
        filters=(
            "所有{noun}",
            "偶数{noun}",
            "奇数{noun}",
            "正数{noun}",
            "负数{noun}",
            "大于{n}的{noun}",
            "小于{n}的{noun}",
            "能被{n}整除的{noun}",
        ),
        transforms=("都平方", "都加上{n}", "都减去{n}", "都乘以{n}"),
        aggregates=("总和", "乘积", "个数", "最大值", "最小值", "列表"),
        short="取{filter}并返回{aggregate}。",
        long="取{filter}、{transform}并返回{aggregate}。",
    ),
}


def describe(
    language: str,
    *,
    noun: str,
    filter_: str,
    filter_number: int,
    transform: str,
    transform_number: int,
    aggregate: str,
) -> str:
    """Returns the sentence that tells what a program does.

    Args:
        language: code of a natural language of the toy corpus.
        noun: one of `NOUNS`.
        filter_: one of `FILTERS`.
        filter_number: 3 to 12, or 0 if the filter has none.
        transform: one of `TRANSFORMS`.
        transform_number: 3 to 12, or 0 if the transform has none.
        aggregate: one of `AGGREGATES`.
    """
    phrases = _PHRASES[language]
    word = phrases.nouns.split()[NOUNS.index(noun)]
    feminine = word.startswith("f:")
    numbers = {
        "n_from": _suffixed(phrases.ablative, filter_number),
        "n_to": _suffixed(phrases.dative, filter_number),
    }
    filter_template = _agree(phrases.filters[FILTERS.index(filter_)], feminine)
    kept = filter_template.format(
        noun=word.removeprefix("f:").replace("_", " "), n=filter_number, **numbers
    )
    returned = phrases.aggregates[AGGREGATES.index(aggregate)]
    if transform == "none":
        return phrases.short.format(filter=kept, aggregate=returned)
    template = _agree(phrases.transforms[TRANSFORMS.index(transform) - 1], feminine)
    changed = template.format(n=transform_number)
    return phrases.long.format(filter=kept, transform=changed, aggregate=returned)


def plural_identifier(noun: str) -> str:
    """Returns the English plural of a concept of `NOUNS`, as used in code."""
    return _ENGLISH[noun]


def _agree(template: str, feminine: bool) -> str:
    first, _, second = template.partition("/")
    return second if feminine and second else first


def _suffixed(forms: str, number: int) -> str:
    return forms.split()[number - 3] if forms and number else ""
