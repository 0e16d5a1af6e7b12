"""`sweep base check` on a terminal: what it says of a base."""

import io

from orchestrator.cli.views.base import show_proof
from orchestrator.saying.terminal import Terminal
from workers.contract.answers.proof import BaseProof, Disturbance, RowsTogether

PROOF = BaseProof(
    architecture="mistral",
    n_parameters=1_234_567,
    precision="bfloat16",
    context_tokens=4096,
    template="its tokenizer's chat template",
    begins=("<s>",),
    ends=("</s>", "[/INST]"),
    labels=(" yes", " no"),
    thought="closed",
    lora_targets=("q_proj", "v_proj"),
    together=RowsTogether.PADDED,
    tried={RowsTogether.PADDED: Disturbance(largest=2e-3, n_flipped=1, n_rows=8)},
    gradient=0.5,
    reloaded=0.0,
    seconds=3.2,
)


def test_a_proof_is_a_table_that_a_person_understands() -> None:
    out = io.StringIO()
    show_proof(Terminal(file=out, width=80), "[base]", PROOF, sha256="0f" * 32)
    text = out.getvalue()
    for said in (
        "[base]",
        f"  sha256: {'0f' * 32}\n",  # on one line, as a study file has it
        "mistral, 1,234,567 parameters, bfloat16",
        "4,096 tokens",
        "</s> [/INST]",
        "‹ yes› ‹ no›",
        "q_proj, v_proj",
        "any rows, read by a plain pass: at most 0.002 off a row alone, 1 of 8 written texts differ",
    ):
        assert said in text
