"""For researchers: compare methods over noise rates and seeds, and read the table.

Run it by `python researcher.py`; put the name of a data set or the path of a cache of your own in
place of the built-in drawings. Finished runs are skipped.
"""

import pzsl

pzsl.extract(dataset="shapes", out="cache/shapes.h5")
pzsl.train(
    "cache/shapes.h5",
    method=["clip", "clip-pzsl", "proden"],
    noise="uniform",
    rate=[0.1, 0.5],
    seeds=2,
)
result = pzsl.report("runs", "report")
for row in sorted(result["rows"], key=lambda row: (row["rate"], -row["H_mean"])):
    print(f"rate {row['rate']}  {row['method']:10} H {row['H_mean']:.2f} ± {row['H_std']:.2f}")
