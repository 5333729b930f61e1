//! One module per ESP: request out, response to Outcome.
