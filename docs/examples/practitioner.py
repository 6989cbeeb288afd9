"""For practitioners: a folder of class folders where pictures lie in wrong ones.

Run it by `python practitioner.py`. Without a folder `photos` it draws one. For photographs leave
out `model="tiny"`, the encoder of such drawings. Nothing in `photos` is moved: `labels.csv` and the
lines that are printed say what should be.
"""

import csv
import random
from pathlib import Path

import pzsl

PHOTOS = Path("photos")
UNNAMED = "red plain square"  # a class that has no folder

drawings = pzsl.load_dataset("shapes")
if not PHOTOS.exists():
    rng = random.Random(0)
    seen = [name for name, is_seen in zip(drawings.classes, drawings.seen, strict=True) if is_seen]
    folders = seen[:45:3]
    for path, number in zip(drawings.paths, drawings.labels, strict=True):
        if drawings.classes[number] in folders:
            folder = rng.choice(folders) if rng.random() < 0.2 else drawings.classes[number]
            place = PHOTOS / folder / f"{path.replace('/', '-')}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            drawings.reader(path).save(place)
    drawings.reader("red_plain_square/003000").save("new.png")

pzsl.extract(dataset="folder", root=PHOTOS, out="cache/photos.h5", model="tiny", unseen=0, test=0)
result = pzsl.labels(cache="cache/photos.h5", out="labels.csv", overwrite=True)
print(f"{result['changed']} of {result['images']} pictures lie in a wrong folder:")
with Path(result["out"]).open(encoding="utf-8", newline="") as table:
    for row in [row for row in csv.DictReader(table) if row["outside"] == "yes"][:5]:
        print(f"  {row['path']} belongs to {row['label']} ({float(row['confidence']):.0%} sure)")

pzsl.pack(result["run"], "model", overwrite=True)
answer = pzsl.predict("model", ["new.png"], classes=[UNNAMED])
for guess in answer["images"][0]["classes"][:2]:
    print(f"new.png: {guess['name']} ({guess['probability']:.0%})")
