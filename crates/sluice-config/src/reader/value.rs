//! Single values: what a variable's text means, and what to call a value of the wrong kind.

use toml::Value;

/// A variable's text as the TOML value it spells, else as a text.
pub(super) fn literal(value: Value) -> Value {
    match value {
        Value::String(text) => text.parse().unwrap_or(Value::String(text)),
        other => other,
    }
}

/// A text. A variable's is taken as it is, so that a password of digits stays one; only quotes around all of it go.
pub(super) fn text(value: Value, from_variable: bool) -> Result<String, Value> {
    match value {
        Value::String(text) if from_variable => match text.parse() {
            Ok(Value::String(unquoted)) => Ok(unquoted),
            Ok(_) | Err(_) => Ok(text),
        },
        Value::String(text) => Ok(text),
        other => Err(other),
    }
}

/// What to call a value in a fault; never the value itself.
pub(super) const fn word_for(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "a switch (true or false)",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a section",
    }
}
