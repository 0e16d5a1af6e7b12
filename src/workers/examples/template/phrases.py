"""The wordings that the varied grammar draws from: openings, leads, tails, connectors, closings.

Every lead and tail says which way a fact bears on risk, so that a reader, or the audit, can check it. Facts and
mechanisms come from the lexicon; nothing here is about a disease.
"""

# By direction: True raises risk, False lowers it. A lead stands before its facts, a tail behind them.
LEADS: dict[bool, tuple[str, ...]] = {
    True: (
        "raising risk",
        "adding to risk",
        "in favour",
        "for",
        "pointing up",
        "arguments for",
        "risk factors",
        "on the side of risk",
        "what speaks for it",
        "counting towards risk",
        "the reasons for concern",
    ),
    False: (
        "lowering risk",
        "speaking against",
        "reassuring",
        "against",
        "pointing down",
        "arguments against",
        "protective",
        "on the protective side",
        "what speaks against it",
        "counting against risk",
        "the reasons for calm",
    ),
}
TAILS: dict[bool, tuple[str, ...]] = {
    True: (
        "raising risk",
        "adding risk",
        "a risk",
        "speaking for it",
        "pushing risk up",
        "counting towards risk",
        "a reason for concern",
    ),
    False: (
        "lowering risk",
        "easing risk",
        "a protection",
        "speaking against it",
        "pushing risk down",
        "counting against risk",
        "a reason for calm",
    ),
}
OPENINGS = (
    "{person}",
    "A {person}",
    "This is a {person}",
    "The record of a {person}",
    "We consider a {person}",
    "On record is a {person}",
    "The person is a {person}",
    "Before us is a {person}",
)
# Before the second side of an argument.
CONNECTORS = ("", "yet", "still", "but", "however,", "by contrast,", "on the other hand,", "at the same time,")
# How a list ends, and the words that it takes beside the items.
LAST_JOINERS = (", ", " and ", ", also ", ", then ")
# Behind a fact: why it bears on risk, and how long ago it was first recorded.
MECHANISMS = (" ({mechanism})", ", as {mechanism}", ", since {mechanism}", ", because {mechanism}")
DATES = (" ({when})", " from {when}", " noted {when}", " on record {when}")
# A step of a theme: its name, and each side of it. Short steps go without the name.
HEADINGS = ("{theme}: ", "on {theme}: ", "next, {theme}: ", "as to {theme}: ", "under {theme}: ")
BODIES = ("{facts} ({tail})", "{facts}, {tail}", "{facts} – {tail}", "{tail}, {facts}")
NOTHING_RECORDED = ("nothing recorded", "nothing on record", "no findings", "nothing of note")
MISSING = ("Not recorded", "Missing", "Unknown", "No record of", "Left open", "What we lack")
NOTHING_MISSING = "nothing of weight"
CLOSINGS = (
    "Overall risk is {level}",
    "On balance risk is {level}",
    "Taken together risk is {level}",
    "In sum risk is {level}",
    "So risk is {level}",
    "Overall the risk looks {level}",
    "All in all risk is {level}",
    "Weighing this, risk is {level}",
    "Taking all this together, the risk comes out {level}",
    "On the whole we judge the risk to be {level}",
)
JUDGEMENTS = (
    "Judgement: risk {level}",
    "Conclusion: risk {level}",
    "Result: risk {level}",
    "Overall: risk {level}",
    "Verdict: risk {level}",
    "Overall judgement: risk is {level}",
    "Conclusion from all steps: risk is {level}",
    "Overall judgement: we call the risk {level}",
)
