# Which tables the plans will yield: known round by round, once each checkpoint is done.


def tables_of_packs(summary):
    packs = summary_at(Path(summary))["packs"]
    return expand(f"{RESULTS}/raw/{{pack}}/checksums.json", pack=packs)  # written last


def plans(wildcards):
    """The summaries of all rounds."""
    found = []
    while not found or not summary_at(Path(found[-1]))["last"]:
        found.append(checkpoints.plan.get(round=len(found) + 1).output.summary)
    return found
