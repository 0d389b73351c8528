#!/usr/bin/env bash
# Makes a Kubernetes Job of one of Snakemake's and prints its name: submit.sh MINUTES MEBIBYTES CPUS GPUS SCRIPT
set -euo pipefail
minutes=$1 mebibytes=$2 cpus=$3 gpus=$4 script=$5
: "${TRAINATLAS_IMAGE:?the image of containers/Dockerfile, in a registry that the cluster reaches}"
: "${TRAINATLAS_VOLUME:?the claim of the volume that jobs share}"
: "${TRAINATLAS_MOUNT:?where that volume is mounted, here and in jobs}"

# The first process of a container hears of its end, and passes it on to all others: training then keeps where it stands.
kubectl create --output name --filename - <<YAML
apiVersion: batch/v1
kind: Job
metadata:
  generateName: trainatlas-
  labels: {app: trainatlas}
spec:
  backoffLimit: 0
  activeDeadlineSeconds: $((minutes * 60))
  ttlSecondsAfterFinished: 86400
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 60
      volumes:
        - name: study
          persistentVolumeClaim: {claimName: "$TRAINATLAS_VOLUME"}
      containers:
        - name: job
          image: "$TRAINATLAS_IMAGE"
          workingDir: "$PWD"
          command:
            - /bin/bash
            - -c
            - |
              trap 'kill -TERM -- -1' TERM
              /bin/bash "\$0" & job=\$!
              wait "\$job"; status=\$?
              while kill -0 "\$job" 2>/dev/null; do wait "\$job"; status=\$?; done
              exit "\$status"
            - "$script"
          volumeMounts:
            - {name: study, mountPath: "$TRAINATLAS_MOUNT"}
          resources:
            requests: {cpu: "$cpus", memory: "${mebibytes}Mi"}
            limits: {memory: "${mebibytes}Mi", nvidia.com/gpu: "$gpus"}
YAML
