//! Pulls that found nothing and wait for messages. See the crate head.
