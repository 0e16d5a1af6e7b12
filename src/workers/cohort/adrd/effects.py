"""What drives the synthetic cohort: rates by age, true risk factors, their effects. The hidden truth of the generator.

Rates: recorded dementia and death in Dutch primary care (IPCI; Alzheimer's Research & Therapy 2019, 13195-019-0496-x,
table 1). "Ours" marks a number that no source gives. Nothing here may reach a prompt or a teacher.
"""

from dataclasses import dataclass
from typing import Literal

# Middle of each age band in years, and events per 1,000 person-years; 52.5 and 62.5 are ours.
AGE_ANCHORS = (52.5, 62.5, 67.5, 72.5, 77.5, 82.5, 87.5, 92.5)
DEMENTIA_RATES = (0.10, 0.55, 1.52, 4.10, 9.88, 20.09, 30.76, 40.00)
DEATH_RATES = (3.00, 7.00, 10.97, 17.35, 28.19, 48.94, 84.87, 182.61)

# Ours, set by the calibration: the anchors count recorded dementia, true onset is more frequent.
INCIDENCE_MULTIPLIER = 1.2
# Literature effects come from single-factor analyses and overlap (communality), hence less than their sum.
SHRINK = 0.7

AGE_MEAN, AGE_SD, AGE_MIN, AGE_MAX = 71.0, 6.5, 60.0, 85.0
SHARE_FEMALE = 0.54

# Alleles in Hardy-Weinberg proportion; hazard ratios by e4 copies: CMAJ 2018;190:E1033 and UK Biobank PMC8921546.
ALLELE_SHARES = {"e2": 0.08, "e3": 0.77, "e4": 0.15}
E4_HAZARD_RATIOS = (1.0, 2.4, 5.8)
E2_HAZARD_RATIO = 0.7
# The effect of e4 wanes above 80 years by 1/25 a year, to half of it at most.
E4_WANES_FROM, E4_WANES_OVER, E4_FLOOR = 80.0, 25.0, 0.5

POLYGENIC_HAZARD_RATIO = 1.25
FRAILTY_HAZARD_RATIO = 1.2
# The protocol's higher option: with 1.6 the oracle fell below its range, since records also follow disease that
# began before the index.
COGNITION_HAZARD_RATIO = 2.0
FEMALE_HAZARD_RATIO = 1.05
# Ours: on the log hazard; what no record shows, so it sets the ceiling.
UNOBSERVED_SD = 0.5

# Log hazard ratios of death.
DEATH_EFFECTS = {"smoking": 0.35, "heart_failure": 0.5, "diabetes": 0.3, "stroke": 0.25}
DEATH_FRAILTY, DEATH_FEMALE = 0.3, -0.35

Latent = Literal["deprivation", "vascular"]
# Ours: correlation of a factor's liability with the latent state that it shares with others.
LATENT_LOADING = 0.4


@dataclass(frozen=True)
class Factor:
    """A true risk factor, present or not.

    relative_risk: of dementia; Lancet commission 2020 (PMC7392084) and its 2024 update unless said otherwise.
    prevalence: at 72 years; logit_slope: its change a year of age, from the anchors' table where that has the factor.
    sensitivity: the chance that a true factor is recorded.
    """

    name: str
    code: str
    relative_risk: float
    prevalence: float
    logit_slope: float = 0.0
    latent: Latent | None = None
    sensitivity: float = 0.85
    recorded_by: Literal["condition", "survey", "static"] = "condition"


FACTORS = (
    Factor("less_education", "SCHOOLING_SHORT", 1.6, 0.25, latent="deprivation", recorded_by="static"),
    Factor("hearing_loss", "H91.9", 1.4, 0.30, 0.08, sensitivity=0.45),
    Factor("brain_injury", "S06.9", 1.7, 0.08, sensitivity=0.50),
    Factor("hypertension", "I10", 1.2, 0.60, 0.075, latent="vascular", sensitivity=0.90),
    Factor("alcohol", "ALCOHOL_HIGH", 1.2, 0.10, recorded_by="survey"),
    Factor("obesity", "E66.9", 1.1, 0.25, latent="vascular"),
    Factor("smoking", "SMOKING", 1.3, 0.12, -0.03, latent="deprivation", recorded_by="survey"),
    Factor("depression", "F32.9", 1.9, 0.14, sensitivity=0.70),
    Factor("isolation", "ISOLATION", 1.6, 0.20, 0.02, latent="deprivation", sensitivity=0.60, recorded_by="survey"),
    Factor("inactivity", "INACTIVITY", 1.2, 0.30, 0.02, latent="deprivation", sensitivity=0.80, recorded_by="survey"),
    Factor("diabetes", "E11.9", 1.6, 0.17, 0.03, latent="vascular", sensitivity=0.95),
    Factor("pollution", "POLLUTION_HIGH", 1.1, 0.50, latent="deprivation", recorded_by="static"),
    Factor("high_ldl", "E78.0", 1.1, 0.35),
    Factor("vision_loss", "H54", 1.4, 0.10, 0.06, sensitivity=0.60),
    # Kuzma 2018.
    Factor("stroke", "I63.9", 1.7, 0.05, 0.066, latent="vascular", sensitivity=0.90),
    Factor("atrial_fibrillation", "I48.9", 1.3, 0.06, 0.08, latent="vascular"),
    Factor("heart_failure", "I50.9", 1.3, 0.035, 0.118, latent="vascular"),
    # Direction: UK Biobank Dementia Risk Score; size: ours.
    Factor("parental_dementia", "PARENTAL_DEMENTIA", 1.4, 0.18, recorded_by="static"),
)
FACTOR_INDEX = {factor.name: index for index, factor in enumerate(FACTORS)}
FACTOR_AGE = 72.0

# How the outcome is recorded.
HORIZON_YEARS = 5.0
CODED_SHARE, CODING_DELAY_YEARS = 0.80, 0.8
CERTIFICATE_SHARE = 0.25
FALSE_CODES_PER_YEAR = 0.001
LOST_SHARE = 0.02
# Ours: onset is followed from so long before the index, so that disease not yet recorded exists there; people whose
# disease is older are taken to be known and not invited.
BURN_IN_YEARS = 1.0
