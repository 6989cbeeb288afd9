"""For clusters: each job of an array encodes a shard, one more merges them and trains.

    python cluster.py 1/4 ... python cluster.py 4/4    the jobs of an array
    python cluster.py merge                            afterwards, once
    python cluster.py                                  all of it in turn, to try it out

With SLURM, `#SBATCH --array=1-4` and `python cluster.py $SLURM_ARRAY_TASK_ID/4`. An interrupted job
resumes when it is started again.
"""

import sys

import pzsl

SHARDS = 4
CACHE = "cache/shapes.h5"  # on a disk that all machines see
steps = sys.argv[1:] or [*(f"{number}/{SHARDS}" for number in range(1, SHARDS + 1)), "merge"]

for step in steps:
    if step != "merge":
        part = pzsl.extract(dataset="shapes", out=CACHE, limit=1000, batch_size=32, shard=step)
        print(f"shard {step}: {part['images']} images")
        continue
    merged = pzsl.merge([], CACHE, overwrite=True)
    trained = pzsl.train(CACHE, rate=0.3, seeds=2)  # engine="ray" spreads it over the cluster
    for run in trained["runs"]:
        print(f"{merged['images']} images, seed {run['seed']}: H {run['H']:.2f}")
