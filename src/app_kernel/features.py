"""The one list of features. Its order is the order of the layers, the first one outermost, and of the routers."""

from app_kernel import (
    actor,
    api_keys,
    audit,
    auth,
    cache,
    cors,
    flags,
    health,
    idempotency,
    jobs,
    mail,
    metering,
    metrics,
    oauth,
    outbox,
    problems,
    rate_limit,
    request_limits,
    request_log,
    saas,
    security_headers,
    stats,
    tracing,
    webhooks,
)
from app_kernel.core.feature import FeatureFactory

FEATURES: tuple[FeatureFactory, ...] = (
    request_log.create_feature,
    tracing.create_feature,
    security_headers.create_feature,
    cors.create_feature,
    problems.create_feature,
    request_limits.create_feature,
    # Before all that enqueue or send messages while they close: its end comes after theirs.
    outbox.create_feature,
    # As above: jobs that end while the service closes still take away what they changed.
    cache.create_feature,
    actor.create_feature,
    rate_limit.create_feature,
    idempotency.create_feature,
    mail.create_feature,
    auth.create_feature,
    oauth.create_feature,
    api_keys.create_feature,
    jobs.create_feature,
    saas.create_feature,
    flags.create_feature,
    webhooks.create_feature,
    metering.create_feature,
    audit.create_feature,
    stats.create_feature,
    health.create_feature,
    metrics.create_feature,
)
"""What every service has, in the order of its layers: `create_service(..., features=[*FEATURES, mine])` adds to it."""
