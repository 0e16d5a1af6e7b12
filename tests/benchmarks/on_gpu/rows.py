"""Part a1: whether the rows of a batch disturb each other on this device, in four architectures, three precisions."""

import itertools
import time
from collections.abc import Iterator

from benchmarks.on_gpu.bases import four_architectures, random_base, tokenizer
from benchmarks.on_gpu.measuring import Figure, Setting
from workers.contract.answers.proof import RowsTogether
from workers.contract.trial import Precision
from workers.examples.tokenizing.tokens import answer_tokens
from workers.preparing.company import MOST_DISTURBED, try_company

PRECISIONS: tuple[Precision, ...] = ("float32", "tf32", "bfloat16")
IN_ONE_BATCH = {RowsTogether.CACHED, RowsTogether.PADDED}


def rows_together(setting: Setting) -> Iterator[Figure]:
    """The product's own proof on each base: in float32 a batch must be possible, below nothing is claimed."""
    words = tokenizer()
    answer = answer_tokens(words)
    configs = four_architectures(len(words))
    for precision, name in setting.within(itertools.product(PRECISIONS, configs)):
        base = random_base(configs[name], precision=precision, device=setting.device)
        began = time.perf_counter()
        together, tried = try_company(base, words, answer, precision=precision)
        seen = tried[together]
        yield Figure(
            "alone against together",
            f"{name}, {precision}",
            seen.largest,
            "of P(yes)",
            holds=together in IN_ONE_BATCH and seen.largest <= MOST_DISTURBED[precision]
            if precision == "float32"
            else None,
            detail=f"{together}, {seen.n_flipped} of {seen.n_rows} texts flipped, "
            f"{time.perf_counter() - began:.1f} s; tried: "
            + ", ".join(f"{way} {one.largest:.1e}" for way, one in tried.items()),
        )
