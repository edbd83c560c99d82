"""Words without meaning of their own, and everyday words that stand for each other.

Written for what people tell an assistant about themselves. In small letters and
without accents, as ``personas.search.words.fold`` writes them.
"""

from __future__ import annotations

from typing import Final

from personas.search.stems import stem_of

_ENGLISH = """
a about above after again all also am an and any anybody anyone anything are as ask
asked at be because been before being best both but by called can could day days did do
does doing done else ever every exactly find for from get give go going got had has have
having he hello help her here hers him his how i if in into is it its just keep kind
know last let like long made make many may me mean mentioned might mine more most much
must my name need new not now of off often ok on once one only or other our out over own
please really recall remember remind right said same say she should so some somebody
someone something such sure take talk talked tell than thank thanks that the their them
then there these they thing things think this those time times to told too under until
up us use used usually very want was way we well went were what whats when where which
while who whom whose why will wish with would yes yet you your yours
"""
_GERMAN = """
ab aber alle allem allen aller alles als also am an ander andere auch auf aus bei beim
bin bis bist bitte da dabei damit dann das dass dein deine dem den denn der des dich
die dies diese diesem diesen dieser dieses dir doch dort du durch ein eine einem einen
einer eines er erinnerst erzahlt es etwas euch fur gab ganz gegen genau gesagt gewesen
gib gibt gut habe haben hast hat hatte hatten hier hin ich ihm ihn ihnen ihr ihre im
immer in ins irgend ist ja jede jeden jeder jetzt kann kannst kein keine konnte mal
man mehr mein meine meinem meinen meiner mich mir mit muss nach nein nicht noch nun
nur ob oder ohne sag sage sagte sehr sein seine seit sich sie sind so soll sollte
sonst uber um und uns unser unter viel vom von vor wann war waren warum was weil
weisst welche welchem welchen welcher welches wem wen wenn wer werde werden wie wieder
wieviel will wir wird wirst wo woher wohin wurde wurden zu zum zur
"""
STOP_WORDS: Final = frozenset(f"{_ENGLISH} {_GERMAN}".split())

_GROUPS: Final = (
    "job work works profession employer company office occupation career living "
    "employed arbeit beruf firma arbeitet",
    "boss manager chef supervisor vorgesetzter",
    "colleague coworker teammate kollege kollegin",
    "child children kid kids son daughter kind kinder sohn tochter baby",
    "mother mom mum mutter mama parents eltern",
    "father dad vater papa parents eltern",
    "sibling brother sister bruder schwester geschwister twin",
    "grandmother grandma granny oma grossmutter",
    "grandfather grandpa opa grossvater",
    "husband wife spouse partner married marry boyfriend girlfriend fiance ehemann "
    "ehefrau mann frau verheiratet",
    "wedding anniversary married marry hochzeit hochzeitstag geheiratet",
    "birthday born birth turns geburtstag geboren",
    "live lives home house flat apartment address reside moved street neighbourhood "
    "wohne wohnt wohnung haus adresse zuhause umgezogen strasse",
    "city town village hometown stadt dorf ort",
    "car vehicle drive drives automobile van auto wagen fahrzeug fahre",
    "bicycle bike cycling cycle ride fahrrad rad",
    "doctor physician gp dentist appointment clinic hospital surgeon arzt arztin "
    "zahnarzt termin praxis klinik krankenhaus",
    "medicine medication pill tablet drug dose prescription treatment medikament "
    "tablette arznei",
    "allergic allergy allergies intolerant intolerance hives react reaction allergie "
    "allergisch unvertraglich",
    "ill sick illness disease condition diagnosed diagnosis krank krankheit diagnose",
    "pet dog cat puppy kitten terrier hamster rabbit parrot tortoise hund katze "
    "haustier kaninchen",
    "holiday holidays vacation trip travel travelling journey flight visit abroad "
    "urlaub reise ferien flug verreisen",
    "food eat eats dish meal dinner lunch breakfast cuisine favourite essen gericht "
    "speise mittagessen abendessen lieblingsessen",
    "diet vegetarian vegan meat fish vegetarisch fleisch vegetarier",
    "drink drinks coffee tea beverage wine beer trinke trinken kaffee tee getrank",
    "sport exercise workout gym training running jogging swim swimming run climbing "
    "football tennis laufen schwimmen turnen klettern",
    "hobby hobbies leisure pastime weekend weekends spare evenings freizeit",
    "music instrument piano guitar violin cello flute trumpet drums play plays band "
    "choir musik klavier gitarre geige chor",
    "lesson class course lecture teacher tutor practice rehearsal unterricht stunde "
    "kurs lehrer probe",
    "school university college studied study degree graduated schule universitat "
    "studium studiere studiert abschluss",
    "language speak speaks spanish french german italian japanese fluent sprache "
    "spreche sprechen",
    "book novel read reading author buch roman lese lesen",
    "movie film cinema series kino serie",
    "password passcode pin code combination passwort kennwort zahlencode",
    "wifi wlan router network internet netzwerk",
    "phone number mobile telephone call handy telefon nummer",
    "money cost costs price pay paid salary budget euros dollars earn rent geld preis "
    "gehalt miete bezahlt",
    "bank account savings mortgage loan konto bankkonto kredit ersparnisse",
    "insurance policy insured versicherung versichert police",
    "buy bought purchase purchased order ordered gekauft kaufen bestellt",
    "gift present presents geschenk schenken",
    "meeting appointment call meet standup besprechung treffen termin",
    "deadline due submit hand deliver frist abgabe abgeben",
    "project task assignment projekt aufgabe vorhaben",
    "computer laptop notebook machine pc rechner",
    "software app program programme tool programm anwendung",
    "server machine host hostname nas raspberry",
    "programming coding language python rust java typescript developer programmieren "
    "entwickler",
    "size shoe shoes clothes wear shirt jacket grosse schuh schuhe kleidung trage",
    "colour color paint painted farbe lieblingsfarbe gestrichen",
    "afraid fear scared phobia frightened nervous angst furchte",
    "dislike hate hates avoid disgusting stand mag hasse",
    "love loves enjoy enjoys prefer prefers favourite favorite fond liebe liebling "
    "bevorzuge gern gerne",
    "friend buddy mate freund freundin kumpel",
    "neighbour neighbor nachbar nachbarin nebenan",
    "garden plants planted vegetables grow growing tomatoes balcony garten pflanzen "
    "gemuse balkon",
    "key keys spare lock schlussel schloss",
    "train bus station commute tram subway bahn zug bahnhof pendeln",
    "plane airport flight fly flughafen flug fliegen",
    "weekday monday tuesday wednesday thursday friday saturday sunday montag dienstag "
    "mittwoch donnerstag freitag samstag sonntag wochentag",
    "month january february march april june july august september october november "
    "december januar februar marz mai juni juli oktober dezember monat",
    "wake early morning alarm aufstehen fruh morgens wecker",
    "sleep bed bedtime night schlafen bett nachts",
    "glasses lenses eyes sight brille augen",
    "broke broken injury injured hurt fracture surgery gebrochen verletzt verletzung "
    "operation",
    "passport visa licence license document expires ausweis reisepass fuhrerschein",
    "age old years alt alter jahre",
    "nickname nicknamed spitzname",
    "start begin begins starting starts anfangen beginnt beginn",
    "finish end ends finished complete ende fertig beendet",
    "recipe cook cooking bake baking oven rezept kochen backen",
    "paint painting draw drawing art watercolour malen zeichnen kunst",
    "photo photography camera lens picture foto kamera",
    "marathon race run runner lauf rennen",
    "church religion faith kirche glaube",
    "tax taxes refund steuer finanzamt",
    "store shop supermarket market bakery laden geschaft markt backerei",
    "restaurant cafe bistro place table lokal gaststatte",
)


def _others() -> dict[str, tuple[str, ...]]:
    """Return for each word, shortened, the words of its first group."""
    found: dict[str, tuple[str, ...]] = {}
    for group in _GROUPS:
        words = tuple(group.split())
        for word in words:
            found.setdefault(stem_of(word), words)
    return found


OTHERS: Final = _others()
"""By a word without its ending: words for the same, itself among them."""
