"""Measurements that no study's tables hold: small experiments on digits, each in about a minute on one core."""
