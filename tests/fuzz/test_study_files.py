"""Study files and mappings: read or refused, whatever stands in them."""

import json
from pathlib import Path

import pytest
from hypothesis import strategies as st

from fuzz.conftest import Fuzz
from orchestrator.design.grid import MAX_TRIALS, expand
from orchestrator.design.places import n_places
from orchestrator.study.cohort import load_study_cohort
from orchestrator.study.study import load_study
from orchestrator.study.text.source import read_source
from support.cohorts.tables import DIGEST, LONG, WIDE
from support.fuzz.mutations import Draft, drafts, either, spoiled_bytes
from support.places import DATA

# Designs of more trials are counted; to make them all takes a second a thousand.
MOST_MADE = 300
STUDY = f"""\
study: small
question: Does it read?
cohort: {{source: framingham, file: people.csv, sha256: {"0f" * 32}, min_cell: 5}}
bases:
  tiny: {{kind: builtin, recipe: tiny_llama}}
  own: {{kind: folder, folder: model, sha256: {"1a" * 32}, label_spellings: [[" yes", " no"]], bos: true}}
axes:
  supervision: [label_only, free_form]
  base: [tiny, own]
  train_size: [64, 128]
  learning_rate: [1e-4]
  seed: [11]
training: {{steps: 20, batch_size: 8}}
controls: [age_sex]
contrasts:
  r: {{treatment: [free_form], reference: label_only, where: {{base: [tiny]}}}}
resources: {{gpus_per_trial: 1}}
"""
FEW_SHOT = f"""\
study: shots
question: q
cohort: {{source: meds, folder: m, labels: l.parquet, question: q, sha256: {"0f" * 32}, min_cell: 0}}
prompt: {{template: history, max_words: 90}}
teacher: {{kind: endpoint, model: m, max_words: 40}}
endpoint: {{base_url: http://127.0.0.1:8000/v1}}
bases: {{h: {{kind: hub, id: a/b, revision: resolve}}}}
few_shot: {{base: [h], shots: [2], shows: [none, label], inference: [direct], order_seed: [1]}}
"""
COHORTS = [
    {"cohort": {"source": "table", "file": "t.csv", "sha256": DIGEST, "min_cell": 5, "mapping": mapping}}
    for mapping in (
        WIDE,
        LONG,
        LONG | {"index": {"rule": "fixed_time", "time": "2010-01-01"}, "forbidden": ["X"], "missing": ["NA"]},
        WIDE | {"exclusions": [{"column": "a", "equals": 1, "reason": "r"}], "clock": "dates", "themes": ["history"]},
    )
]


@pytest.fixture
def path(folder: Path) -> Path:
    return folder / "study.yaml"


def look(path: Path) -> None:
    study = load_study(path)
    if not MOST_MADE <= n_places(study) <= MAX_TRIALS:
        expand(study)


def test_a_study_file_is_read_or_refused(fuzzed: Fuzz, path: Path) -> None:
    texts = [STUDY.encode(), FEW_SHOT.encode()]
    values = []
    for text in texts:
        path.write_bytes(text)
        look(path)
        values.append(read_source(path).data)

    def read(draft: Draft) -> None:
        which, changes = draft
        if len(changes) % 2:
            path.write_bytes(spoiled_bytes(texts[which], changes))
        else:
            path.write_bytes(either(values, _as_json, draft))
        look(path)

    seen = fuzzed("study YAML", drafts(len(texts)), read)
    assert seen.n_read > seen.n_inputs / 100


def test_a_mapping_is_read_or_refused(fuzzed: Fuzz, path: Path) -> None:
    example = (DATA / "framingham-mapping.yaml").read_bytes()
    for cohort in COHORTS:
        path.write_bytes(_as_json(cohort))
        load_study_cohort(path)

    def read(draft: Draft) -> None:
        which, changes = draft
        document = spoiled_bytes(example, changes) if which == len(COHORTS) else either(COHORTS, _as_json, draft)
        path.write_bytes(document)
        load_study_cohort(path)

    seen = fuzzed("mapping", drafts(len(COHORTS) + 1), read)
    assert seen.n_read > seen.n_inputs / 100


def test_any_text_at_all_is_read_or_refused(fuzzed: Fuzz, path: Path) -> None:
    def read(text: str) -> None:
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        load_study(path)

    fuzzed("any text as a study", st.text(), read)


def _as_json(value: object) -> bytes:
    return json.dumps(value).encode()
