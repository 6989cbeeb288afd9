"""For practitioners: a folder of class folders where pictures lie in wrong ones.

Run it by `python practitioner.py`. Without a folder `photos` it draws one; photographs want an
encoder of photographs: leave `model="tiny"` out. Nothing in `photos` is moved: `labels.csv` and
the lines that are printed say what should be.
"""

import csv
import random
from pathlib import Path

import pzsl

PHOTOS = Path("photos")
UNNAMED = "red plain square"  # a class that has no folder

drawn = pzsl.load_dataset("shapes")
if not PHOTOS.exists():
    luck = random.Random(0)
    folders = [name for name, seen in zip(drawn.classes, drawn.seen, strict=True) if seen][:45:3]
    for path, number in zip(drawn.paths, drawn.labels, strict=True):
        if drawn.classes[number] in folders:
            folder = luck.choice(folders) if luck.random() < 0.2 else drawn.classes[number]
            place = PHOTOS / folder / f"{path.replace('/', '-')}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            drawn.reader(path).save(place)
    drawn.reader("red_plain_square/003000").save("new.png")

pzsl.extract(dataset="folder", root=PHOTOS, out="cache/photos.h5", model="tiny", unseen=0, test=0)
found = pzsl.labels(cache="cache/photos.h5", out="labels.csv", overwrite=True)
print(f"{found['changed']} of {found['images']} pictures lie in a wrong folder:")
with Path(found["out"]).open(encoding="utf-8", newline="") as table:
    for row in [row for row in csv.DictReader(table) if row["outside"] == "yes"][:5]:
        print(f"  {row['path']} belongs to {row['label']} ({float(row['confidence']):.0%} sure)")

pzsl.pack(found["run"], "model", overwrite=True)
answer = pzsl.predict("model", ["new.png"], classes=[UNNAMED])
for guess in answer["images"][0]["classes"][:2]:
    print(f"new.png: {guess['name']} ({guess['probability']:.0%})")
