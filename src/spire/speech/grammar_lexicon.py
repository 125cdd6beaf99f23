"""Slot tables of the sentence grammar: every entry carries its English, German and French form together.

Forms are chosen so that no later step has to inflect anything: German plural nouns come with strong ("drei rote
Bücher") and weak ("die roten Bücher") adjectives, French noun phrases with agreement and the adjective's place done.
Words that differ in one weak sound only (fifteen/fifty, Anna/Emma, Sunday/Monday) are left out where another serves.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """One meaning in three languages; words of a phrase are separated by single spaces."""

    en: str
    de: str
    fr: str


@dataclass(frozen=True)
class Name(Word):
    """A person: `fr_que` and `fr_de` are the elided forms ("qu'Anna", "de Peter")."""

    fr_que: str
    fr_de: str


@dataclass(frozen=True)
class Verb(Word):
    """A past tense: `en` is the finite form; `de` and `fr` are participles for "hat ..." and "a ..."."""


@dataclass(frozen=True)
class Action(Word):
    """An infinitive phrase; German is split into object and infinitive, because words may stand between them."""

    de_object: str
    de_verb: str


@dataclass(frozen=True)
class Things(Word):
    """A plural noun phrase with adjective; `de` is strong, `de_weak` goes after "die"."""

    de_weak: str


@dataclass(frozen=True)
class Day(Word):
    """A day of the month: `en` ordinal, `de` ordinal in the dative, `fr` cardinal (except "premier")."""


def _words(kind: type[Word], table: str) -> tuple:
    """Entries from lines "english | german | french"."""
    return tuple(kind(*(cell.strip() for cell in line.split("|"))) for line in table.strip().splitlines())


def _name(name: str) -> Name:
    vowel = name[0] in "AEIOU"
    return Name(name, name, name, f"qu'{name}" if vowel else f"que {name}", f"d'{name}" if vowel else f"de {name}")


NAMES = tuple(
    _name(name)
    for name in (
        *("Anna", "Peter", "Oliver", "Julia", "Simon", "Sophie"),
        *("David", "Robert", "Patrick", "Clara", "Isabel", "Thomas"),
    )
)

PEOPLE = _words(Word, """
my brother | mein Bruder | mon frère
my sister | meine Schwester | ma sœur
the teacher | der Lehrer | le professeur
our neighbour | unser Nachbar | notre voisin
the doctor | der Arzt | le médecin
my grandmother | meine Großmutter | ma grand-mère
the farmer | der Bauer | le fermier
your uncle | dein Onkel | ton oncle
the waiter | der Kellner | le serveur
a student | ein Student | un étudiant
the mechanic | der Mechaniker | le mécanicien
""")

SUBJECTS = PEOPLE + NAMES

CITIES = _words(Word, """
Vienna | Wien | Vienne
London | London | Londres
Paris | Paris | Paris
Berlin | Berlin | Berlin
Rome | Rom | Rome
Madrid | Madrid | Madrid
Munich | München | Munich
Geneva | Genf | Genève
Brussels | Brüssel | Bruxelles
Lisbon | Lissabon | Lisbonne
Warsaw | Warschau | Varsovie
Athens | Athen | Athènes
""")

VERBS = _words(Verb, """
bought | gekauft | acheté
sold | verkauft | vendu
found | gefunden | trouvé
lost | verloren | perdu
forgot | vergessen | oublié
brought | gebracht | apporté
counted | gezählt | compté
saw | gesehen | vu
ordered | bestellt | commandé
washed | gewaschen | lavé
painted | gemalt | peint
stole | gestohlen | volé
""")

NUMBERS = _words(Word, """
two | zwei | deux
three | drei | trois
four | vier | quatre
five | fünf | cinq
six | sechs | six
seven | sieben | sept
eight | acht | huit
nine | neun | neuf
ten | zehn | dix
eleven | elf | onze
twelve | zwölf | douze
twenty | zwanzig | vingt
thirty | dreißig | trente
sixty | sechzig | soixante
""")

HOURS = NUMBERS[:11]
DIGITS = _words(Word, "zero | null | zéro\none | eins | un") + NUMBERS[:8]

# noun: English | German | French | French gender
_NOUNS = """
books | Bücher | livres | m
apples | Äpfel | pommes | f
chairs | Stühle | chaises | f
letters | Briefe | lettres | f
dogs | Hunde | chiens | m
tickets | Karten | billets | m
flowers | Blumen | fleurs | f
keys | Schlüssel | clés | f
bottles | Flaschen | bouteilles | f
shirts | Hemden | chemises | f
bicycles | Fahrräder | vélos | m
pictures | Bilder | tableaux | m
horses | Pferde | chevaux | m
lamps | Lampen | lampes | f
boxes | Kisten | caisses | f
umbrellas | Regenschirme | parapluies | m
"""

# adjective: English | German stem | French masculine plural | feminine plural | before or after the noun
_ADJECTIVES = """
red | rot | rouges | rouges | after
small | klein | petits | petites | before
old | alt | vieux | vieilles | before
new | neu | nouveaux | nouvelles | before
green | grün | verts | vertes | after
expensive | teur | chers | chères | after
heavy | schwer | lourds | lourdes | after
beautiful | schön | beaux | belles | before
yellow | gelb | jaunes | jaunes | after
black | schwarz | noirs | noires | after
clean | sauber | propres | propres | after
"""


def _things() -> tuple[Things, ...]:
    nouns = [[cell.strip() for cell in line.split("|")] for line in _NOUNS.strip().splitlines()]
    adjectives = [[cell.strip() for cell in line.split("|")] for line in _ADJECTIVES.strip().splitlines()]
    entries = []
    for adj_en, stem, masculine, feminine, position in adjectives:
        for noun_en, noun_de, noun_fr, gender in nouns:
            adj_fr = masculine if gender == "m" else feminine
            fr = f"{adj_fr} {noun_fr}" if position == "before" else f"{noun_fr} {adj_fr}"
            entries.append(Things(f"{adj_en} {noun_en}", f"{stem}e {noun_de}", fr, f"{stem}en {noun_de}"))
    return tuple(entries)


THINGS = _things()

NOUNS = tuple(Word(*(cell.strip() for cell in line.split("|")[:3])) for line in _NOUNS.strip().splitlines())

PLACES = _words(Word, """
at the market | auf dem Markt | au marché
in the kitchen | in der Küche | dans la cuisine
at the station | am Bahnhof | à la gare
in the garden | im Garten | dans le jardin
at school | in der Schule | à l'école
in the office | im Büro | au bureau
under the bridge | unter der Brücke | sous le pont
behind the church | hinter der Kirche | derrière l'église
by the river | am Fluss | près de la rivière
on the table | auf dem Tisch | sur la table
""")

PAST_TIMES = _words(Word, """
yesterday | gestern | hier
last week | letzte Woche | la semaine dernière
on Monday | am Montag | lundi
in summer | im Sommer | en été
this morning | heute Morgen | ce matin
an hour ago | vor einer Stunde | il y a une heure
""")

FUTURE_TIMES = _words(Word, """
tomorrow | morgen | demain
next week | nächste Woche | la semaine prochaine
tonight | heute Abend | ce soir
on Wednesday | am Mittwoch | mercredi
on Saturday | am Samstag | samedi
in winter | im Winter | en hiver
in an hour | in einer Stunde | dans une heure
after dinner | nach dem Essen | après le dîner
""")

ACTIONS = tuple(
    Action(en, f"{de_object} {de_verb}", fr, de_object, de_verb)
    for en, de_object, de_verb, fr in (
        [cell.strip() for cell in line.split("|")]
        for line in """
open the window | das Fenster | öffnen | ouvrir la fenêtre
close the door | die Tür | schließen | fermer la porte
read the newspaper | die Zeitung | lesen | lire le journal
cook the soup | die Suppe | kochen | préparer la soupe
clean the room | das Zimmer | putzen | nettoyer la chambre
learn the song | das Lied | lernen | apprendre la chanson
drink the coffee | den Kaffee | trinken | boire le café
write the story | die Geschichte | schreiben | écrire l'histoire
repair the car | das Auto | reparieren | réparer la voiture
visit the museum | das Museum | besuchen | visiter le musée
feed the cat | die Katze | füttern | nourrir le chat
eat the cake | den Kuchen | essen | manger le gâteau
use the telephone | das Telefon | benutzen | utiliser le téléphone
carry the suitcase | den Koffer | tragen | porter la valise
""".strip().splitlines()
    )
)

MODALS = _words(Word, """
can | kann | peut
must | muss | doit
wants to | will | veut
would like to | möchte | voudrait
""")

QUESTIONS = _words(Word, """
can you | kannst du | peux-tu
must you | musst du | dois-tu
will you | wirst du | vas-tu
""")

REQUESTS = _words(Word, """
give | gib | donne
show | zeig | montre
send | schick | envoie
""")

REASONS = _words(Word, """
it is too cold | es zu kalt ist | il fait trop froid
it is too late | es zu spät ist | il est trop tard
it is too dark | es zu dunkel ist | il fait trop sombre
it is too early | es zu früh ist | il est trop tôt
it is raining | es regnet | il pleut
""")

VEHICLES = _words(Word, """
the train | der Zug | le train
the bus | der Bus | le bus
the ship | das Schiff | le bateau
the taxi | das Taxi | le taxi
""")

SPANS = _words(Word, """
years | Jahren | ans
months | Monaten | mois
weeks | Wochen | semaines
""")

DAYS = _words(Day, """
first | ersten | premier
second | zweiten | deux
third | dritten | trois
fourth | vierten | quatre
fifth | fünften | cinq
seventh | siebten | sept
ninth | neunten | neuf
tenth | zehnten | dix
twelfth | zwölften | douze
twentieth | zwanzigsten | vingt
""")

MONTHS = _words(Word, """
January | Januar | janvier
April | April | avril
June | Juni | juin
August | August | août
October | Oktober | octobre
December | Dezember | décembre
""")
