# What a step takes, one network at a time. On this machine it has all cores to itself, or what trains beside it would be
# timed too; a scheduler's job has the one core that a job which trains has.


rule time:
    input:
        study=study_file,
        plans=plans,
    output:
        f"{RESULTS}/timing.csv",
    log:
        f"{RESULTS}/logs/time.log",
    conda:
        "../../environment.yml"
    threads: lambda wildcards: 1 if tries() else limits.get("_cores") or 1
    resources:
        mem_mb=lambda wildcards, attempt: asks.mebibytes(attempt),
        gpus=gpus_of_training,
    params:
        profile=profile_option,
        results=lambda wildcards, output: Path(output[0]).parents[1],
    shell:
        "trainatlas time {input.study} {params.profile} --results {params.results} 2> {log}"
