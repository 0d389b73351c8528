# What is to be trained, round by round. Pack files are written beside the summaries: a pack that exists is never
# written again, so growing a study leaves the packs it already has, and their results, alone.


checkpoint plan:
    input:
        before,
        study=study_file,
    output:
        summary=f"{RESULTS}/plan-{{round}}.json",
        trials=f"{RESULTS}/plan-{{round}}.csv",
    log:
        f"{RESULTS}/logs/plan-{{round}}.log",
    conda:
        "../../environment.yml"
    params:
        profile=profile_option,
        foundations=foundations,  # for Snakemake to see that they have changed
        results=lambda wildcards, output: Path(output.summary).parents[1],
    shell:
        "trainatlas plan {input.study} {params.profile} --round {wildcards.round} --results {params.results} 2> {log}"


rule prepare:
    input:
        study=study_file,
    output:
        f"{RESULTS}/data.json",
    log:
        f"{RESULTS}/logs/prepare.log",
    conda:
        "../../environment.yml"
    params:
        profile=profile_option,
        foundations=foundations,
        results=lambda wildcards, output: Path(output[0]).parents[1],
    shell:
        "trainatlas prepare {input.study} {params.profile} --results {params.results} 2> {log}"
