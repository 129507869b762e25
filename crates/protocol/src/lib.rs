//! Bytes and their meaning: frames, RPC tables and headers, bodies, the message record.
