#!/usr/bin/env bash
# Says what has become of a Kubernetes Job: running, success or failed.
set -euo pipefail
if ! counts=$(kubectl get "$1" --ignore-not-found --output 'jsonpath={.kind} {.status.succeeded} {.status.failed}'); then
    echo running # the cluster does not answer now
elif [ -z "${counts// /}" ]; then
    echo failed # deleted
else
    case $counts in
    'Job 1 '*) echo success ;;
    *[1-9]) echo failed ;;
    *) echo running ;;
    esac
fi
