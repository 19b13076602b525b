//! Tests of the whole mesh: real processes, a real broker, real databases, driven through public RPCs. See `tests/it`.
