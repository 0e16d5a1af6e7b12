"""The wordings that the varied grammar draws from: openings, leads, tails, connectors, closings.

Every lead and tail says which way a fact bears on risk, so that a reader, or the audit, can check it. Facts and mechanisms
come from the lexicon; nothing here is about a disease.
"""

# By direction: True raises risk, False lowers it. A lead stands before its facts, a tail behind them.
LEADS: dict[bool, tuple[str, ...]] = {
    True: (
        "Raising risk",
        "Adding to risk",
        "In favour",
        "For",
        "Pointing up",
        "Arguments for",
        "On the side of risk",
        "What speaks for it",
        "Counting towards risk",
        "The reasons for concern",
    ),
    False: (
        "Lowering risk",
        "Speaking against",
        "Reassuring",
        "Against",
        "Pointing down",
        "Arguments against",
        "On the protective side",
        "What speaks against it",
        "Counting against risk",
        "The reasons for calm",
    ),
}
TAILS: dict[bool, tuple[str, ...]] = {
    True: (
        "raising risk",
        "adding risk",
        "speaking for it",
        "pushing risk up",
        "which counts towards risk",
        "a reason for concern",
    ),
    False: (
        "lowering risk",
        "easing risk",
        "speaking against it",
        "pushing risk down",
        "which counts against risk",
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
# Before the second side, and before a later step that turns round.
CONNECTORS = ("", "yet", "still", "but", "however", "by contrast", "on the other hand", "at the same time")
# How a list ends; each is charged as one word more where it has two items or more.
LAST_JOINERS = (", ", " and ", ", also ", ", then ")
# A mechanism behind its fact; it may be a clause or a phrase.
MECHANISMS = (" ({mechanism})", ", as {mechanism}", ", since {mechanism}", ", because {mechanism}")
DATES = (" ({when})", ", {when}", " noted {when}", " on record {when}")
MISSING = ("Not recorded", "Missing", "Unknown", "No record of", "Left open", "What we lack")
NOTHING_MISSING = "nothing of weight"
NOTHING_RECORDED = ("nothing recorded", "nothing on record", "no findings", "nothing of note")
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
