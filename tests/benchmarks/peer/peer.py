"""A sweep as a competent user writes it in an afternoon; it imports nothing of the product.

Ray Tune, a fresh process a trial; transformers' `Trainer` with peft and DeepSpeed; `generate` for the answers; Ray's
callback for MLflow. A trial is one JSON file of `inputs.py`: token ids, the order of the examples, the settings. What
costs time by default and gives nothing is off, in the peer's favour: the dashboard, progress bars, checkpoints.

Run by `against_peer.py`: `python peer.py INPUTS OUT N_SLOTS`.
"""

import json
import math
import os
import re
import socket
import sys
from pathlib import Path
from typing import Any

DELIMITER_AT_END = re.compile(r"(?:^|\n)\s*Answer: ?$")
ROWS_TOGETHER = 64
DEEPSPEED = {
    "train_batch_size": "auto",
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
    "zero_optimization": {"stage": 0},
    "zero_allow_untested_optimizer": True,
}


def run_trial(config: dict[str, Any]) -> None:
    """Train, score and report one trial."""
    import torch
    from ray import tune
    from sklearn.metrics import roc_auc_score
    from transformers import AutoModelForCausalLM, AutoTokenizer

    given = json.loads(Path(config["trial"]).read_text())
    _join_alone()
    tokenizer = AutoTokenizer.from_pretrained(given["base"])
    model = _train(AutoModelForCausalLM.from_pretrained(given["base"], dtype=torch.float32), tokenizer, given)
    strict, forced = _score(model.eval(), tokenizer, given)
    held_out = [row for row, split in enumerate(given["split"]) if split == "held_out"]
    auc = roc_auc_score(
        [given["label"][row] for row in held_out],
        [strict[row] for row in held_out],
        sample_weight=[given["weight"][row] for row in held_out],
    )
    out = Path(config["out"]) / given["trial_id"]
    model.save_pretrained(out)
    (out / "predictions.json").write_text(json.dumps({"p_strict": strict, "p_forced": forced, "auc": auc}))
    tune.report({"held_out_auc": auc})


def _join_alone() -> None:
    """What a launcher would set for a DeepSpeed of one process."""
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # else it compiles for half a minute
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    alone = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    os.environ.update(alone)


def _train(base: Any, tokenizer: Any, given: dict[str, Any]) -> Any:  # noqa: ANN401  # untyped libraries
    """The base under a trained adapter."""
    import torch
    from peft import LoraConfig, get_peft_model
    from torch.utils.data import SequentialSampler
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    class InOrder(Trainer):  # type: ignore[misc]
        """The rows as they come, and the rate of each step: both as the product has them."""

        def _get_train_sampler(self, *_: object) -> SequentialSampler:
            return SequentialSampler(self.train_dataset)

        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:  # noqa: ANN401
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, rate)
            return self.lr_scheduler

    torch.manual_seed(given["seed"])
    lora = LoraConfig(r=given["rank"], lora_alpha=given["alpha"], target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(base, lora)
    warmup, steps = max(1, round(given["warmup_fraction"] * given["steps"])), given["steps"]

    def rate(step: int) -> float:
        if step < warmup:
            return float((step + 1) / warmup)
        return 0.5 * (1 + math.cos(math.pi * (step + 1 - warmup) / max(1, steps - warmup + 1)))

    arguments = TrainingArguments(
        output_dir=str(Path.cwd() / "trainer"),
        max_steps=steps,
        per_device_train_batch_size=given["batch_size"],
        learning_rate=given["learning_rate"],
        weight_decay=given["weight_decay"],
        max_grad_norm=given["max_grad_norm"],
        seed=given["seed"],
        deepspeed=DEEPSPEED,
        use_cpu=not torch.cuda.is_available(),
        logging_steps=10,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    rows = [given["examples"][row] for row in given["order"]]
    InOrder(
        model=model,
        args=arguments,
        train_dataset=rows,
        data_collator=DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=-100),
    ).train()
    return model


def _score(model: Any, tokenizer: Any, given: dict[str, Any]) -> tuple[list[float], list[float]]:  # noqa: ANN401
    """P(yes) of every prompt, where the model answers by itself and where the answer line is put there for it."""
    import torch

    prompts = given["prompts"]
    strict, forced = [math.nan] * len(prompts), [math.nan] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
    with torch.inference_mode():
        for start in range(0, len(order), ROWS_TOGETHER):
            rows = order[start : start + ROWS_TOGETHER]
            _score_batch(model, tokenizer, given, rows, strict, forced)
    return strict, forced


def _score_batch(
    model: Any,  # noqa: ANN401
    tokenizer: Any,  # noqa: ANN401
    given: dict[str, Any],
    rows: list[int],
    strict: list[float],
    forced: list[float],
) -> None:
    import torch

    answer, prompts = given["answer"], given["prompts"]

    def padded(texts: list[list[int]]) -> dict[str, Any]:
        longest = max(map(len, texts))
        ids = [[answer["end"]] * (longest - len(text)) + text for text in texts]
        mask = [[0] * (longest - len(text)) + [1] * len(text) for text in texts]
        return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}

    def p_yes(logits: Any) -> float:  # noqa: ANN401
        yes, no = (logits[answer[label]].float().logsumexp(-1) for label in ("yes", "no"))
        p: float = torch.sigmoid((yes - no).double()).item()
        return p

    asked = padded([prompts[row] for row in rows])
    written = model.generate(
        **asked,
        do_sample=False,
        max_new_tokens=given["max_new_tokens"] + 2,
        eos_token_id=answer["ends"],
        pad_token_id=answer["end"],
        output_logits=True,
        return_dict_in_generate=True,
    )
    left: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        tokens = written.sequences[place, asked["input_ids"].shape[1] :].tolist()
        at = _label_place(tokens, tokenizer, answer, most=given["max_new_tokens"])
        if at is not None and at < len(tokens):
            forced[row] = p_yes(written.logits[at][place])
            is_valid = tokens[at] in (*answer["yes"], *answer["no"])
            strict[row] = forced[row] if is_valid else given["train_prevalence"]
        else:
            text = _before_end(tokens, answer)[: given["max_new_tokens"]]
            left[row] = [*prompts[row], *text, *(answer["forced"] if text else answer["opening"])]
            strict[row] = given["train_prevalence"]
    if left:
        inputs = padded(list(left.values()))
        positions = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        logits = model(**inputs, position_ids=positions, logits_to_keep=1).logits[:, -1]
        for row, last in zip(left, logits, strict=True):
            forced[row] = p_yes(last)


def _before_end(tokens: list[int], answer: dict[str, Any]) -> list[int]:
    return tokens[: next((at for at, token in enumerate(tokens) if token in answer["ends"]), len(tokens))]


def _label_place(tokens: list[int], tokenizer: Any, answer: dict[str, Any], *, most: int) -> int | None:  # noqa: ANN401
    """Where a label would stand: after an answer line of the model's own; null without one."""
    for at, token in enumerate(_before_end(tokens, answer)[:most]):
        if token in answer["closers"] and DELIMITER_AT_END.search(tokenizer.decode(tokens[: at + 1])):
            return at + 1
    return None


def main(inputs: Path, out: Path, n_slots: int) -> None:
    """Run every trial."""
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    ray.init(address="local", num_cpus=n_slots, include_dashboard=False)
    trials = sorted(str(path) for path in inputs.glob("*.json"))
    mlflow = MLflowLoggerCallback(tracking_uri=f"sqlite:///{out}/mlflow.db", experiment_name="peer")
    tune.Tuner(
        tune.with_resources(run_trial, {"cpu": 1}),
        param_space={"trial": tune.grid_search(trials), "out": str(out)},
        run_config=tune.RunConfig(storage_path=str(out / "tune"), callbacks=[mlflow], verbose=1),
    ).fit()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), int(sys.argv[3]))
