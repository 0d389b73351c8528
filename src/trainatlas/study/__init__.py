"""From a study's YAML file to trials and packs. Nothing here imports torch: planning must be instant."""
