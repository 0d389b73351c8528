# Which tables a plan will yield: known once its checkpoint is done.


def tables_of_packs(summary):
    packs = json.loads(Path(summary).read_text(encoding="utf-8"))["packs"]
    return expand(f"{RESULTS}/raw/{{pack}}/checksums.json", pack=packs)  # written last
