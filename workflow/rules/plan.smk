# What is to be trained. Pack files are written beside the summaries: a pack that exists is never
# written again, so growing a study leaves the packs it already has, and their results, alone.


checkpoint plan:
    input:
        study=STUDY,
    output:
        summary=f"{RESULTS}/plan.json",
        trials=f"{RESULTS}/plan.csv",
        data=f"{RESULTS}/data.json",
    log:
        f"{RESULTS}/logs/plan.log",
    conda:
        "../../environment.yml"
    params:
        profile=PROFILE,
        foundations=settings.foundations,  # for Snakemake to see that they have changed
        results=lambda wildcards, output: Path(output.summary).parents[1],
    shell:
        "(trainatlas plan {input.study} {params.profile} --results {params.results} && "
        "trainatlas prepare {input.study} {params.profile} --results {params.results}) 2> {log}"


checkpoint select:
    input:
        study=STUDY,
        plan=f"{RESULTS}/plan.json",
        tuned=lambda wildcards: tables_of_packs(checkpoints.plan.get().output.summary),
    output:
        summary=f"{RESULTS}/plan-final.json",
        trials=f"{RESULTS}/plan-final.csv",
        rates=f"{RESULTS}/selected.csv",
    log:
        f"{RESULTS}/logs/select.log",
    conda:
        "../../environment.yml"
    params:
        profile=PROFILE,
        results=lambda wildcards, output: Path(output.summary).parents[1],
    shell:
        "trainatlas select {input.study} {params.profile} --results {params.results} 2> {log}"
