"""French: two genders, elision, contracted articles; adjectives before or after the noun."""

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

# concept, gender, singular, plural
NOUNS = read_columns(
    """
    teacher      m  professeur    professeurs
    doctor       m  médecin       médecins
    farmer       m  fermier       fermiers
    student      m  étudiant      étudiants
    neighbour    m  voisin        voisins
    cook         m  cuisinier     cuisiniers
    driver       m  chauffeur     chauffeurs
    child        m  enfant        enfants
    woman        f  femme         femmes
    girl         f  fille         filles
    grandmother  f  grand-mère    grands-mères
    tourist      m  touriste      touristes
    soldier      m  soldat        soldats
    painter      m  peintre       peintres
    queen        f  reine         reines
    guest        m  invité        invités
    book         m  livre         livres
    letter       f  lettre        lettres
    newspaper    m  journal       journaux
    apple        f  pomme         pommes
    cake         m  gâteau        gâteaux
    egg          m  œuf           œufs
    shirt        f  chemise       chemises
    hat          m  chapeau       chapeaux
    cup          f  tasse         tasses
    plate        f  assiette      assiettes
    table        f  table         tables
    lamp         f  lampe         lampes
    key          f  clé           clés
    picture      m  tableau       tableaux
    car          f  voiture       voitures
    bicycle      m  vélo          vélos
    flower       f  fleur         fleurs
    box          f  boîte         boîtes
    map          f  carte         cartes
    umbrella     m  parapluie     parapluies
    """,
    SUBJECTS + OBJECT_CONCEPTS,
)
# concept, position, masculine, feminine, masculine plural, feminine plural,
# masculine before a vowel
ADJECTIVES = read_columns(
    """
    young      pre   jeune        jeune        jeunes       jeunes        jeune
    happy      post  heureux      heureuse     heureux      heureuses     heureux
    tired      post  fatigué      fatiguée     fatigués     fatiguées     fatigué
    kind       pre   gentil       gentille     gentils      gentilles     gentil
    clever     post  intelligent  intelligente intelligents intelligentes intelligent
    quiet      post  calme        calme        calmes       calmes        calme
    famous     post  célèbre      célèbre      célèbres     célèbres      célèbre
    rich       post  riche        riche        riches       riches        riche
    red        post  rouge        rouge        rouges       rouges        rouge
    white      post  blanc        blanche      blancs       blanches      blanc
    black      post  noir         noire        noirs        noires        noir
    big        pre   grand        grande       grands       grandes       grand
    small      pre   petit        petite       petits       petites       petit
    new        pre   nouveau      nouvelle     nouveaux     nouvelles     nouvel
    old        pre   vieux        vieille      vieux        vieilles      vieil
    beautiful  pre   beau         belle        beaux        belles        bel
    cheap      post  bon_marché   bon_marché   bon_marché   bon_marché    bon_marché
    """,
    SUBJECT_ADJECTIVES + OBJECT_ADJECTIVES,
)
# concept, present singular, present plural, participle, future singular, future plural
VERB_FORMS = read_columns(
    """
    buy         achète    achètent    acheté     achètera    achèteront
    sell        vend      vendent     vendu      vendra      vendront
    measure     mesure    mesurent    mesuré     mesurera    mesureront
    look_at     regarde   regardent   regardé    regardera   regarderont
    touch       touche    touchent    touché     touchera    toucheront
    choose      choisit   choisissent choisi     choisira    choisiront
    hide        cache     cachent     caché      cachera     cacheront
    wrap        emballe   emballent   emballé    emballera   emballeront
    steal       vole      volent      volé       volera      voleront
    look_for    cherche   cherchent   cherché    cherchera   chercheront
    send        envoie    envoient    envoyé     enverra     enverront
    order       commande  commandent  commandé   commandera  commanderont
    throw_away  jette     jettent     jeté       jettera     jetteront
    inspect     examine   examinent   examiné    examinera   examineront
    wash        lave      lavent      lavé       lavera      laveront
    repair      répare    réparent    réparé     réparera    répareront
    read        lit       lisent      lu         lira        liront
    eat         mange     mangent     mangé      mangera     mangeront
    """,
    VERBS,
)
# concept, "in ..." phrase, with article, with "de" and article
PLACE_FORMS = read_columns(
    """
    school    à_l'école             l'école          de_l'école
    garden    dans_le_jardin        le_jardin        du_jardin
    market    au_marché             le_marché        du_marché
    museum    au_musée              le_musée         du_musée
    park      dans_le_parc          le_parc          du_parc
    hospital  à_l'hôpital           l'hôpital        de_l'hôpital
    station   à_la_gare             la_gare          de_la_gare
    forest    dans_la_forêt         la_forêt         de_la_forêt
    village   dans_le_village       le_village       du_village
    hotel     à_l'hôtel             l'hôtel          de_l'hôtel
    shop      dans_le_magasin       le_magasin       du_magasin
    library   à_la_bibliothèque     la_bibliothèque  de_la_bibliothèque
    """,
    PLACES,
)
TIMES = {
    "yesterday": "hier",
    "last_week": "la semaine dernière",
    "now": "maintenant",
    "today": "aujourd'hui",
    "tomorrow": "demain",
    "next_week": "la semaine prochaine",
}
NUMERALS = read_numerals("deux trois quatre cinq six sept huit neuf dix")
_VOWELS = "aàeéèêiîoôœuy"


def render(meaning: Meaning) -> str:
    """Returns the French sentence of a meaning."""
    subject = _definite(meaning.subject, meaning.subject_adjective, meaning.subject_plural)
    words = join_words(subject, _verb(meaning), _object(meaning), _place(meaning))
    if meaning.time is not None:
        words = f"{TIMES[meaning.time]}, {words}"
    return capitalise(words) + "."


def _verb(meaning: Meaning) -> str:
    forms = VERB_FORMS[meaning.verb]
    if meaning.tense == "past":
        return f"{'ont' if meaning.subject_plural else 'a'} {forms[2]}"
    if meaning.tense == "future":
        return forms[3 + meaning.subject_plural]
    return forms[meaning.subject_plural]


def _object(meaning: Meaning) -> str:
    number = meaning.object_number
    if number in (1, PLURAL):
        return _definite(meaning.object, meaning.object_adjective, number == PLURAL)
    return f"{NUMERALS[number]} {_phrase(meaning.object, meaning.object_adjective, True)}"


def _definite(noun: str, adjective: str | None, plural: bool) -> str:
    phrase = _phrase(noun, adjective, plural)
    if plural:
        return f"les {phrase}"
    if phrase[0] in _VOWELS:
        return f"l'{phrase}"
    return f"{'le' if NOUNS[noun][0] == 'm' else 'la'} {phrase}"


def _phrase(noun: str, adjective: str | None, plural: bool) -> str:
    gender, *numbers = NOUNS[noun]
    word = numbers[plural]
    if adjective is None:
        return word
    position, *forms, before_vowel = ADJECTIVES[adjective]
    form = forms[2 * plural + (gender == "f")]
    if position == "post":
        return f"{word} {form}"
    if gender == "m" and not plural and word[0] in _VOWELS:
        form = before_vowel
    return f"{form} {word}"


def _place(meaning: Meaning) -> str:
    if meaning.place is None or meaning.preposition is None:
        return ""
    inside, place, of_place = PLACE_FORMS[meaning.place]
    if meaning.preposition == "in":
        return inside
    if meaning.preposition == "next_to":
        return f"à côté {of_place}"
    return f"{'derrière' if meaning.preposition == 'behind' else 'devant'} {place}"
