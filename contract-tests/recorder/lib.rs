//! Nothing: what records is a test, `tests/record`.
