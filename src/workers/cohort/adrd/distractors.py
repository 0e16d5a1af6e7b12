"""Common diagnosis codes that bear on nothing in the synthetic cohort, most frequent first; order and names ours."""

_CODES_AND_NAMES = """
Z00.0 check-up; J06.9 cold; M54.5 back pain; Z23 vaccination; M25.5 joint pain; R05 cough; N39.0 urinary infection;
K21.9 reflux; R10.4 belly pain; L30.9 eczema; J20.9 bronchitis; M17.9 knee arthritis; H25.9 cataract; R51 headache;
K59.0 constipation; M79.6 limb pain; J30.9 hay fever; R53 tiredness; H61.2 ear wax; L57.0 sun keratosis;
M75.1 shoulder pain; M54.2 neck pain; E03.9 low thyroid; M16.9 hip arthritis; K29.7 gastritis; I83.9 varicose veins;
R42 dizziness; J45.9 asthma; M81.9 osteoporosis; B35.1 nail fungus; G47.0 sleeplessness; K57.3 diverticulosis;
L82 skin keratosis; R07.4 chest pain; M10.9 gout; H10.9 conjunctivitis; Z02.7 certificate; K64.9 haemorrhoids;
J44.9 lung obstruction; R23.2 flushing; M47.8 spine wear; R06.0 breathlessness; H04.1 dry eyes; K30 indigestion;
L03.9 skin infection; M77.3 heel spur; B02.9 shingles; R60.0 leg swelling; M19.9 arthritis; K80.2 gallstones;
H01.0 eyelid inflammation; R31 blood in urine; E55.9 vitamin D lack; J01.9 sinusitis; L40.9 psoriasis;
N20.0 kidney stones; R35 frequent urination; M65.9 tendon trouble; Z01.0 eye test; G56.0 carpal tunnel; R11 nausea;
J18.9 pneumonia; K40.9 groin hernia; L72.1 skin cyst; S93.4 ankle sprain; H52.4 reading glasses; T14.0 bruise;
R21 rash; K52.9 stomach upset; M70.6 hip bursitis; E04.9 thyroid nodule; N30.9 cystitis; B07 warts;
H81.1 position vertigo; J02.9 sore throat; D22.9 mole; L50.9 hives; S61.9 hand cut; K58.9 irritable bowel;
M72.0 finger contracture; R00.2 palpitations; G43.9 migraine; L60.0 ingrown nail; N32.8 irritable bladder;
H66.9 ear infection; M76.6 heel tendon; Z71.8 travel advice; Z12.1 bowel screening; Z01.2 dental check;
K42.9 navel hernia; D50.9 iron lack; I95.1 low pressure; L08.9 skin sores; H00.0 stye; M62.8 muscle cramps;
R04.0 nosebleed; K44.9 hiatus hernia; M79.1 muscle pain; J34.2 bent septum; L84 corns; S52.5 wrist fracture;
G25.8 restless legs; B35.3 foot fungus; H43.8 eye floaters; R14 bloating; E87.6 low potassium; M51.2 disc trouble;
K76.0 fatty liver; C44.9 skin cancer; L70.9 acne; R50.9 fever; S80.0 knee bruise; S60.0 finger bruise;
J38.0 hoarseness; K12.0 mouth ulcers; L21.9 dandruff; D17.9 fat lump; L85.3 dry skin; M20.1 bunion;
R20.2 pins and needles; Z96.6 joint implant; I73.0 cold fingers; G57.6 foot nerve; K05.1 gum disease; T78.4 allergy;
N18.3 kidney disease; B00.1 cold sores; M35.3 joint stiffness; L65.9 hair loss; S22.3 rib fracture;
E79.0 high urate; R68.2 dry mouth; J31.0 blocked nose; K60.2 anal fissure; H11.0 eye growth; D23.9 skin growth;
K13.0 lip trouble; I80.3 vein clot; N28.1 kidney cyst; L29.9 itching; M67.4 wrist cyst; R61 sweating;
D69.6 low platelets; K22.2 swallowing; G62.9 nerve pain; S83.2 knee injury; L98.9 skin change; J90 lung fluid;
Z95.0 pacemaker; L97 leg ulcer; I71.4 aortic bulge
"""

DISTRACTORS: dict[str, str] = {
    code: name for code, _, name in (entry.strip().partition(" ") for entry in _CODES_AND_NAMES.split(";"))
}
