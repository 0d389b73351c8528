# What rules ask of the settings by their wildcard, the study.


def say(line):
    print(line, file=sys.stderr)


def study_file(wildcards):
    return settings.file(wildcards.study)


def profile_option(wildcards):
    return settings.profile_option(wildcards.study)


def foundations(wildcards):
    return settings.foundations(wildcards.study)
