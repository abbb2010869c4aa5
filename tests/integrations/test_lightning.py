"""Lightning's Trainer: steps of several optimizers, checkpoints of another stage, logs, compiled modules."""

import csv
from pathlib import Path

import pytest
import scripts
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import deepcompression as dc

RECIPE = dc.Recipe.model_validate(
    {
        "version": 1,
        "schedule": {"kind": "gradual", "end": 6, "every": 2},
        "rules": [{"type": "Linear", "prune": {"density": 0.25}, "share": {"bits": 3}}],
    }
)


def classifier(optimizers=1):
    import lightning

    class Classifier(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4))
            self.automatic_optimization = optimizers == 1

        def training_step(self, batch, index):
            inputs, labels = batch
            loss = nn.functional.cross_entropy(self.layers(inputs), labels)
            if not self.automatic_optimization:
                self.manual_backward(loss)
                for optimizer in self.optimizers():
                    optimizer.step()
                    optimizer.zero_grad()
            return loss

        def validation_step(self, batch, index):
            return self.training_step(batch, index) if self.automatic_optimization else None

        def configure_optimizers(self):
            parts = [self.layers] if optimizers == 1 else [self.layers[0], self.layers[2]]
            return [torch.optim.SGD(part.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1) for part in parts]

    return Classifier()


def batches():
    generator = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(32, 8, generator=generator), torch.randint(4, (32,), generator=generator)
    return DataLoader(TensorDataset(inputs, labels), 4)


def trainer(folder, callback, epochs=2, **options):
    import lightning
    from lightning.pytorch.callbacks import ModelCheckpoint

    return lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[callback, ModelCheckpoint(folder, filename="{epoch}", save_top_k=-1)],
        **({"logger": False} | options),
    )


def callback(*arguments, **options):
    from deepcompression.integrations.lightning import CompressionCallback

    return CompressionCallback(*arguments, **options)


@scripts.apart
def test_with_several_optimizers_the_pruner_moves_once_a_batch(tmp_path):
    model = classifier(optimizers=2)
    pruner = dc.prune(model, RECIPE)
    job = trainer("out", callback(pruner))
    job.fit(model, batches(), batches())
    assert job.global_step == 32
    assert pruner.steps == 16


@scripts.apart
def test_logs_have_density_and_steps(tmp_path):
    from lightning.pytorch.loggers import CSVLogger

    model = classifier()
    pruner = dc.prune(model, RECIPE)
    log = CSVLogger(".", name="", version="log")
    trainer("out", callback(pruner), epochs=1, logger=log, log_every_n_steps=2).fit(model, batches(), batches())
    with Path("log/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["pruner_steps"]) for row in rows] == [2, 4, 6, 8]
    densities = [float(row["density"]) for row in rows]
    assert densities[0] > densities[1] > densities[2] == densities[3] == 0.25


@scripts.apart
def test_checkpoints_of_another_stage_are_refused_by_name(tmp_path):
    model = classifier()
    trainer("plain", callback()).fit(model, batches(), batches())
    pruner = dc.prune(model, RECIPE)
    with pytest.raises(ValueError, match=r"layers\.0\.weight is plain in the checkpoint, pruned in the model"):
        trainer("pruned", callback(pruner)).fit(model, batches(), batches(), ckpt_path="plain/epoch=0.ckpt")
    trainer("pruned", callback(pruner)).fit(model, batches(), batches())
    dc.share(model, RECIPE)
    with pytest.raises(ValueError, match=r"layers\.0\.weight is pruned in the checkpoint, shared in the model"):
        trainer("shared", callback()).fit(model, batches(), batches(), ckpt_path="pruned/epoch=0.ckpt")


@scripts.apart
def test_validation_alone_moves_and_writes_nothing(tmp_path):
    model = classifier()
    pruner = dc.prune(model, RECIPE)
    trainer("out", callback(pruner, path="model.dcz")).validate(model, batches(), verbose=False)
    assert pruner.steps == 0
    assert not Path("model.dcz").exists()


@scripts.apart
def test_compiled_modules_and_those_killed_in_mid_schedule_give_the_same_file(tmp_path):
    files = []
    for compiled, resumed in ((False, None), (True, None), (True, "True/epoch=0.ckpt")):
        model = classifier()
        pruner = dc.prune(model, RECIPE)
        module = torch.compile(model, backend="eager") if compiled else model
        trainer(str(compiled), callback(pruner, path="model.dcz")).fit(module, batches(), batches(), ckpt_path=resumed)
        assert pruner.steps == 16
        files.append(Path("model.dcz").read_bytes())
    assert files[0] == files[1] == files[2]
    back = dc.load("model.dcz", into=classifier())
    assert torch.equal(back.layers[0].weight, model.layers[0].weight)


@scripts.apart
def test_a_training_shorter_than_the_schedule_is_warned_of_at_the_beginning(tmp_path):
    model = classifier()
    pruner = dc.prune(model, RECIPE)
    with pytest.warns(UserWarning, match="the training has 4 steps left, the schedule 6"):
        trainer("out", callback(pruner), epochs=1, accumulate_grad_batches=2).fit(model, batches(), batches())
    assert pruner.steps == 4


@scripts.apart
def test_a_checkpoint_of_another_schedule_is_refused_before_a_step_is_taken(tmp_path):
    model = classifier()
    trainer("out", callback(dc.prune(model, RECIPE))).fit(model, batches(), batches())
    model = classifier()
    pruner = dc.prune(model, RECIPE.model_copy(update={"schedule": dc.Gradual(end=8)}))
    job = trainer("out", callback(pruner))
    with pytest.raises(ValueError, match=r"layers\.0\.weight was pruned by another recipe"):
        job.fit(model, batches(), batches(), ckpt_path="out/epoch=0.ckpt")
    assert job.global_step == 8
