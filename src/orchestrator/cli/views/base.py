"""How `sweep base check` looks on a terminal: what a base is, and what it proved."""

from typing import TYPE_CHECKING

from orchestrator.analysis.wording import ROWS_TOGETHER
from workers.contract.answers.proof import BaseProof

if TYPE_CHECKING:
    from rich.console import Console


def show_proof(console: "Console", name: str, proof: BaseProof, *, sha256: str = "") -> None:
    """A line a fact, under the base's name; first what a study names it by, where that is a digest."""
    from rich.text import Text

    console.print(Text(name, "bold"))
    if sha256:
        console.print(Text(f"  sha256: {sha256}"), soft_wrap=True)
    for what, found in facts(proof):
        console.print(Text(f"  {what:<16}{found}"))


def facts(proof: BaseProof) -> list[tuple[str, str]]:
    """What is said of a base, in words."""
    seen = proof.tried[proof.together]
    flipped = f", {seen.n_flipped} of {seen.n_rows} written texts differ" if seen.n_flipped else ""
    return [
        ("model", f"{proof.architecture}, {proof.n_parameters:,} parameters, {proof.precision}"),
        ("context", f"{proof.context_tokens:,} tokens"),
        ("template", proof.template),
        ("prompts begin", " ".join(proof.begins) or "with the record"),
        ("texts end", " ".join(proof.ends)),
        ("labels", " ".join(f"‹{label}›" for label in proof.labels)),
        ("thoughts", proof.thought),
        ("adapters on", ", ".join(proof.lora_targets)),
        ("scored", f"{ROWS_TOGETHER[proof.together]}: at most {seen.largest:.1g} off a row alone{flipped}"),
        ("adapter", f"a gradient reaches it; stored and loaded again its logits are {proof.reloaded:.1g} off"),
        ("fits", f"proved in {proof.seconds:.1f} s"),
    ]
