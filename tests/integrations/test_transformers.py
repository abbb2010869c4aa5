"""Hugging Face's Trainer: checkpoints, the best model, logs and ties of a model in mid-stage."""

import re
from pathlib import Path

import pytest
import scripts
import torch
from safetensors import safe_open
from torch import nn

import deepcompression as dc

RECIPE = dc.Recipe.model_validate(
    {
        "version": 1,
        "schedule": {"kind": "gradual", "end": 6, "every": 2},
        "rules": [{"module": "*", "prune": {"density": 0.25}, "share": {"bits": 3}}],
    }
)


class Classifier(nn.Module):
    """A model for Trainer from outside its library."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4))

    def forward(self, inputs, labels):
        logits = self.layers(inputs)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def bert():
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    sizes = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 32, "max_position_embeddings": 8}
    return BertForMaskedLM(BertConfig(**sizes, num_hidden_layers=1, num_attention_heads=2))


def trainer(model, folder, callbacks=(), epochs=3, **options):
    from transformers import Trainer, TrainingArguments

    generator = torch.Generator().manual_seed(0)
    if isinstance(model, Classifier):
        inputs, labels = torch.randn(16, 8, generator=generator), torch.randint(4, (16,), generator=generator)
        data = [{"inputs": x, "labels": y} for x, y in zip(inputs, labels, strict=True)]
    else:
        data = [{"input_ids": row, "labels": row} for row in torch.randint(32, (16, 8), generator=generator)]
    options = {"save_steps": 2, "logging_steps": 2, "learning_rate": 1e-2, "report_to": "none"} | options
    arguments = TrainingArguments(
        folder,
        num_train_epochs=epochs,
        per_device_train_batch_size=4,
        disable_tqdm=True,
        dataloader_pin_memory=False,
        **options,
    )
    return Trainer(model, arguments, train_dataset=data, eval_dataset=data[:4], callbacks=[*callbacks])


def pruned(make, folder, callback=None, recipe=RECIPE, **options):
    from deepcompression.integrations.transformers import CompressionCallback

    model = make()
    pruner = dc.prune(model, recipe)
    return trainer(model, folder, [CompressionCallback(pruner, path="model.dcz"), *(callback or [])], **options), pruner


@scripts.apart
def test_the_best_model_is_never_one_in_mid_schedule(tmp_path):
    evaluations = []

    def score(predictions):
        evaluations.append(len(evaluations))
        return {"score": -evaluations[-1]}

    best = {"eval_strategy": "steps", "eval_steps": 2, "load_best_model_at_end": True, "metric_for_best_model": "score"}
    for resumed in (None, "out/checkpoint-2"):
        evaluations.clear()
        job, pruner = pruned(Classifier, "out", **best)
        job.compute_metrics = score
        job.train(resume_from_checkpoint=resumed)
        # the first after the schedule's end, at 6 of 12 steps
        assert Path(job.state.best_model_checkpoint).name == "checkpoint-6"
        assert pruner.steps == 6
        weight = dc.load_tensors("model.dcz")["layers.0.weight"]
        assert (weight != 0).mean() == 0.25


@scripts.apart
def test_logs_have_density_and_steps_for_callbacks_that_come_later(tmp_path):
    from transformers import TrainerCallback

    seen = []

    class Tracker(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            seen.append(dict(logs))

    job, _ = pruned(Classifier, "out", [Tracker()])
    job.train()
    for record in (seen, job.state.log_history):
        assert [logs["pruner_steps"] for logs in record] == [2, 4, 6, 8, 10, 12, 12]
        densities = [logs["density"] for logs in record]
        assert densities[0] > densities[1] > densities[2] == densities[-1] == 0.25


@scripts.apart
def test_checkpoints_of_another_stage_are_refused_by_name(tmp_path):
    from deepcompression.integrations.transformers import CompressionCallback

    trainer(Classifier(), "plain").train()
    job, _ = pruned(Classifier, "pruned")
    with pytest.raises(ValueError, match=r"layers\.0\.weight is plain in the checkpoint, pruned in the model"):
        job.train(resume_from_checkpoint="plain/checkpoint-2")
    job.train()
    dc.share(job.model, RECIPE)
    shared = trainer(job.model, "shared", [CompressionCallback()])
    with pytest.raises(ValueError, match=r"layers\.0\.weight is pruned in the checkpoint, shared in the model"):
        shared.train(resume_from_checkpoint="pruned/checkpoint-2")


@scripts.apart
def test_tied_weights_stay_tied_and_come_back_plain(tmp_path):
    from transformers import BertForMaskedLM

    from deepcompression.integrations.transformers import CompressionCallback

    job, _ = pruned(bert, "pruned")
    job.train()
    with safe_open("pruned/checkpoint-2/model.safetensors", "pt") as file:
        names: list[str] = file.keys()
    masks = [name for name in names if name.endswith("weight.0.mask") and "attention" not in name]
    assert sum("decoder" in name or "word_embeddings" in name for name in masks) == 1
    whole = Path("model.dcz").read_bytes()
    job, pruner = pruned(bert, "pruned")
    job.train(resume_from_checkpoint="pruned/checkpoint-2")
    assert pruner.steps == 12
    assert Path("model.dcz").read_bytes() == whole
    dc.share(job.model, RECIPE)
    shared = trainer(job.model, "shared", [CompressionCallback(path="model.dcz")])
    shared.train()
    model = dc.finalize(shared.model)
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
    model.save_pretrained("plain")
    back, loaded = BertForMaskedLM.from_pretrained("plain"), dc.load("model.dcz", into=bert())
    for name, value in back.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name
    assert len(model.bert.embeddings.word_embeddings.weight.unique()) <= 9


@scripts.apart
def test_compiled_models_give_the_same_file(tmp_path):
    files = []
    for compiled in (False, True):
        job, _ = pruned(
            Classifier, f"out-{compiled}", torch_compile=compiled, torch_compile_backend="eager" if compiled else None
        )
        job.train()
        files.append(Path("model.dcz").read_bytes())
    assert files[0] == files[1]
    job, pruner = pruned(Classifier, "out-True", torch_compile=True, torch_compile_backend="eager")
    job.train(resume_from_checkpoint="out-True/checkpoint-4")
    assert pruner.steps == 12
    assert Path("model.dcz").read_bytes() == files[0]


@scripts.apart
def test_a_training_shorter_than_the_schedule_is_warned_of_at_the_beginning(tmp_path):
    job, _ = pruned(Classifier, "out", epochs=1)
    with pytest.warns(UserWarning, match="the training has 4 steps left, the schedule 6"):
        job.train()


@scripts.apart
def test_the_page_runs_as_printed(tmp_path):
    from transformers import Trainer, TrainingArguments

    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    (block,) = re.findall(r"```python\n(from deepcompression\.integrations.*?)```", text, re.S)
    model, data = Classifier(), trainer(Classifier(), "out").train_dataset
    names = {"dc": dc, "model": model, "recipe": RECIPE, "Trainer": Trainer, "data": data}
    names["arguments"] = TrainingArguments("out", max_steps=6, dataloader_pin_memory=False, report_to="none")
    exec(block, names)
    assert torch.equal(dc.load("model.dcz", into=Classifier()).layers[0].weight, model.layers[0].weight)


@scripts.apart
def test_a_checkpoint_of_another_schedule_is_refused_before_a_step_is_taken(tmp_path):
    job, _ = pruned(Classifier, "out")
    job.train()
    other = RECIPE.model_copy(update={"schedule": dc.Gradual(end=8)})
    job, _ = pruned(Classifier, "out", recipe=other)
    with pytest.raises(ValueError, match=r"layers\.0\.weight was pruned by another recipe"):
        job.train(resume_from_checkpoint="out/checkpoint-2")
    assert job.state.global_step == 2
