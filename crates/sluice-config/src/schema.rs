//! The JSON Schema of the configuration, for editors and for `sluice schema config`.

use schemars::{Schema, json_schema};

use crate::Config;

/// The JSON Schema of the configuration file.
#[must_use]
pub fn json_schema() -> Schema {
    schemars::schema_for!(Config)
}

/// Adds `url_file` beside `url`.
pub(crate) fn url_file(schema: &mut Schema) {
    add_file_key(schema, "url_file", "File that holds `url`; one of the two.");
}

/// Adds `url_file` and `api_key_file` beside their secrets.
pub(crate) fn esp_files(schema: &mut Schema) {
    url_file(schema);
    add_file_key(schema, "api_key_file", "File that holds `api_key`; one of the two.");
}

fn add_file_key(schema: &mut Schema, key: &str, description: &str) {
    let property = json_schema!({ "type": ["string", "null"], "description": description });
    add_key(schema, key, property);
}

/// Adds a key beside those that the type has.
pub(crate) fn add_key(schema: &mut Schema, key: &str, property: Schema) {
    if let Some(properties) = schema.ensure_object().get_mut("properties").and_then(|it| it.as_object_mut()) {
        properties.insert(key.to_owned(), property.into());
    }
}
