"""Whom a release is for: targeting and buckets, pure, so that gateway, rollout and console agree."""
