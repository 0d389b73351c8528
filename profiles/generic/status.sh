#!/usr/bin/env bash
# Says what has become of a job of Grid Engine: running, success or failed. Edit it for another scheduler.
set -euo pipefail
if qstat -j "$1" >/dev/null 2>&1; then
    if qstat | awk -v job="$1" '$1 == job && $5 ~ /E/ { found = 1 } END { exit !found }'; then echo failed; else echo running; fi
    exit
fi
# Gone from the queue: its record, which comes a moment later, says how it ended.
for _ in 1 2 3 4 5; do
    if record=$(qacct -j "$1" 2>/dev/null); then
        if grep -qE '^failed +0' <<<"$record" && grep -qE '^exit_status +0' <<<"$record"; then echo success; else echo failed; fi
        exit
    fi
    sleep 2
done
echo failed
