# Verdicts on claims: from the results of all the studies that feed them, and from experiments that need no study.

CLAIMS = str(settings.claim_set.path)
CLAIMS_PROFILE = f"--profile {settings.claim_set.profile}"
VERDICTS = f"{settings.results}/{settings.claim_set.name}"


rule measure:
    output:
        f"{VERDICTS}/measured/{{experiment}}.csv",
    log:
        f"{VERDICTS}/logs/{{experiment}}.log",
    conda:
        "../../environment.yml"
    threads: 1
    params:
        claims=CLAIMS,
        profile=CLAIMS_PROFILE,
        seeds=settings.claim_set.claims.seeds,  # for Snakemake to see that they have changed
        version=TRAINING_VERSION,
        results=lambda wildcards, output: Path(output[0]).parents[2],
    shell:
        "trainatlas claims measure {params.claims} {wildcards.experiment} {params.profile} --results {params.results} 2> {log}"


rule judge:
    input:
        claims=CLAIMS,
        studies=[study.path for study in settings.claim_set.studies.values()],
        tables=expand(
            f"{RESULTS}/{{table}}.csv",
            study=settings.feeding,
            table=["trials", "curves", "layers", "selected"],
        ),
        measured=expand(rules.measure.output, experiment=settings.claim_set.claims.experiments),
    output:
        [f"{VERDICTS}/{table}.csv" for table in CLAIM_TABLES],
    log:
        f"{VERDICTS}/logs/judge.log",
    conda:
        "../../environment.yml"
    params:
        profile=CLAIMS_PROFILE,
        results=lambda wildcards, output: Path(output[0]).parents[1],
    shell:
        "trainatlas claims judge {input.claims} {params.profile} --results {params.results} 2> {log}"


rule claims_report:
    input:
        claims=CLAIMS,
        verdicts=rules.judge.output,
    output:
        html=report(
            f"{settings.reports}/{settings.claim_set.name}/index.html",
            caption="../report/claims_page.rst",
            category="claims",
            labels={"result": "page"},
        ),
        pdf=report(
            f"{settings.reports}/{settings.claim_set.name}/report.pdf",
            caption="../report/claims_document.rst",
            category="claims",
            labels={"result": "document"},
        ),
        json=f"{settings.reports}/{settings.claim_set.name}/report.json",
        figures=report(
            directory(f"{settings.reports}/{settings.claim_set.name}/figures"),
            patterns=["{figure}.svg"],
            caption="../report/claims_figure.rst",
            category="claims",
            subcategory="figures",
            labels={"result": "{figure}"},
        ),
    log:
        f"{VERDICTS}/logs/report.log",
    conda:
        "../../environment.yml"
    params:
        profile=CLAIMS_PROFILE,
        language=settings.language_option,
        results=lambda wildcards, input: Path(input.verdicts[0]).parents[1],
        reports=lambda wildcards, output: Path(output.html).parents[1],
    shell:
        "trainatlas claims report {input.claims} {params.profile} {params.language} "
        "--results {params.results} --reports {params.reports} 2> {log}"


rule claims:
    input:
        rules.claims_report.output,
