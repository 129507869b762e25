//! Broker services: produce, consume, hold, offsets, groups, topics, admin.
