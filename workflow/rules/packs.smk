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


def before(wildcards):
    """The first round needs the study and its data, every other one what the rounds before it were trained to.

    Data come first, and not as `ancient`: where a job waits for one that is still to run through such a file alone,
    Snakemake passes over it and all that follows, whatever else they have to be done anew for.
    """
    if wildcards.round == "1":
        return [f"{RESULTS}/data.json"]
    earlier = range(1, int(wildcards.round))
    summaries = [checkpoints.plan.get(round=number).output.summary for number in earlier]
    return [*summaries[-1:], *(table for summary in summaries for table in tables_of_packs(summary))]
