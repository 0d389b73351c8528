# The page and the document, from one template and one file that holds what they say.


rule report:
    input:
        study=study_file,
        provenance=f"{RESULTS}/provenance.json",
        data=f"{RESULTS}/data.json",
        trials=f"{RESULTS}/trials.csv",
        curves=f"{RESULTS}/curves.csv",
        layers=f"{RESULTS}/layers.csv",
        analysis=rules.analyse.output,
    output:
        html=report(
            f"{REPORT}/index.html",
            caption="../report/page.rst",
            category="{study}",
            labels={"result": "page"},
        ),
        pdf=report(
            f"{REPORT}/report.pdf",
            caption="../report/document.rst",
            category="{study}",
            labels={"result": "document"},
        ),
        json=f"{REPORT}/report.json",
        figures=report(
            directory(f"{REPORT}/figures"),
            patterns=["{figure}.svg"],
            caption="../report/figure.rst",
            category="{study}",
            subcategory="figures",
            labels={"result": "{figure}"},
        ),
    log:
        f"{RESULTS}/logs/report.log",
    conda:
        "../../environment.yml"
    params:
        profile=profile_option,
        language=settings.language_option,
        results=lambda wildcards, input: Path(input.trials).parents[1],
        reports=lambda wildcards, output: Path(output.html).parents[1],
    shell:
        "trainatlas report {input.study} {params.profile} {params.language} "
        "--results {params.results} --reports {params.reports} 2> {log}"
