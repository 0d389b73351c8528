# From the tables of all packs to the study's own, and from those to the answers.

# Tables that `snakemake --report` shows, each with a caption of its own.
SHOWN = ("effects", "differences", "levels", "coverage")

analysis_tables = {table: f"{RESULTS}/analysis/{table}.csv" for table in ANALYSIS_TABLES}


rule aggregate:
    input:
        study=study_file,
        plans=plans,
        packs=lambda wildcards: [table for plan in plans(wildcards) for table in tables_of_packs(plan)],
    output:
        trials=f"{RESULTS}/trials.csv",
        curves=f"{RESULTS}/curves.csv",
        layers=f"{RESULTS}/layers.csv",
        histograms=f"{RESULTS}/histograms.csv",
        packs=f"{RESULTS}/packs.csv",
        selected=f"{RESULTS}/selected.csv",
        provenance=f"{RESULTS}/provenance.json",
    log:
        f"{RESULTS}/logs/aggregate.log",
    conda:
        "../../environment.yml"
    params:
        profile=profile_option,
        # A pack put aside is missed by nobody where all tables stand: this is for Snakemake to see that it is.
        put_aside=lambda wildcards: len(list(settings.results_of(wildcards.study).glob("raw/*.damaged-*"))),
        results=lambda wildcards, output: Path(output.trials).parents[1],
    shell:
        "trainatlas aggregate {input.study} {params.profile} --results {params.results} 2> {log}"


rule analyse:
    input:
        study=study_file,
        trials=f"{RESULTS}/trials.csv",
        curves=f"{RESULTS}/curves.csv",
        layers=f"{RESULTS}/layers.csv",
        histograms=f"{RESULTS}/histograms.csv",
        rates=f"{RESULTS}/selected.csv",
        timing=f"{RESULTS}/timing.csv",
    output:
        [
            (
                report(path, caption=f"../report/{table}.rst", category="{study}", labels={"result": table})
                if table in SHOWN
                else path
            )
            for table, path in analysis_tables.items()
        ],
    log:
        f"{RESULTS}/logs/analyse.log",
    conda:
        "../../environment.yml"
    params:
        profile=profile_option,
        results=lambda wildcards, output: Path(output[0]).parents[2],
    shell:
        "trainatlas analyse {input.study} {params.profile} --results {params.results} 2> {log}"
