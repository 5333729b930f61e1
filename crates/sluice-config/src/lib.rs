//! The configuration schema, its defaults and the validation of text handed to it.
