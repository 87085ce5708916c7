"""Wrong commands: each ends in one line with exit code 2, and leaves nothing behind."""

import contextlib
import importlib
import io
import shutil
import socket
import sys
import tarfile

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from experiments import command_line

DATA = "tests/old_runs/digits.npz"
_TRAIN = (
    f"--workdir={{t}}/new --config=configs/vanilla.py --config.data.name={DATA} "
    "--config.data.train_split=train[:96] --config.data.validation_split= --config.batch_size=16 "
)
_CARD = "--workdir={t}/new --card=iwae_mnist_1layer "
_SWEEP = "--sweep={t}/grid.py "
# What a command needs beside --workdir, and nothing is wrong with.
_OF_A_RUN = {
    "compress": "--output={t}/a.vae",
    "decompress": "--input={t}/text --output={t}/a.npy",
    "detect": "--input={t}/images.npy --output={t}/a.csv",
    "draw": "",
    "edit": "--attribute=slant --output={t}/a.npy",
    "evaluate": "",
    "export": "--output={t}/a.safetensors",
    "impute": "--input={t}/holes.csv --output={t}/a.csv",
    "map": "",
    "sample": "--output={t}/a.npy",
}
_NO_RUNS = (
    *("{t}/nowhere", "{t}/empty", "{t}/text", "{t}/sweep", "{t}/vanilla", "/dev/null"),
    "x" * 300,
    "/x" * 3000,
)
_NO_IMAGES = (
    *("nowhere.npy", "text", "empty", "shape.npy", "nan.npy", "texts.npy", "none.npy"),
    *("complex.npy", "integers.npy", "large.npy", "number.npy", "two.npz", "zero.npy", "noise.npy"),
    *("objects.npy", "pickle.npz"),
)
_NO_OUTPUTS = ("", "{t}/nowhere/a.npy", "{t}/empty", "{t}/a", "{t}/a.png", "x" * 300 + ".npy")

# A command and its wrong arguments, a line each, after those that are right.
WRONG = {
    ("bundle", "--workdir={t}/new --output={t}/empty "): """
        --models=x
        --models=vanila
        --config={t}/text
        --config=configs/vanilla.py
        --config.x=3
        --config.epochs=0
        --output=
        --output={t}/text
        --output={t}/nowhere/new
        --workdir=
        junk
    """,
    ("classifier", f"--workdir={{t}}/new --data={DATA} "): """
        --data=x
        --data=
        --data=nothing:x
        --data={t}/nowhere.npz
        --data=nowhere/to/be/found
        --train_split=x
        --train_split=
        --train_split=test
        --train_split=train[:0]
        --train_split=train[:9999]
        --test_split=train[50:]
        --test_split=test[:0]
        --factor=x
        --epochs=0
        --epochs=-1
        --epochs=a
        --epochs=1e3
        --epochs=99999999999
        --seed=-1
        --seed=4294967296
        --seed=1.5
        --seed=99999999999999999999
        --seed=nan
        --workdir=
        --workdir={t}/text
        --workdir={t}/text/below
        --nonsense
        junk
    """,
    ("compare", "--output={t}/new "): """
        --workdirs=
        --workdirs={run} --output=
        --workdirs={run} --output={t}/text
        --workdirs={run} --output={t}/text/below
        --workdirs={run},{run}
        --workdirs={run},{run} --names=a,a
        --workdirs={run},{run} --names=a
        --workdirs={run} --names=a,b
        --workdirs={t}/nowhere
        --workdirs={t}/sweep
        --workdirs={several}
        --workdirs={run}
    """.replace("--workdirs={run}\n", "\n"),
    ("compress", "--workdir={run} "): """
        --output=
        --output={t}/nowhere/a.vae
        --input={t}/images.npy --output={t}/images.npy
        --output={t}/a.vae --member=0
        --output={t}/a.vae --nonsense=1
        --output={t}/a.vae --workdir={several}
    """,
    ("export", "--workdir={run} --output={t}/a.onnx "): """
        --output=
        --output={t}/a.npz
        --output={t}/a
        --output={t}/nowhere/a.stablehlo
        --output=hf://
        --output=hf://name
        --output=hf://user/name@main
        --member=0
        --workdir={several}
        --workdir={t}/nowhere
        --workdir=hf://user/name
        junk
    """,
    ("impute", "--workdir={run} --input={t}/holes.csv --output={t}/a.csv "): """
        --multiple=-1
        --multiple=1001
        --multiple=a
        --num_samples=0
        --num_samples=1000001
        --input=
        --output=
        --output={t}/a.npy
        --output={t}/holes.csv
        --seed=-1
        --workdir={several}
        --workdir={autoencoder}

    """,
    ("detect", "--workdir={run} --input={t}/images.npy --output={t}/a.csv "): """
        --false_positive_rate=nan
        --false_positive_rate=0
        --false_positive_rate=1
        --false_positive_rate=-1
        --false_positive_rate=inf
        --false_positive_rate=a
        --score=x
        --score=
        --score=elbo,elbo
        --output={t}/a.npy
        --input=
    """,
    ("disentanglement", _TRAIN + _SWEEP): """
        --sweep=
        --sweep={t}/nowhere.py
        --config.evaluation.disentanglement=False
        --config.evaluation.disentanglement=True
        --config.evaluation.disentanglement=maybe
        --workdir={run} --config.evaluation.disentanglement=True
    """,
    ("draw", "--workdir={run} "): """
        --degrees=nan
        --degrees=
        --degrees=a
        --degrees=0,,1
        --degrees=0,inf
        --degrees=1e39
        --degrees=-1e7
        --workdir={stopped}
    """,
    ("edit", "--workdir={run} --output={t}/a.npy --attribute=slant "): """
        --degree=nan
        --degree=inf
        --degree=a
        --degree=1e39
        --attribute=
        --attribute=nose
        --attribute=7-7
        --attribute=77
        --attribute=-1
        --attribute=4-
        --attribute=4-9-2
        --attribute=1.5
        --attribute=²
        --method=x
    """,
    ("evaluate", "--workdir={run} "): """
        --num_samples=0
        --num_samples=-1
        --num_samples=a
        --num_samples=1e3
        --num_samples=
        --num_samples=nan
        --num_samples=1000000001
        --num_samples=9
    """,
    ("explore", "--workdir={run} "): """
        --workdir=
        --workdir={t}/nowhere
        --workdir={t}/empty
        --workdir={t}/text
        --workdir=/dev/null
        --workdir={several}
        --workdir={t}/sweep --member=99
        --workdir={t}/sweep --member=-1
        --workdir={untrained}
        --workdirs={run}
        --workdir= --workdirs={run},{run}
        --workdir= --workdirs={run},{t}/nowhere
        --workdir= --workdirs={t}/sweep
        --member=0
        --port=-1
        --port=65536
        --port=a
        --port={port}
        --export=
        --export={t}/a.png
        --export={t}/a
        --export={t}/nowhere/a.html
        --export={t}/a.html --workdir={t}/sweep
        --export={t}/a.html --workdir={several}
        --export={t}/a.html --workdirs={run}
        --export={t}/a.html --workdir={untrained}
        junk
    """,
    ("export", "--workdir={run} "): """
        --output=
        --output={t}/a.pkl
        --output={t}/nowhere/a.safetensors
        --output={t}/text/a.safetensors
        --workdir={stopped}/checkpoints --output={t}/a.safetensors
    """,
    ("map", "--workdir={run} "): """
        --methods=x
        --methods=PCA
        --methods=pca,x
        --methods=pca,,tsne
        --projector=3
        --workdir={several}
    """,
    ("measure", "--workdirs={run} "): """
        --use=x
        --use=
        --use=recovery --workdirs=
        --use=recovery --workdirs={t}/nowhere
        --use=recovery --workdirs={t}/sweep
        --use=recovery --workdirs={run},{run}
        --use=recovery --num_draws=1
        --use=recovery --num_test_examples=1
        --use=recovery --num_test_examples=a
        --use=recovery --num_chosen=0
        --use=recovery --classifier=x
        --use=compression --workdirs={several}
        --use=generation
        --use=generation --classifier={t}/nowhere
        --use=generation --classifier={run}
        --use=generation --classifier={run} --temperatures=
        --use=generation --classifier={run} --temperatures=-1
        --use=generation --classifier={run} --temperatures=a
        --use=editing --classifier=x
        --use=editing --change=slant
        --use=factor_editing
        --use=factor_editing --change=slant
        --use=factor_editing --classifiers={t}/empty
        --use=editing --workdirs={several}
        --use=multimodal
        --use=representation --num_draws=0
        --use=representation --workdirs={several}
        --use=anomaly --output={t}/text
        --use=anomaly --workdirs={several}
        --use=disentanglement
    """,
    ("prepare", "--data_dir={t}/new "): """
        --name=x
        --name=
        --name=mnist --source={t}/nowhere
        --name=mnist --source={t}/empty
        --name=mnist --source={t}/text
        --name=mnist --source=ftp://x
        --name=mnist --source=file:///nowhere
        --name=mnist --source=http://
        --name=mnist --source=http://[::1
        --name=mnist --source=http://127.0.0.1:9
        --name=mnist --image_size=3
        --name=mnist --num_examples=3
        --name=mnist --without_label=-1
        --name=mnist --without_label=a
        --name=mnist --without_label=1 --source=x
        --name=fashion_mnist --without_label=1
        --name=sprites --source=x
        --name=sprites --without_label=3
        --name=sprites --image_size=-1
        --name=sprites --image_size=1
        --name=sprites --image_size=99999999
        --name=sprites --num_examples=-1
        --name=sprites --num_examples=999999999
        --name=sprites --num_examples=a
        --name=avatars --source=x
        --name=avatars --without_label=1
        --name=avatars --image_size=16
        --name=avatars --image_size=257
        --name=avatars --num_examples=-1
        --name=avatars --num_examples=40001
        --name=mnist --source={t}/empty --data_dir={t}/text
        junk
    """,
    ("report", ""): """
        junk
        --check=3
        --nonsense
    """,
    ("reproduce", _CARD): """
        --card=
        --card=x
        --card=iwae_mnist_1layer,x
        --card={t}/text
        --card={t}/nowhere.py
        --card={t}/raises.py
        --card={t}/exits.py
        --card={t}/binary.py
        --card={t}/none.py
        --card=configs/vanilla.py
        --rows=x
        --rows=vae_1 --card=all
        --seeds=0
        --seeds=-1
        --seeds=99999999999
        --seeds=a
        --budget=x
        --executor=x
        --executor=processes --num_workers=0
        --num_workers=3
        --ray_address=x
        --workdir={t}/text
        --results={t}/text
    """,
    ("runs", ""): """
        --folder={t}/nowhere
        --folder={t}/text
        --folder={t}/empty
        --folder=
        --folder=/dev/null
        --folder=LONG
        --workdir={run}
        junk
    """,
    ("sample", "--workdir={run} --output={t}/a.npy "): """
        --num_images=0
        --num_images=-1
        --num_images=a
        --num_images=1e3
        --num_images=100000000000
        --temperature=-1
        --temperature=nan
        --temperature=inf
        --temperature=a
        --sampler=x
        --sampler=
        --sampler=prior,flow
        --condition=7
        --condition=a
        --condition=7 --sampler=mixture
        --condition=age:40,sex:f
        --condition=0.5,1
        --condition=
        --seed=-1
        --seed=4294967296
        --seed=99999999999999999999
        --seed=a
        --workdir={several}
        --workdir={autoencoder}
    """,
    ("settings", ""): """
        --of=x
        --of=
        --of=..
        --of=objective.x
        --of=objective.elbo.x
        --of=data.name.x
        --of=os:path
        --of=objective.os:path
        --markdown=3
        junk
    """,
    ("sweep", _TRAIN + _SWEEP): """
        --sweep=
        --sweep=x
        --sweep={t}/text
        --sweep={t}/empty
        --sweep={t}/raises.py
        --sweep={t}/exits.py
        --sweep={t}/binary.py
        --sweep={t}/none.py
        --trials=3
        --trials=0
        --batch=0
        --batch=-1
        --batch=a
        --memory_limit=3
        --memory_limit=-3GiB
        --memory_limit=0GiB
        --memory_limit=1KiB
        --storage=x
        --study=x
        --reclaim_after=-1
        --reclaim_after=nan
        --reclaim_after=inf
        --reclaim_after=5
        --executor=x
        --executor=processes --num_workers=0
        --executor=processes --num_workers=-1
        --num_workers=0
        --ray_address=x
        --init_from=x
        --log=x
        --workdir=
        --workdir={run}
        --workdir={t}/sweep
        --workdir={t}/text
        --config=
        --config.epochs=0
        --config.data.name=x
        --config.data.mode=stream
        --config.batch_size=1000
    """,
    ("train", _TRAIN): """
        --num_processes=2
        --process_id=0
        --parallel=x
        --num_devices=0
        --num_devices=-1
        --num_devices=9999
        --num_devices=a
        --num_devices=3
        --num_devices=3 --parallel=pmap
        --profile=3
        --init_from=x
        --init_from={t}/empty
        --init_from={t}/text
        --init_from={t}/sweep
        --init_from={run}
        --init_from={autoencoder}
        --init_from={run} --workdir={run}
        --config.init_from=x
        --config.init_from.workdir={run}
        --config.init_from.step=-1
        --log=x
        --log=tensorboard
        --log=mlflow,x
        --log=wandb,wandb
        --config=
        --config=x
        --config={t}/empty
        --config={t}/text
        --config={t}/raises.py
        --config={t}/exits.py
        --config={t}/binary.py
        --config={t}/none.py
        --config
        --workdir
        --workdir=
        --workdir={t}/sweep
        --workdir={t}/text
        --workdir=/proc/x
        --workdir=/dev/null/x
        --config.
        --config.=3
        --config..x=3
        --config.data..x=3
        --config.schema=99
        --config.name=x
        --config.model.name=x
        --config.model={'name'
        --config.model={'name':'vae','x':3}
        --config.model=:x
        --config.model=vae:
        --config.model=os.path:join
        --config.model=vq_vae
        --config.model=vae_gan
        --config.model=top_down --config.model.channels=(4,4,4,4)
        --config.model=top_down --config.model.channels=()
        --config.model=top_down --config.model.layers=0
        --config.model=top_down --config.model.width=0
        --config.objective.free_nats_per=layer
        --config.optimizer.gradient_skip_norm=-1
        --config.model=m2
        --config.model=m2 --config.data.labelled=9
        --config.model=m2 --config.data.labelled=97
        --config.model.condition=x
        --config.model.condition=label --config.model.condition.classes=3
        --config.model.condition=label --config.data.labelled=10
        --config.model.condition=quadrants --config.model.condition.seen=0
        --config.model.condition=quadrants --config.objective=elbo
        --config.model.condition=columns
        --config.model.condition=columns --config.model.condition.columns=('age','age')
        --config.model.condition=columns --config.model.condition.columns=('age',)
        --config.model.condition=array
        --config.model.condition=array --config.model.prior=mixture
        --config.objective=m2
        --config.objective=cvae
        --config.data.labelled=-1
        --config.model=code_prior
        --config.model=code_prior --config.model.first_stage=x
        --config.model=code_prior --config.model.first_stage={run}
        --config.model=code_prior --config.model.first_stage=3
        --config.model.latent_size=True
        --config.model.latent_size=None
        --config.model.latent_size=1000000000
        --config.model.latent_size=1000000000000
        --config.model.latent_size=NINES
        --config.model.widths=400
        --config.model.encoder.widths=400
        --config.model.encoder.widths=
        --config.model.encoder.widths=4,a
        --config.model.encoder.widths=[4,'a']
        --config.model.encoder.widths=((4,),)
        --config.model.encoder.widths=(0,)
        --config.model.encoder.widths=(True,)
        --config.model.encoder.widths=(1e3,)
        --config.model.encoder.widths={}
        --config.model.encoder.widths=(100000000,100000000)
        --config.model.encoder.widths=(99999999999999999999,)
        --config.model.prior=x
        --config.model.prior=vamp --config.model.prior.components=0
        --config.model.prior=flow --config.model.prior.layers=1000000
        --config.model.likelihood=x
        --config.model.likelihood=normal
        --config.model.posterior=x
        --config.model.posterior=iaf --config.model.posterior.layers=0
        --config.seed=-1
        --config.seed=4294967296
        --config.seed=1.0
        --config.seed=None
        --config.epochs=inf
        --config.epochs=1e3
        --config.epochs=2000000000
        --config.epochs=100000000000000000000
        --config.batch_size=0
        --config.batch_size=97
        --config.batch_size=1 --config.objective=tc
        --config.batch_size=1 --config.objective=factor
        --config.batch_size=1 --config.objective=dip
        --config.batch_size=1 --config.objective=info
        --config.steps_per_call=0
        --config.patience=-1
        --config.patience=1
        --config.patience=1.5
        --config.optimizer.learning_rate=0
        --config.optimizer.learning_rate=-1
        --config.optimizer.learning_rate=nan
        --config.optimizer.learning_rate=inf
        --config.optimizer.learning_rate=a
        --config.optimizer.learning_rate=(1,)
        --config.optimizer=sgd --config.optimizer.b1=3
        --config.optimizer.b1=1
        --config.optimizer.gradient_clip_norm=-1
        --config.checkpoints.every_seconds=-1
        --config.checkpoints.every_seconds=nan
        --config.checkpoints.max_to_keep=0
        --config.tensorboard.images_every_epochs=-1
        --config.evaluation.num_samples=1000000001
        --config.evaluation.batch_size=0
        --config.evaluation.seed=-1
        --config.evaluation=x
        --config.objective=mvae
        --config.objective.name=
        --config.objective=iwae --config.objective.num_samples=0
        --config.objective=iwae --config.objective.num_samples=1.5
        --config.objective.warmup_epochs=-1
        --config.objective.warmup_epochs=nan
        --config.objective=capacity --config.objective.capacity=-1
        --config.corruption=x
        --config.corruption=gaussian --config.corruption.level=-1
        --config.corruption=masking --config.corruption.level=nan
        --config.data.name=/nowhere.npz
        --config.data.name=/nowhere
        --config.data.name={t}/empty
        --config.data.name={t}/text
        --config.data.name={t}/images.npy
        --config.data.name={t}/two.npz
        --config.data.name={t}/pickle.npz
        --config.data.name=LONG
        --config.data.name=os:path
        --config.data.name=os:listdir
        --config.data.name=nothing:x
        --config.data.name=mnist/x
        --config.data.image_size=3
        --config.data.image_size=-1
        --config.data.train_split=train[::2]
        --config.data.train_split=train[:200%]
        --config.data.train_split=train[5]
        --config.data.train_split=train[:1e3]
        --config.data.train_split=train[:99999]
        --config.data.test_split=train
        --config.data.test_split=
        --config.data.binarization=x
        --config.data.binarization=static --config.data.binarization.seed=-1
        --config.data.mode=x
        --config.data.mode=render
        --config.data.mode=stream --config.data.binarization=static
        --config.data.mode.memory_limit=0
        --config.data.mode.memory_limit=nan
    """,
    ("zoo", "--workdir={t}/new "): """
        --families=x
        --datasets=x
        --datasets=
        --seeds=0
        --seeds=-1
        --seeds=a
        --config=x
        --config=configs/vanilla.py
        --config={t}/text
        --config={t}/raises.py
        --config={t}/none.py
        --config.epochs=0
        --config.x=3
        --executor=x
        --num_workers=3
        --families=vae --datasets=mnist --config.data.train_split=x
        --families=vae --datasets=tests/old_runs/digits.npz --config.batch_size=99999
        junk
    """,
}
# Sweeps that cannot work, as expressions.
_SWEEPS = (
    *("None", "3", "1 / 0", "space.grid({{}})", "space.grid({{'x': (1,)}})"),
    "space.grid({{'objective.beta': ()}})",
    "space.grid({{'objective.beta': 3}})",
    "space.grid({{'objective.beta': (-1,)}})",
    "space.grid({{'objective.beta': ('a',)}})",
    "space.grid({{'objective.beta': (1, 1)}})",
    "space.grid({{'objective.beta': (1,)}}, seeds=())",
    "space.grid({{'objective.beta': (1,)}}, seeds=(1, 1))",
    "space.grid({{'objective.beta': (1,)}}, seeds=(-1,))",
    "space.grid({{'seed': (1, 2)}})",
    "space.grid({{'batch_size': (10, 1000)}})",
    "space.grid({{'data.name': ('x', 'y')}})",
    "space.tpe({{'objective.beta': space.Uniform(1, 0)}}, num_trials=3)",
    "space.tpe({{'objective.beta': space.Uniform(0, 1, log=True)}}, num_trials=3)",
    "space.tpe({{'objective.beta': space.Uniform(1, 2)}}, num_trials=0)",
    "space.random({{'objective.beta': space.Uniform(float('nan'), 2)}}, num_trials=3)",
)


def _commands():
    """Yield the name and the arguments of each wrong command."""
    for name, right in _OF_A_RUN.items():
        yield name, ""
        for workdir in _NO_RUNS:
            yield name, f"--workdir={workdir} {right}"
        for rest in ("--member=99", "--member=-1", "--member=a"):
            yield name, f"--workdir={{t}}/sweep {rest} {right}"
        yield name, f"--workdir={{run}} {right} --member=0"
        yield name, f"--workdir={{run}} {right} junk"
        yield name, f"--workdir={{run}} {right} --nonsense"
    for name in ("compress", "decompress", "detect", "edit"):
        # All commands read images by the same function.
        for file in _NO_IMAGES if name == "compress" else _NO_IMAGES[:4]:
            yield name, f"--workdir={{run}} {_OF_A_RUN[name]} --input={{t}}/{file}"
    for output in _NO_OUTPUTS:
        for name in ("decompress", "detect", "edit", "sample"):
            yield name, f"--workdir={{run}} {_OF_A_RUN[name]} --output={output}"
    for (name, right), lines in WRONG.items():
        for line in filter(None, map(str.strip, lines.splitlines())):
            line = line.replace("{}", "{{}}").replace("{'", "{{'").replace("3}", "3}}")
            yield name, right + line.replace("NINES", "9" * 5000).replace("LONG", "x" * 300)


COMMANDS = list(_commands())


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """Folders and files that the commands name."""
    folder = tmp_path_factory.mktemp("wrong")
    for name in ("vanilla", "autoencoder", "multimodal", "grid"):
        with tarfile.open(f"tests/old_runs/{name}.tar.xz") as tar:
            tar.extractall(folder, filter="data")
    (folder / "grid" / "finished").rename(folder / "sweep")
    (folder / "empty").mkdir()
    (folder / "text").write_text("x")
    (folder / "raises.py").write_text("1 / 0")
    (folder / "exits.py").write_text("import sys\nsys.exit(0)")
    (folder / "holes.csv").write_text("a,b\n1.5,\n2.5,3.5\n")
    (folder / "binary.py").write_bytes(b"\xff\x00")
    (folder / "none.py").write_text("def get_card():\n    return None")
    (folder / "grid.py").write_text(_sweep_file("space.grid({'objective.beta': (0.5, 2.0)})"))
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), np.uint8)
    arrays = {
        "images": images,
        "shape": images[:, 1:],
        "nan": np.full(images.shape, np.nan, np.float32),
        "texts": np.array(["a", "b"]),
        "none": images[:0],
        "complex": images.astype(complex),
        "integers": images.astype(int),
        "large": images.astype(float),
        "number": np.float32(3),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    np.save(folder / "objects.npy", np.array([{}], object), allow_pickle=True)
    np.savez(folder / "two.npz", images=images, others=images)
    np.savez(folder / "pickle.npz", images=np.array([{}], object), allow_pickle=True)
    (folder / "zero.npy").touch()
    (folder / "noise.npy").write_bytes(np.random.default_rng(0).bytes(300))
    runs = {
        "run": "vanilla/finished",
        "stopped": "vanilla/stopped",
        "autoencoder": "autoencoder/finished",
        "several": "multimodal/finished",
        "untrained": "untrained",
    }
    (folder / "untrained").mkdir()
    shutil.copy(folder / "vanilla" / "finished" / "config.json", folder / "untrained")
    with socket.create_server(("127.0.0.1", 0)) as used:
        paths = {name: folder / path for name, path in runs.items()}
        yield {"t": folder, "port": used.getsockname()[1], **paths}


def _sweep_file(expression):
    return f"from vae_jax.sweeps import space\ndef get_sweep():\n    return {expression}\n"


def _contents(names):
    found = {
        path for folder in names.values() if folder != names["port"] for path in folder.iterdir()
    }
    return {path for path in found if path.name != ".lock"}


def _refuse(name, arguments, names, monkeypatch):
    """Assert that a command ends in one line with exit code 2, and leaves nothing but locks."""
    before, error = _contents(names), io.StringIO()
    main = importlib.import_module(f"experiments.{name}").main
    monkeypatch.setattr(sys, "argv", ["command", *arguments.format(**names).split()])
    flags.FLAGS.unparse_flags()
    with (
        flagsaver.flagsaver(),
        contextlib.redirect_stderr(error),
        pytest.raises(SystemExit) as stop,
    ):
        command_line.run(main)
    assert (stop.value.code, error.getvalue().count("\n")) == (2, 1), error.getvalue()
    assert error.getvalue().startswith("error: ")
    assert _contents(names) == before


def test_there_are_many_and_of_every_command():
    assert len(COMMANDS) + len(_SWEEPS) >= 300
    assert len({name for name, _ in COMMANDS}) == 24


@pytest.mark.usefixtures("parsed_flags")
@pytest.mark.parametrize(("name", "arguments"), COMMANDS)
def test_a_wrong_command_ends_in_one_line_and_leaves_nothing(name, arguments, names, monkeypatch):
    _refuse(name, arguments, names, monkeypatch)


@pytest.mark.usefixtures("parsed_flags")
@pytest.mark.parametrize("expression", _SWEEPS)
def test_a_wrong_sweep_ends_in_one_line_and_leaves_nothing(
    expression, names, tmp_path, monkeypatch
):
    file = tmp_path / "mine.py"
    file.write_text(_sweep_file(expression.format()))
    _refuse("sweep", f"{_TRAIN} --sweep={file}", names, monkeypatch)
