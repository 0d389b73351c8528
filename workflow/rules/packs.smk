# Which tables the plans will yield: known round by round, once each checkpoint is done.


def tables_of_packs(summary):
    found = Path(summary)
    return [
        f"{found.parent}/raw/{pack}/checksums.json" for pack in summary_at(found)["packs"]
    ]  # written last


def plans(wildcards):
    """The summaries of all rounds."""
    found = []
    while not found or not summary_at(Path(found[-1]))["last"]:
        found.append(checkpoints.plan.get(study=wildcards.study, round=len(found) + 1).output.summary)
    return found


def before(wildcards):
    """The first round needs the study and its data, every other one what the rounds before it were trained to.

    Data come first, and not as `ancient`: where a job waits for one that is still to run through such a file alone,
    Snakemake passes over it and all that follows, whatever else they have to be done anew for.
    """
    if wildcards.round == "1":
        return [f"{settings.results_of(wildcards.study)}/data.json"]
    earlier = range(1, int(wildcards.round))
    summaries = [
        checkpoints.plan.get(study=wildcards.study, round=number).output.summary for number in earlier
    ]
    return [*summaries[-1:], *(table for summary in summaries for table in tables_of_packs(summary))]
