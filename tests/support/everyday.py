"""A year of everyday talk, made up: thirty facts, and what they drown in.

``PLANTED`` are facts as somebody mentions them in passing, each with a question that
asks for it months later in other words. ``small_talk`` is the rest: always the same
messages for the same number, on the same subjects as the facts.
"""

from __future__ import annotations

import random
from typing import Final

PLANTED: Final[tuple[tuple[str, str], ...]] = (
    (
        "My sister Clara can't eat walnuts, her throat swells up right away.",
        "Which foods is Clara allergic to?",
    ),
    (
        "We named the new kitten Pickle because she is so small and green-eyed.",
        "What is our cat called?",
    ),
    (
        "I parked the bicycle in the cellar of number 14, behind the boiler.",
        "Where did I leave my bicycle for the winter?",
    ),
    (
        "Dr. Okafor wants to see me again on the 9th of March for the knee.",
        "When is my next appointment with Dr. Okafor?",
    ),
    (
        "The spare key to the allotment shed hangs under the blue flowerpot.",
        "How do I get into the shed if I forget the key?",
    ),
    (
        "Grandpa Emil was born in Trieste and came north as a boy of six.",
        "Which town did grandpa Emil come from?",
    ),
    (
        "Tom turns forty on the second of June and hopes for a telescope.",
        "What present would Tom like?",
    ),
    (
        "I promised Mrs. Lindgren next door to water her tomatoes in August.",
        "What did I say I would do for Mrs. Lindgren?",
    ),
    (
        "Our landlord raised the rent to 1,140 a month from January on.",
        "How much rent do we pay for the flat?",
    ),
    (
        "The washing machine is still covered: the guarantee runs until May 2028.",
        "Is there still a guarantee on the washing machine?",
    ),
    (
        "For the move we booked the van from Harper & Sons, Saturday at eight.",
        "Who brings the van when we move house?",
    ),
    (
        "I take 50 micrograms of thyroxine every morning before breakfast.",
        "What medicine am I on, and what dose?",
    ),
    (
        "Lea starts at the music school in Hill Road, she picked the cello.",
        "Which instrument does Lea learn?",
    ),
    (
        "The wifi for guests is called Heron and the password is on the fridge.",
        "How do guests get on the internet at our place?",
    ),
    (
        "My boss is letting me work from home on Tuesdays and Fridays now.",
        "On which weekdays don't I have to go to the office?",
    ),
    (
        "Nora and Idris are getting married in Bergen at the end of September.",
        "Where is Nora's wedding?",
    ),
    (
        "I stopped drinking coffee after four, otherwise I lie awake all night.",
        "Why do I avoid coffee late in the day?",
    ),
    (
        "The car has to pass its inspection by the end of November.",
        "When is the car due for its inspection?",
    ),
    (
        "My passport expires in October 2027, I just checked.",
        "Until when is my passport valid?",
    ),
    (
        "Size 43 fits me best, the 42 boots gave me blisters in the Alps.",
        "What shoe size should I order?",
    ),
    (
        "Mum's hip operation went well, she is in ward 6 of St. Anne's.",
        "Which hospital was mum in?",
    ),
    (
        "Jonas lent me 300 for the new tyres and I still have to pay it back.",
        "Do I owe anybody money?",
    ),
    (
        "I want to read more this year; Middlemarch is on the bedside table.",
        "Which novel did I mean to begin?",
    ),
    (
        "We scattered father's ashes off the pier at Whitby, as he had wished.",
        "What was done with dad's remains?",
    ),
    (
        "The plumber charged 85 for the call and fixed the dripping tap.",
        "What did the repair of the tap cost?",
    ),
    (
        "At the reunion I finally told Ruben that I am leaving the choir.",
        "Who knows that I quit singing?",
    ),
    (
        "Our flight to Lisbon leaves at 6:40, so we sleep near the airport.",
        "At what time do we take off for Portugal?",
    ),
    (
        "The best bread is from the little bakery behind the station, with rye.",
        "Where can I buy a good loaf?",
    ),
    (
        "Aunt Vera gave me her old Singer, I will learn to hem curtains on it.",
        "From whom did I get the sewing machine?",
    ),
    (
        "I hate the dark, I always leave the lamp in the hall on overnight.",
        "What am I afraid of?",
    ),
)
"""What was said once, and how its person asks for it later."""

_OPENINGS: Final = (
    "Good morning! {}",
    "{} What do you think?",
    "By the way, {}",
    "{}",
    "Just so you know: {}",
    "{} Anyway.",
    "I was thinking: {}",
    "{} Can you help me with it?",
)
_SAYINGS: Final = (
    "the {food} turned out rather {quality} today.",
    "I could make {food} for {person} at the weekend.",
    "{person} dropped by and we talked about {subject}.",
    "the bus to {place} was late again, and it was {weather}.",
    "I have read half of a book about {subject}.",
    "it is {weather} outside, so we stay in and cook {food}.",
    "the meeting about {subject} was {quality}, nobody had prepared.",
    "{person} sent me a picture from {place}.",
    "I need to write a short letter to {person} about {subject}.",
    "we walked all the way to {place} although it was {weather}.",
    "the neighbours were {quality} about the noise last night.",
    "there was a film about {subject} on, a bit {quality}.",
    "I bought a new {thing} and it is rather {quality}.",
    "the {thing} broke again, I will look at it tomorrow.",
    "{person} asked whether the {thing} is still for sale.",
    "my back hurts a little since I carried the {thing}.",
    "we planned a day in {place} with {person}.",
    "I slept {quality}, and then it was {weather} all day.",
    "the doctor on the radio spoke about {subject}.",
    "somebody in {place} collects every kind of {thing}.",
    "the children painted the {thing} with {person}.",
    "prices for {food} have gone up once more.",
    "let me tell you what {person} said about {subject}.",
    "please give me three ideas for {food}.",
    "how does one explain {subject} to a child?",
    "the garden looks {quality}, it was {weather} for weeks.",
)
_ANSWERS: Final = (
    "That sounds {quality}. Shall we look at {subject} together?",
    "For {food} you need patience, a good pan and not too much salt.",
    "In {place} people would say that {subject} takes its time.",
    "A {thing} like that often lasts for years if it is kept dry.",
    "Here is a first try at the letter about {subject}.",
    "Perhaps {person} would enjoy a day in {place}.",
)
_WORDS: Final[dict[str, str]] = {
    "food": (
        "soup pancakes risotto dumplings pizza lentils salad noodles cake stew "
        "curry omelette"
    ),
    "quality": ("good strange quiet tiring lovely dull noisy calm surprising awful"),
    "person": ("Anna Piet Yusuf Marta Henrik Sofia Bela Ines Karim Olga Paul Greta"),
    "place": (
        "Vienna Oxford the_lake the_market Ghent the_museum the_harbour Lyon "
        "the_old_mill the_park"
    ),
    "thing": (
        "bookshelf chair umbrella printer toaster backpack guitar clock sofa "
        "mirror kettle carpet"
    ),
    "weather": "raining windy foggy sunny icy mild snowing",
    "subject": (
        "volcanoes politics chess whales history football trains taxes bees "
        "painting the_moon grammar astronomy weddings money school travel cats"
    ),
}


def small_talk(count: int, *, seed: int = 6) -> list[tuple[str, str]]:
    """Return roles and texts of so many different messages without a planted fact."""
    chance = random.Random(seed)
    said: dict[str, str] = {}
    while len(said) < count:
        answers = chance.random() < 0.3
        pattern = chance.choice(_ANSWERS if answers else _SAYINGS)
        words = {
            name: chance.choice(options.split()).replace("_", " ")
            for name, options in _WORDS.items()
        }
        text = pattern.format(**words)
        if not answers:
            text = chance.choice(_OPENINGS).format(text)
        said[text[0].upper() + text[1:]] = "assistant" if answers else "user"
    return [(role, text) for text, role in said.items()]
