# One job a pack. Its tables appear whole or not at all.


rule train:
    input:
        pack=ancient(f"{RESULTS}/packs/{{pack}}.json"),  # named for what it holds: its time says nothing
        data=ancient(f"{RESULTS}/data.json"),
    output:
        trials=f"{RESULTS}/raw/{{pack}}/trials.csv",
        curves=f"{RESULTS}/raw/{{pack}}/curves.csv",
        layers=f"{RESULTS}/raw/{{pack}}/layers.csv",
        histograms=f"{RESULTS}/raw/{{pack}}/histograms.csv",
        pack=f"{RESULTS}/raw/{{pack}}/pack.csv",
        checksums=f"{RESULTS}/raw/{{pack}}/checksums.json",
    log:
        f"{RESULTS}/logs/train/{{pack}}.log",
    priority: lambda wildcards: pack_seconds(settings.results_of(wildcards.study), wildcards.pack)  # the longest first
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: asks.mebibytes_of(
            settings.results_of(wildcards.study), wildcards.pack, attempt
        ),
        runtime=lambda wildcards, attempt: asks.minutes(
            settings.results_of(wildcards.study), wildcards.pack, attempt
        ),
        training_mb=settings.memory,
        tries_left=lambda wildcards, attempt: asks.tries_left(attempt),
        gpus=gpus_of_training,
    params:
        out=lambda wildcards, output: Path(output.trials).parent,
    # exec: a shell in between would die of SIGTERM at once, and SLURM kills what a job's first process leaves behind.
    shell:
        "exec trainatlas train {input.pack} --out {params.out} --memory {resources.training_mb} "
        "--limit-minutes {resources.runtime} --tries-left {resources.tries_left} 2> {log}"
