# `snakemake` looks here first; the pipeline itself is in workflow/Snakefile.
include: "workflow/Snakefile"


workflow.default_target = "all"  # a default target set inside an include is not heeded
